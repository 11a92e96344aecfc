package node_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"example.com/loki/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// diary is what happened, in order.
type diary []string

func (d *diary) service(name string, failure error) services.Service {
	return services.NewIdleService(
		func(context.Context) error { *d = append(*d, "start "+name); return failure },
		func(error) error { *d = append(*d, "stop "+name); return nil })
}

func get(h http.Handler, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

// TestOrder follows a node from its start to its end. The context of the start ends in between, which must not matter.
func TestOrder(t *testing.T) {
	var d diary
	n := node.New(node.Config{Dir: t.TempDir()})
	n.Add("store", d.service("store", nil))
	n.Add("querier", d.service("querier", nil))
	n.Join("place", d.service("place", nil))
	n.BeforeStop(func() { d = append(d, "flush") })
	n.Handle(node.Route{Path: "/call", Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})})
	n.HandlePages(node.Route{Path: "/page", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})})
	broken := errors.New("not now")
	var required error
	n.Require(func() error { return required })
	h := n.Handler()
	if got := get(h, "/call"); got != http.StatusServiceUnavailable {
		t.Errorf("a call before the start: %d", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := n.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	for _, c := range []struct {
		path     string
		required error
		want     int
	}{
		{"/call", nil, 200}, {"/ready", nil, 200}, {"/page", nil, 200},
		{"/call", broken, 503}, {"/ready", broken, 503}, {"/page", broken, 200},
	} {
		required = c.required
		if got := get(h, c.path); got != c.want {
			t.Errorf("GET %s while %v is missing: %d, want %d", c.path, c.required, got, c.want)
		}
	}
	required = nil
	if err := n.Start(t.Context()); err == nil {
		t.Error("it starts twice")
	}
	for range 2 {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := get(h, "/call"); got != http.StatusServiceUnavailable {
		t.Errorf("a call after the end: %d", got)
	}
	if want := []string{"start store", "start querier", "start place", "stop place", "flush", "stop querier", "stop store"}; !slices.Equal(d, want) {
		t.Errorf("it did\n%q, want\n%q", d, want)
	}
}

// TestMetrics: HTTP and gRPC count in the same registry, whichever is made first.
func TestMetrics(t *testing.T) {
	for _, handlerFirst := range []bool{true, false} {
		reg := prometheus.NewRegistry()
		n := node.New(node.Config{Registerer: reg, Gatherer: reg})
		if handlerFirst {
			n.Handler()
		}
		s, err := n.NewServer(node.GRPC{})
		if err != nil {
			t.Fatal(err)
		}
		s.Shutdown(t.Context())
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the first request is in what the second one reads
			if got := get(n.Handler(), "/metrics"); got != http.StatusOK {
				t.Errorf("/metrics = %d", got)
			}
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFailedStart leaves nothing behind and says which part failed.
func TestFailedStart(t *testing.T) {
	var d diary
	dir, broken := t.TempDir(), errors.New("disk on fire")
	n := node.New(node.Config{Dir: dir})
	n.Add("store", d.service("store", nil))
	n.Add("ingester", d.service("ingester", broken))
	n.Add("never", d.service("never", nil))
	if err := n.Start(t.Context()); !errors.Is(err, broken) {
		t.Errorf("Start = %v", err)
	}
	if want := []string{"start store", "start ingester", "stop store"}; !slices.Equal(d, want) {
		t.Errorf("it did %q, want %q", d, want)
	}
	first := node.New(node.Config{Dir: dir}) // the folder is free again
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := node.New(node.Config{Dir: dir}).Start(t.Context()); !errors.Is(err, node.ErrInUse) {
		t.Errorf("a second node in the folder: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
}
