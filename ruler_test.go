package loki_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/ruler"
	"example.com/loki/ruler/rulertest"
)

// withRuler is the configuration of an engine with a ruler that keeps rules in memory; built gets what it was built
// with.
func withRuler(dir string, built *loki.Collaborators) loki.Config {
	return loki.Config{Dir: dir, Ruler: func(c *loki.Collaborators) (ruler.Service, error) {
		*built = *c
		return &rulertest.Fake{}, nil
	}}
}

func request(e *loki.Engine, method, path, body string) (int, string) {
	w := httptest.NewRecorder()
	e.Handler().ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(body)))
	return w.Code, w.Body.String()
}

func TestRulerOfAnEngine(t *testing.T) {
	var built loki.Collaborators
	e, err := loki.Open(withRuler(t.TempDir(), &built))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if built.Frontend == nil || built.Bucket == nil || built.Rulers.Ring != nil {
		t.Errorf("the ruler is built with %+v", built)
	}
	if status, text := request(e, "POST", "/loki/api/v1/rules/ns", "name: g\nrules: []"); status != http.StatusAccepted {
		t.Errorf("POST: %d %s", status, text)
	}
	if status, text := request(e, "GET", "/prometheus/api/v1/rules", ""); status != http.StatusOK || !strings.Contains(text, `"name":"g"`) {
		t.Errorf("GET: %d %s", status, text)
	}
}

func TestEngineWithoutRuler(t *testing.T) {
	e, err := loki.Open(loki.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if status, _ := request(e, "GET", "/loki/api/v1/rules", ""); status != http.StatusNotFound {
		t.Errorf("GET: %d", status)
	}
	if _, err := loki.NewTopology(loki.Config{Dir: t.TempDir()}).Component(loki.Ruler).Build(); err == nil || !strings.Contains(err.Error(), "ruler/engine") {
		t.Errorf("a ruler that nobody can build gives %v", err)
	}
}

func TestHideRules(t *testing.T) {
	var built loki.Collaborators
	cfg := withRuler(t.TempDir(), &built)
	cfg.HideRules = true
	e, err := loki.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if status, text := request(e, "GET", "/loki/api/v1/rules", ""); status != http.StatusNotFound || strings.Contains(text, "no rule groups") {
		t.Errorf("GET: %d %s", status, text)
	}
}

// TestRulerAlone has the ruler ask a frontend elsewhere: it needs neither a querier nor a store.
func TestRulerAlone(t *testing.T) {
	var built loki.Collaborators
	cfg := withRuler("", &built)
	cfg.Bucket = objstore.NewInMemBucket()
	cfg.Cluster.Addresses = map[loki.Component]string{loki.QueryFrontend: "127.0.0.1:1"}
	e, err := loki.NewTopology(cfg).Component(loki.Ruler).Build()
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if built.Frontend == nil || built.Querier != nil || built.Store != nil || built.Bucket == nil {
		t.Errorf("the ruler is built with %+v", built)
	}
	// Without one it has a querier of its own, which needs ingesters.
	cfg.Dir, cfg.Cluster.Addresses = t.TempDir(), map[loki.Component]string{loki.Ingester: "127.0.0.1:1"}
	e2, err := loki.NewTopology(cfg).Component(loki.Ruler).Build()
	if err != nil {
		t.Fatal(err)
	}
	defer e2.Close()
	if built.Frontend == nil || built.Querier == nil || built.Store == nil {
		t.Errorf("the ruler is built with %+v", built)
	}
}
