package cluster_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"example.com/loki"
	"example.com/loki/cluster"
	"example.com/loki/ring"
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
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil)
		r.Header.Set("Accept", "application/json")
		e.Handler().ServeHTTP(w, r)
		var page struct {
			Shards []struct{ ID, State string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &page); w.Code != http.StatusOK || err != nil {
			t.Errorf("%s = %d, %v: %s", path, w.Code, err, w.Body)
			continue
		}
		if len(page.Shards) != 1 || page.Shards[0].ID != "one" || page.Shards[0].State != "ACTIVE" && page.Shards[0].State != "JOINING" {
			t.Errorf("%s: %+v", path, page.Shards)
		}
	}
}
