package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/limits"
)

type sample struct {
	Dir      string
	Now      func() time.Time
	Logger   *slog.Logger
	Reg      prometheus.Registerer
	Level    *slog.LevelVar
	WAL      struct{ SyncEvery time.Duration }
	MaxAge   time.Duration
	Limits   limits.Limits
	private  int
	Labelled map[string]string
}

func TestStatusRoutes(t *testing.T) {
	reg := prometheus.NewRegistry()
	var level slog.LevelVar
	var notReady error
	set := sample{Dir: "data", Now: time.Now, Logger: slog.Default(), Reg: reg, Level: &level, MaxAge: time.Hour, private: 1,
		Labelled: map[string]string{"b": "2", "a": "1"}}
	h := Mount(StatusRoutes(Status{
		Ready:    func(context.Context) error { return notReady },
		Gatherer: reg,
		Config:   func() any { return set },
		Defaults: func() any { return &sample{MaxAge: time.Minute} },
		Services: func() []ServiceState { return []ServiceState{{"store", "Running"}, {"ingester", "Starting"}} },
		Level:    &level,
	}), Options{Registerer: reg})

	for _, c := range []struct {
		method, target string
		code           int
		body           string // is in the answer; with a leading ^ it is the whole of it
	}{
		{"GET", "/ready", 200, "^ready\n"},
		{"GET", "/services", 200, "^store => Running\ningester => Starting\n"},
		{"GET", "/metrics", 200, "loki_request_duration_seconds_bucket"},
		{"GET", "/config", 200, "dir: data\n"},
		{"GET", "/config", 200, "wal:\n    sync_every: 0s\nmax_age: 1h0m0s\n"},
		{"GET", "/config", 200, "max_query_bytes_read: 0\n"},
		{"GET", "/config?mode=defaults", 200, "max_age: 1m0s\n"},
		{"GET", "/config?mode=diffs", 200, "^dir: data\nlevel: INFO\nmax_age: 1h0m0s\nlabelled:\n    a: \"1\"\n    b: \"2\"\n"},
		{"GET", "/config?mode=nonsense", 400, "unknown mode"},
		{"GET", "/log_level", 200, `^{"message":"Current log level is info"}` + "\n"},
		{"POST", "/log_level?log_level=debug", 200, `^{"message":"Log level set to debug","status":"success"}` + "\n"},
		{"GET", "/log_level", 200, "is debug"},
		{"POST", "/log_level?log_level=loud", 400, `"status":"failed"`},
		{"GET", "/debug/pprof/heap", 404, "not found"},
	} {
		w := get(h, c.method, c.target)
		body := w.Body.String()
		whole, exact := strings.CutPrefix(c.body, "^")
		if w.Code != c.code || exact && body != whole || !exact && !strings.Contains(body, c.body) {
			t.Errorf("%s %s = %d\n%s\nwant %d\n%s", c.method, c.target, w.Code, body, c.code, c.body)
		}
	}

	notReady = errors.New("Ingester not ready: replaying")
	if w := get(h, "GET", "/ready"); w.Code != 503 || w.Body.String() != "Ingester not ready: replaying\n" {
		t.Errorf("/ready = %d %q", w.Code, w.Body)
	}

	var info map[string]string
	w := get(h, "GET", "/loki/api/v1/status/buildinfo")
	if err := json.Unmarshal(w.Body.Bytes(), &info); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"version", "revision", "branch", "buildUser", "buildDate", "goVersion"} {
		if _, ok := info[k]; !ok {
			t.Errorf("build info lacks %s: %v", k, info)
		}
	}
}

func TestPprof(t *testing.T) {
	h := Mount(StatusRoutes(Status{Pprof: true}), Options{})
	for _, target := range []string{
		"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=1", "/debug/pprof/heap",
		"/debug/pprof/profile?seconds=0.01", "/debug/pprof/trace?seconds=0.01", "/debug/fgprof?seconds=1",
	} {
		if w := get(h, "GET", target); w.Code != 200 || w.Body.Len() == 0 {
			t.Errorf("GET %s = %d with %d bytes", target, w.Code, w.Body.Len())
		}
	}
	if w := get(h, "GET", "/debug/pprof/nothing"); w.Code != 404 {
		t.Errorf("unknown profile = %d, want 404", w.Code)
	}
	// Importing the engine must not open the host's own mux.
	r := httptest.NewRequest("GET", "/debug/pprof/heap", nil)
	if _, pattern := http.DefaultServeMux.Handler(r); pattern != "" {
		t.Errorf("http.DefaultServeMux has %s", pattern)
	}
}

func TestSnake(t *testing.T) {
	for in, want := range map[string]string{
		"Dir": "dir", "MaxQueryBytesRead": "max_query_bytes_read", "WALSync": "wal_sync", "IngestionRateMB": "ingestion_rate_mb",
		"HTTPPort": "http_port", "A": "a",
	} {
		if got := snake(in); got != want {
			t.Errorf("snake(%q) = %q, want %q", in, got, want)
		}
	}
}
