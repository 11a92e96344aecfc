package cluster_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"example.com/loki"
	"example.com/loki/cluster"
	"example.com/loki/ring"
	"example.com/loki/ring/member"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestRingPages asks a process of a cluster of one for all pages about its rings.
func TestRingPages(t *testing.T) {
	m, err := cluster.New(cluster.Config{Ring: ring.Config{Store: ring.InMemory, InstanceID: "one", InstanceAddr: "127.0.0.1", InstancePort: 9095}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	e, err := loki.NewTopology(loki.Config{Dir: t.TempDir(), Cluster: loki.Cluster{Membership: m}}).Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, path := range []string{"/ring", "/distributor/ring", "/compactor/ring", "/indexgateway/ring", "/scheduler/ring"} {
		var page struct {
			Shards []struct{ ID, State string }
		}
		// Who joins is seen a moment later.
		for deadline := time.Now().Add(time.Minute); len(page.Shards) == 0 && time.Now().Before(deadline); runtime.Gosched() {
			w := httptest.NewRecorder()
			r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
			r.Header.Set("Accept", "application/json")
			e.Handler().ServeHTTP(w, r)
			if err := json.Unmarshal(w.Body.Bytes(), &page); w.Code != http.StatusOK || err != nil {
				t.Fatalf("%s = %d, %v: %s", path, w.Code, err, w.Body)
			}
		}
		if len(page.Shards) != 1 || page.Shards[0].ID != "one" || page.Shards[0].State != "ACTIVE" && page.Shards[0].State != "JOINING" {
			t.Errorf("%s: %+v", path, page.Shards)
		}
	}
}

// late is a membership whose ring of ingesters is known with a delay, as gossip has it.
type late struct{ *cluster.Membership }

func (m late) Ring(c loki.Component) (loki.Ring, error) {
	r, err := m.Membership.Ring(c)
	if err != nil || c != loki.Ingester {
		return r, err
	}
	return lateRing{r, time.Now().Add(500 * time.Millisecond)}, nil
}

type lateRing struct {
	loki.Ring
	from time.Time
}

func (r lateRing) View() member.View {
	if time.Now().Before(r.from) {
		return member.View{}
	}
	return r.Ring.View()
}

// TestFirstPush pushes as soon as Start has returned: the distributor must know of its own ingester by then, and
// /ready must not say so before.
func TestFirstPush(t *testing.T) {
	for _, test := range []struct {
		name  string
		await func(*loki.Engine, <-chan error) error
	}{
		{"after Start", func(_ *loki.Engine, started <-chan error) error { return <-started }},
		{"after /ready", func(e *loki.Engine, _ <-chan error) error {
			for {
				w := httptest.NewRecorder()
				e.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ready", nil))
				if w.Code == http.StatusOK {
					return nil
				}
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := cluster.New(cluster.Config{Ring: ring.Config{Store: ring.InMemory, InstanceID: "one", InstanceAddr: "127.0.0.1", InstancePort: 9095}}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			e, err := loki.NewTopology(loki.Config{Dir: t.TempDir(), Cluster: loki.Cluster{Membership: late{m}}}).Build()
			if err != nil {
				t.Fatal(err)
			}
			started := make(chan error, 1)
			var wg sync.WaitGroup
			wg.Go(func() { started <- e.Start(context.Background()) })
			if err := test.await(e, started); err != nil {
				t.Fatal(err)
			}
			if err := e.Push(t.Context(), loki.Line{Labels: `{a="b"}`, Text: "first"}); err != nil {
				t.Errorf("the first push: %v", err)
			}
			wg.Wait()
			if err := e.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
