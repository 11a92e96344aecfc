package server

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"example.com/loki/internal/route"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// whoami answers with the tenant of the request.
var whoami = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	id, err := user.ExtractOrgID(r.Context())
	if err != nil {
		id = "nobody"
	}
	fmt.Fprint(w, id)
})

func get(h http.Handler, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestRouting(t *testing.T) {
	h := Mount([]route.Route{
		{Path: "/loki/api/v1/label/{name}/values", Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.PathValue("name"))
		})},
		{Path: "/push", Methods: []string{http.MethodPost}, Handler: whoami},
	}, Options{Prefix: "/logs/"})

	for _, c := range []struct {
		method, target string
		code           int
		body           string
	}{
		{"GET", "/logs/loki/api/v1/label/app/values", 200, "app"},
		{"POST", "/logs/loki/api/v1/label/app/values", 200, "app"},
		{"HEAD", "/logs/loki/api/v1/label/app/values", 200, ""},
		{"DELETE", "/logs/loki/api/v1/label/app/values", 405, "method not allowed\n"},
		{"GET", "/logs/loki/api/v1/label/a%2Fb/values", 200, "a/b"},
		{"GET", "/logs/push", 405, "method not allowed\n"},
		{"POST", "/logs/push", 200, "nobody"},
		{"POST", "/push", 404, "404 page not found\n"},
		{"GET", "/", 404, "404 page not found\n"},
		{"BREW", "/", 405, "method not allowed\n"},
	} {
		w := get(h, c.method, c.target)
		if body := w.Body.String(); w.Code != c.code || body != c.body && c.method != "HEAD" {
			t.Errorf("%s %s = %d %q, want %d %q", c.method, c.target, w.Code, body, c.code, c.body)
		}
	}
	if got := get(h, "GET", "/logs/push").Header().Get("Allow"); got != "POST" {
		t.Errorf("Allow = %q, want POST", got)
	}
}

func TestTenant(t *testing.T) {
	routes := []route.Route{
		{Path: "/tenant", Handler: whoami, Tenant: true},
		{Path: "/open", Handler: whoami},
		{Path: "/tenants", Handler: whoami, Tenant: true, Tenants: true},
	}
	const h = "X-Scope-OrgID"
	for _, c := range []struct {
		name   string
		opts   Options
		path   string
		header []string
		code   int
		body   string
	}{
		{"off: fake", Options{}, "/tenant", nil, 200, "fake"},
		{"off: configured", Options{Tenant: "shop"}, "/tenant", nil, 200, "shop"},
		{"off: header is ignored", Options{}, "/tenant", []string{h, "../etc"}, 200, "fake"},
		{"on: header", Options{AuthEnabled: true}, "/tenant", []string{h, "shop"}, 200, "shop"},
		{"on: any case", Options{AuthEnabled: true}, "/tenant", []string{"x-scope-orgid", "shop"}, 200, "shop"},
		{"on: no header", Options{AuthEnabled: true}, "/tenant", nil, 401, "no org id\n"},
		{"on: empty header", Options{AuthEnabled: true}, "/tenant", []string{h, ""}, 401, "no org id\n"},
		{"on: not needed", Options{AuthEnabled: true}, "/open", nil, 200, "nobody"},
		{"on: twice the same", Options{AuthEnabled: true}, "/tenant", []string{h, "a", h, "a"}, 200, "a"},
		{"on: two that differ", Options{AuthEnabled: true}, "/tenant", []string{h, "a", h, "b"}, 400, "twice"},
		{"on: parent folder", Options{AuthEnabled: true}, "/tenant", []string{h, ".."}, 400, "tenant ID is '.' or '..'"},
		{"on: this folder", Options{AuthEnabled: true}, "/tenant", []string{h, "."}, 400, "tenant ID is '.' or '..'"},
		{"on: path", Options{AuthEnabled: true}, "/tenant", []string{h, "../../etc/passwd"}, 400, "unsupported character"},
		{"on: slash", Options{AuthEnabled: true}, "/tenant", []string{h, "a/b"}, 400, "unsupported character '/'"},
		{"on: backslash", Options{AuthEnabled: true}, "/tenant", []string{h, `a\b`}, 400, "unsupported character"},
		{"on: zero byte", Options{AuthEnabled: true}, "/tenant", []string{h, "a\x00b"}, 400, "unsupported character"},
		{"on: several", Options{AuthEnabled: true}, "/tenant", []string{h, "a|b"}, 400, "unsupported character"},
		{"on: several where allowed", Options{AuthEnabled: true}, "/tenants", []string{h, "a|b"}, 200, "a|b"},
		{"on: one of several is bad", Options{AuthEnabled: true}, "/tenants", []string{h, "a|../b"}, 400, "unsupported character"},
		{"on: one of several is empty", Options{AuthEnabled: true}, "/tenants", []string{h, "a||b"}, 400, "bad X-Scope-OrgID"},
		{"on: very many", Options{AuthEnabled: true}, "/tenants", []string{h, strings.Repeat("a|", 200) + "a"}, 400, "names 201 tenants"},
		{"on: longest", Options{AuthEnabled: true}, "/tenant", []string{h, strings.Repeat("a", 150)}, 200, "aaa"},
		{"on: too long", Options{AuthEnabled: true}, "/tenant", []string{h, strings.Repeat("a", 151)}, 400, "longer than 150 bytes"},
		{"on: endless", Options{AuthEnabled: true}, "/tenant", []string{h, strings.Repeat("/", 1<<20)}, 400, "longer than 150 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := get(Mount(routes, c.opts), "GET", c.path, c.header...)
			if body := w.Body.String(); w.Code != c.code || !strings.Contains(body, c.body) || len(body) > 1000 {
				t.Errorf("got %d %.300q, want %d %q", w.Code, body, c.code, c.body)
			}
		})
	}

	t.Run("host's tenant comes first", func(t *testing.T) {
		r := httptest.NewRequest("GET", "/tenant", nil)
		r.Header.Set(h, "other")
		w := httptest.NewRecorder()
		Mount(routes, Options{AuthEnabled: true}).ServeHTTP(w, r.WithContext(user.InjectOrgID(r.Context(), "hosts")))
		if w.Body.String() != "hosts" {
			t.Errorf("tenant = %q, want hosts", w.Body)
		}
	})
}

func TestPanic(t *testing.T) {
	var logs bytes.Buffer
	reg := prometheus.NewPedanticRegistry()
	h := Mount([]route.Route{
		{Path: "/boom", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") })},
		{Path: "/half", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"status":"success"`)
			panic("half")
		})},
		{Path: "/abort", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })},
	}, Options{Registerer: reg, Logger: slog.New(slog.NewTextHandler(&logs, nil))})

	srv := httptest.NewServer(h)
	defer srv.Close()
	// On a connection used before, the client would repeat a request that broke.
	srv.Client().Transport.(*http.Transport).DisableKeepAlives = true
	resp, err := srv.Client().Get(srv.URL + "/boom")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != 500 || !strings.HasPrefix(string(body), "internal error, request ") {
		t.Errorf("got %d %q, want 500", resp.StatusCode, body)
	}
	for _, path := range []string{"/half", "/abort"} {
		resp, err := srv.Client().Get(srv.URL + path)
		if err == nil {
			_, err = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("GET %s: a broken answer looks complete", path)
		}
	}
	srv.Close() // waits for the handlers, which write the log
	if got := logs.String(); !strings.Contains(got, "panic=boom") || !strings.Contains(got, "server_test.go") {
		t.Errorf("log lacks the panic or its stack: %s", got)
	}
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP loki_panic_total Panics in HTTP handlers that were turned into an answer.
# TYPE loki_panic_total counter
loki_panic_total 2
`), "loki_panic_total"); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	h := Mount([]route.Route{
		{Path: "/loki/api/v1/label/{name}/values", Handler: whoami, Tenant: true},
	}, Options{Registerer: reg})
	get(h, "GET", "/loki/api/v1/label/app/values")
	get(h, "GET", "/loki/api/v1/label/b/values")
	get(h, "GET", "/nothing")
	for _, m := range []string{"A", "B", "C"} {
		get(h, m, "/nothing")
	}
	mfs, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]uint64{}
	for _, mf := range mfs {
		if mf.GetName() != "loki_request_duration_seconds" {
			continue
		}
		for _, m := range mf.GetMetric() {
			var key []string
			for _, l := range m.GetLabel() {
				key = append(key, l.GetValue())
			}
			got[strings.Join(key, " ")] = m.GetHistogram().GetSampleCount()
		}
	}
	want := map[string]uint64{
		"GET loki_api_v1_label_name_values 200 false": 2,
		"GET other 404 false":                         1,
		"other other 405 false":                       3,
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRouteName(t *testing.T) {
	for path, want := range map[string]string{
		"/loki/api/v1/query_range":         "loki_api_v1_query_range",
		"/loki/api/v1/label/{name}/values": "loki_api_v1_label_name_values",
		"/otlp/v1/logs":                    "otlp_v1_logs",
		"/api/prom/push":                   "api_prom_push",
		"/":                                "root",
	} {
		if got := routeName(path); got != want {
			t.Errorf("routeName(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestGzip(t *testing.T) {
	answer := func(n int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, strings.Repeat("x", n))
		})
	}
	h := Mount([]route.Route{
		{Path: "/large", Handler: answer(1 << 20)},
		{Path: "/small", Handler: answer(100)},
		{Path: "/stream", Handler: answer(1 << 20), Streaming: true},
	}, Options{})
	for _, c := range []struct {
		path, accept string
		gzipped      bool
	}{
		{"/large", "gzip", true},
		{"/large", "zstd, gzip", true},
		{"/large", "", false},
		{"/small", "gzip", false},
		{"/stream", "gzip", false},
	} {
		w := get(h, "GET", c.path, "Accept-Encoding", c.accept)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != c.gzipped {
			t.Errorf("GET %s with %q: gzipped = %v, want %v", c.path, c.accept, got, c.gzipped)
		}
		if c.gzipped {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(z); err != nil || len(b) != 1<<20 {
				t.Errorf("GET %s: %d bytes, %v", c.path, len(b), err)
			}
		}
	}
}

func TestRequestLog(t *testing.T) {
	var logs bytes.Buffer
	h := Mount([]route.Route{{Path: "/x", Handler: whoami}}, Options{
		Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	get(h, "GET", "/x?a=1", "X-Request-Id", "abc-1")
	if got := logs.String(); !strings.Contains(got, "id=abc-1") || !strings.Contains(got, `uri="/x?a=1"`) {
		t.Errorf("log = %s", got)
	}
	logs.Reset()
	get(h, "GET", "/x", "X-Request-Id", "bad id\n")
	if got := logs.String(); strings.Contains(got, "bad id") {
		t.Errorf("log has the client's bad id: %s", got)
	}
}

func TestDuplicateMetricsDoNotHappenTwice(t *testing.T) {
	// One Mount a registry: two engines have two.
	reg := prometheus.NewRegistry()
	Mount(nil, Options{Registerer: reg})
	defer func() {
		var already prometheus.AlreadyRegisteredError
		if err, ok := recover().(error); !ok || !errors.As(err, &already) {
			t.Error("a second Mount on one registry went unnoticed")
		}
	}()
	Mount(nil, Options{Registerer: reg})
}
