package loki_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grafana/dskit/services"

	"example.com/loki"
	"example.com/loki/ingester"
)

// TestNotReady asks an engine that is still starting, and one that is closed.
func TestNotReady(t *testing.T) {
	gate := make(chan struct{})
	eng, err := loki.NewTopology(loki.Config{Dir: t.TempDir()}).With(
		loki.ReplaceIngester(func(_ *loki.Collaborators, build func() (ingester.Service, error)) (ingester.Service, error) {
			inner, err := build()
			return slowStart(inner, gate), err
		})).Build()
	if err != nil {
		t.Fatal(err)
	}
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		eng.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	const query = "/loki/api/v1/query?query=vector(1)"
	started := make(chan error, 1)
	go func() { started <- eng.Start(context.Background()) }()
	for _, path := range []string{"/ready", query} {
		if code, text := get(path); code != http.StatusServiceUnavailable || !strings.Contains(text, "not ready") {
			t.Errorf("GET %s while starting = %d %q, want 503 and what it waits for", path, code, text)
		}
	}
	close(gate)
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/ready", query} {
		if code, text := get(path); code != http.StatusOK {
			t.Errorf("GET %s when started = %d %q, want 200", path, code, text)
		}
	}
	if err := eng.Close(); err != nil {
		t.Fatal(err)
	}
	if code, text := get("/ready"); code != http.StatusServiceUnavailable || !strings.Contains(text, "closed") {
		t.Errorf("GET /ready when closed = %d %q, want 503", code, text)
	}
	if err := eng.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

type life = services.Service

// gatedIngester is an ingester whose start waits for a gate.
type gatedIngester struct {
	ingester.Service
	life
}

func slowStart(inner ingester.Service, gate <-chan struct{}) ingester.Service {
	return &gatedIngester{inner, services.NewIdleService(func(ctx context.Context) error {
		select {
		case <-gate:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil)}
}
