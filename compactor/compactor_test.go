package compactor_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/thanos-io/objstore"
	"go.uber.org/goleak"

	"example.com/loki/compactor"
	"example.com/loki/compactor/compactortest"
	"example.com/loki/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Error(err)
		}
	})
}

func newCompactor(t *testing.T, bucket objstore.Bucket, cfg compactor.Config) *compactor.Compactor {
	t.Helper()
	st, err := store.New(store.Config{}, bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, st)
	c, err := compactor.New(cfg, st, bucket, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, c)
	return c
}

func TestContract(t *testing.T) {
	t.Run("compactor", func(t *testing.T) {
		compactortest.Contract(t, func(t *testing.T) compactor.Service {
			return newCompactor(t, objstore.NewInMemBucket(), compactor.Config{})
		})
	})
	t.Run("fake", func(t *testing.T) {
		compactortest.Contract(t, func(*testing.T) compactor.Service { return &compactortest.Fake{} })
	})
}

func TestConfig(t *testing.T) {
	_, err := compactor.New(compactor.Config{FanIn: 1, CompressionLevel: 9, MaxDiskShare: 2, MaxBytes: -1}, nil, objstore.NewInMemBucket(), nil, nil, nil)
	for _, want := range []string{"FanIn", "CompressionLevel", "MaxDiskShare", "DiskUsage", "MaxBytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error says nothing of %s: %v", want, err)
		}
	}
}

// TestRequestsSurvive starts a second compactor on the same bucket.
func TestRequestsSurvive(t *testing.T) {
	bucket := objstore.NewInMemBucket()
	ctx := user.InjectOrgID(context.Background(), "tenant/with ~ odd name")
	r, err := newCompactor(t, bucket, compactor.Config{}).Delete(ctx, `{app="x"} |= "a"`, 1, 2)
	if err != nil {
		t.Fatal(err)
	}
	c := newCompactor(t, bucket, compactor.Config{})
	if got := c.Deleted("tenant/with ~ odd name"); len(got) != 1 {
		t.Errorf("in force: %v", got)
	}
	if err := c.Cancel(ctx, r.ID, false); err != nil {
		t.Error(err)
	}
	if n := len(bucket.Objects()); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}

// TestHTTP goes through Loki's delete flow.
func TestHTTP(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	c := newCompactor(t, objstore.NewInMemBucket(), compactor.Config{Now: func() time.Time { return now }})
	mux := http.NewServeMux()
	for _, r := range compactor.Routes(c, func() time.Time { return now }, nil) {
		for _, m := range r.Methods {
			mux.Handle(m+" "+r.Path, r.Handler)
		}
	}
	do := func(method, path string, params ...string) (int, string) {
		t.Helper()
		v := url.Values{}
		for i := 0; i < len(params); i += 2 {
			v.Set(params[i], params[i+1])
		}
		req := httptest.NewRequest(method, path+"?"+v.Encode(), nil)
		if method == http.MethodPut {
			req = httptest.NewRequest(method, path, strings.NewReader(v.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, req.WithContext(user.InjectOrgID(req.Context(), "a")))
		return w.Code, strings.TrimSpace(w.Body.String())
	}
	const path = "/loki/api/v1/delete"
	for _, test := range []struct {
		params []string
		want   string
	}{
		{[]string{"start", "1"}, "query not set"},
		{[]string{"query", `{a="b"}`}, "start time not set"},
		{[]string{"query", `{a="b"}`, "start", "x"}, "invalid start time: require unix seconds or RFC3339 format"},
		{[]string{"query", `{a="b"}`, "start", "1", "end", "x"}, "invalid end time: require unix seconds or RFC3339 format"},
		{[]string{"query", `{a="b"}`, "start", "1", "end", "1700000900"}, "deletes in the future are not allowed"},
		{[]string{"query", `{a="b"}`, "start", "3", "end", "2"}, "start time can't be greater than end time"},
		{[]string{"query", `{a="b"}`, "start", "1", "max_interval", "x"}, "invalid max_interval: valid time units are 's', 'm', 'h'"},
		{[]string{"query", `{a="b"`, "start", "1"}, "parse error"},
		{[]string{"query", `rate({a="b"}[1m])`, "start", "1"}, "parse error"},
	} {
		if code, body := do(http.MethodPost, path, test.params...); code != 400 || !strings.HasPrefix(body, test.want) {
			t.Errorf("%v: %d %s, want 400 %s", test.params, code, body, test.want)
		}
	}
	for _, s := range []string{"2600-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1700000000000000000", "-5", "NaN", "Inf", "1e30", "1.0000000001", ".5", "1.5e-3"} {
		for _, name := range []string{"start", "end"} {
			if code, body := do(http.MethodGet, path, name, s); code != 400 || !strings.HasPrefix(body, "invalid "+name) {
				t.Errorf("%s=%s: %d %s, want 400", name, s, code, body)
			}
		}
	}
	if code, body := do(http.MethodGet, path); code != 200 || body != "[]" {
		t.Errorf("empty list: %d %s", code, body)
	}
	if code, body := do(http.MethodPost, path, "query", `{a="b"} |= "x"`, "start", "1591616227", "end", "1591619692", "max_interval", "1h"); code != 204 {
		t.Errorf("POST: %d %s", code, body)
	}
	if code, body := do(http.MethodPut, path, "query", `{a="c"}`, "start", "2023-11-14T00:00:00Z"); code != 204 {
		t.Errorf("PUT: %d %s", code, body)
	}
	code, body := do(http.MethodGet, path)
	var list []map[string]any
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != 200 || len(list) != 2 {
		t.Fatalf("list: %d %s %v", code, body, err)
	}
	first := list[0]
	if first["query"] == `{a="c"}` {
		first = list[1]
	}
	if fmt.Sprint(first["start_time"], first["end_time"], first["status"], first["created_at"]) != fmt.Sprint(1591616227.0, 1591619692.0, "received", 1700000000.0) {
		t.Errorf("request: %s", body)
	}
	if _, body := do(http.MethodGet, path, "start", "1690000000"); strings.Contains(body, "1591616227") || !strings.Contains(body, `{a=\"c\"}`) {
		t.Errorf("list of a range: %s", body)
	}
	id := first["request_id"].(string)
	if code, body := do(http.MethodDelete, path); code != 400 || body != "request_id not set" {
		t.Errorf("cancel nothing: %d %s", code, body)
	}
	if code, body := do(http.MethodDelete, path, "request_id", id); code != 204 {
		t.Errorf("cancel: %d %s", code, body)
	}
	if code, body := do(http.MethodDelete, path, "request_id", id); code != 404 || body != "could not find delete request with given id" {
		t.Errorf("cancel again: %d %s", code, body)
	}
	if code, body := do(http.MethodGet, "/loki/api/v1/retention/preview", "within", "7d"); code != 200 || body != "[]" {
		t.Errorf("preview: %d %s", code, body)
	}
	if code, body := do(http.MethodGet, "/loki/api/v1/segments/damaged"); code != 200 || body != "[]" {
		t.Errorf("damaged: %d %s", code, body)
	}
}

// TestTimesAreExact: a request takes no row that is beyond the times that it says, by however little.
func TestTimesAreExact(t *testing.T) {
	c := newCompactor(t, objstore.NewInMemBucket(), compactor.Config{})
	routes := compactor.Routes(c, nil, nil)
	ctx := user.InjectOrgID(t.Context(), "a")
	for i, test := range []struct {
		text string
		want int64
	}{
		{"1700000000", 1700000000_000000000},
		{"1700000000.1234", 1700000000_123400000},
		{"1700000000.1236", 1700000000_123600000},
		{"1700000000.123456789", 1700000000_123456789},
		{"1700000000.5000000000000", 1700000000_500000000},
		{"1.7e9", 1700000000_000000000},
		{"0", 0},
		{"2023-11-14T22:13:20.000000001Z", 1700000000_000000001},
		{"2023-11-14T23:13:20.9+01:00", 1700000000_900000000},
	} {
		v := url.Values{"query": {`{a="b"}`}, "start": {test.text}, "end": {test.text}}
		w := httptest.NewRecorder()
		routes[0].Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/?"+v.Encode(), nil).WithContext(ctx))
		list, err := c.Requests(ctx)
		if err != nil || w.Code != http.StatusNoContent || len(list) != i+1 {
			t.Fatalf("%s: %d %s %v", test.text, w.Code, w.Body, err)
		}
		found := false
		for _, r := range list {
			found = found || r.Start == test.want && r.End == test.want
		}
		if !found {
			t.Errorf("%s: %v, want %d", test.text, list, test.want)
		}
	}
}
