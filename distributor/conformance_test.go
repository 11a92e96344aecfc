package distributor

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/ingester"
	"example.com/loki/limits"
)

// recorder is an ingester that remembers what it was given, as text.
type recorder struct {
	mu      sync.Mutex
	err     error
	pushes  int
	entries []string // {labels} time line name=value…
}

func (r *recorder) Push(_ context.Context, req *ingester.PushRequest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pushes++
	for _, s := range req.Streams {
		for _, e := range s.Entries {
			var b strings.Builder
			fmt.Fprintf(&b, "%s %d %s", s.Labels, e.Time, e.Line)
			for _, f := range e.Metadata {
				fmt.Fprintf(&b, " %s=%s", f.Name, f.Value)
			}
			r.entries = append(r.entries, b.String())
		}
	}
	return r.err
}

func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.entries
	r.entries = nil
	return e
}

// open is limits under which nothing depends on the time of the test.
func open() limits.Limits {
	l := limits.Default()
	l.RejectOldSamples = false
	l.IngestionRateMB, l.IngestionBurstSizeMB = 1000, 1000
	l.PerStreamRateLimit, l.PerStreamRateLimitBurst = 1<<30, 1<<30
	return l
}

func newTest(t testing.TB, l limits.Limits, cfg Config) (*Distributor, *recorder) {
	t.Helper()
	r := &recorder{}
	d, err := New(cfg, r, limits.Fixed(l), nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}

// serve returns a handler of all routes, for tenant "test".
func serve(d *Distributor) http.Handler {
	routes, err := Routes(d.cfg, d, d.limits, nil)
	if err != nil {
		panic(err) // d was made from the same settings
	}
	mux := http.NewServeMux()
	for _, r := range routes {
		for _, m := range r.Methods {
			mux.Handle(m+" "+r.Path, r.Handler)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(user.InjectOrgID(r.Context(), "test")))
	})
}

// TestConformance repeats pushes whose answers by the reference were recorded.
func TestConformance(t *testing.T) {
	data, err := os.ReadFile("testdata/push-errors.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Name, Method, Path string
		Headers            map[string]string
		Request            json.RawMessage
		RequestBase64      string `json:"request_base64"`
		Status             int
		Contains           any
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	d, _ := newTest(t, open(), Config{})
	h := serve(d)
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			body := string(c.Request)
			var text string
			if json.Unmarshal(c.Request, &text) == nil && body != "null" {
				body = text
			}
			if c.RequestBase64 != "" {
				b, err := base64.StdEncoding.DecodeString(c.RequestBase64)
				if err != nil {
					t.Fatal(err)
				}
				body = string(b)
			}
			r := httptest.NewRequest(c.Method, c.Path, strings.NewReader(body))
			for k, v := range c.Headers {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != c.Status {
				t.Fatalf("status %d, want %d: %s", w.Code, c.Status, w.Body)
			}
			var want []string
			switch v := c.Contains.(type) {
			case string:
				want = []string{v}
			case []any:
				for _, s := range v {
					want = append(want, s.(string))
				}
			}
			for _, s := range want {
				if !strings.Contains(strings.ToLower(w.Body.String()), strings.ToLower(s)) {
					t.Errorf("error %q does not contain %q", w.Body, s)
				}
			}
			if w.Code >= 400 {
				t.Logf("%.300s", strings.TrimSpace(w.Body.String()))
			}
		})
	}
}

// TestStored shows what becomes of the pushes of the recorded cases that read back.
func TestStored(t *testing.T) {
	const at = `"1767571200000000000"`
	for _, c := range []struct {
		body string
		want []string
	}{
		{`{"streams":[{"stream":{"pushcase":"mixed"},"values":[[` + at + `,"good"]]},{"stream":{"bad-name":"x"},"values":[[` + at + `,"bad"]]}]}`, nil},
		{`{"streams":[{"stream":{"a":"b"},"values":[[` + at + `,"good"],["4102444800000000000","too new"]]}]}`,
			[]string{`{a="b", service_name="unknown_service"} 1767571200000000000 good detected_level=unknown`}},
		{`{"streams":[{"stream":{"a":"d1","a":"d2"},"values":[[` + at + `,"caf\u00e9 \ud83d\ude00"]]}]}`,
			[]string{`{a="d2", service_name="unknown_service"} 1767571200000000000 café 😀 detected_level=unknown`}},
		{`{"streams":[{"stream":{"app":"x"},"values":[[` + at + `,"l",{"pod.name":"p","app":"m","empty":"","z":"1"}]]}]}`,
			[]string{`{app="x", service_name="x"} 1767571200000000000 l app_extracted=m detected_level=unknown pod_name=p z=1`}},
		{`{"streams":[{"values":[[` + at + `]]}]}`,
			[]string{`{service_name="unknown_service"} 1767571200000000000  detected_level=unknown`}},
	} {
		d, rec := newTest(t, open(), Config{})
		r := httptest.NewRequest("POST", "/loki/api/v1/push", strings.NewReader(c.body))
		r.Header.Set("Content-Type", "application/json")
		serve(d).ServeHTTP(httptest.NewRecorder(), r)
		if got := rec.take(); !slices.Equal(got, c.want) {
			t.Errorf("push %s\n got %q\nwant %q", c.body, got, c.want)
		}
	}
}
