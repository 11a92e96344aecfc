package loki_test

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/ring/member"
)

// TestTargets checks which endpoints each target serves: alone, and in a cluster with a ruler.
func TestTargets(t *testing.T) {
	push := []string{"/loki/api/v1/push", "/api/prom/push", "/otlp/v1/logs"}
	keep := []string{"/flush", "/ingester/prepare_shutdown", "/ingester/shutdown"}
	query := []string{"/loki/api/v1/query_range", "/loki/api/v1/query", "/loki/api/v1/labels", "/loki/api/v1/label", "/loki/api/v1/label/a/values",
		"/loki/api/v1/series", "/loki/api/v1/index/stats", "/loki/api/v1/index/shards", "/loki/api/v1/index/volume", "/loki/api/v1/index/volume_range", "/loki/api/v1/patterns",
		"/loki/api/v1/tail", "/api/prom/tail", "/api/prom/query", "/api/prom/label", "/api/prom/label/a/values", "/api/prom/series"}
	detect := []string{"/loki/api/v1/detected_labels", "/loki/api/v1/detected_fields", "/loki/api/v1/detected_field/a/values"}
	remove := []string{"/loki/api/v1/delete", "/loki/api/v1/cache/generation_numbers", "/loki/api/v1/retention/preview", "/loki/api/v1/segments/damaged"}
	rules := []string{"/loki/api/v1/rules", "/loki/api/v1/rules/a", "/loki/api/v1/rules/a/b", "/api/prom/rules", "/api/prom/rules/a", "/api/prom/rules/a/b",
		"/prometheus/api/v1/rules", "/prometheus/api/v1/alerts"}
	rings := []string{"/memberlist", "/ring", "/distributor/ring", "/compactor/ring", "/ruler/ring", "/indexgateway/ring", "/scheduler/ring"}
	everywhere := []string{"/ready", "/metrics", "/config", "/services", "/log_level", "/loki/api/v1/status/buildinfo", "/loki/api/v1/format_query",
		"/loki/api/v1/drilldown-limits", "/config/tenant/v1/limits"}
	nowhere := []string{"/", "/v1/logs", "/debug/pprof/heap", "/debug/fgprof"} // nobody asked for profiles
	paths := slices.Concat(push, keep, query, detect, remove, rules, rings, everywhere, nowhere)
	for target, want := range map[string]struct{ own, rings []string }{
		"all":             {slices.Concat(push, keep, query, detect, remove, rules), rings},
		"write":           {slices.Concat(push, keep), []string{"/ring", "/distributor/ring"}},
		"read":            {slices.Concat(query, detect), []string{"/ring", "/scheduler/ring"}},
		"backend":         {slices.Concat(remove, rules), []string{"/ring", "/compactor/ring", "/ruler/ring", "/indexgateway/ring", "/scheduler/ring"}},
		"compactor":       {remove, []string{"/compactor/ring"}},
		"distributor":     {push, []string{"/ring", "/distributor/ring"}},
		"ingester":        {keep, []string{"/ring"}},
		"querier":         {query, []string{"/ring", "/scheduler/ring"}},
		"query-frontend":  {slices.Concat(query, detect), []string{"/scheduler/ring"}},
		"query-scheduler": {nil, []string{"/scheduler/ring"}},
		"index-gateway":   {nil, []string{"/indexgateway/ring"}},
		"ruler":           {rules, []string{"/ring", "/ruler/ring"}},
	} {
		parts, err := loki.ParseTargets(target)
		if err != nil {
			t.Fatal(err)
		}
		check := func(t *testing.T, cfg loki.Config, want []string) {
			t.Helper()
			cfg.LogLevel = new(slog.LevelVar)
			eng, err := loki.NewTopology(cfg).Component(parts...).Build()
			if err != nil {
				t.Fatal(err)
			}
			defer eng.Close()
			if err := eng.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, p := range paths {
				w := httptest.NewRecorder()
				// A method that none of them has: it is refused where the path is known, and does nothing.
				eng.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPatch, p, nil))
				if got := w.Code == http.StatusMethodNotAllowed; got != (slices.Contains(everywhere, p) || slices.Contains(want, p)) {
					t.Errorf("%s = %d", p, w.Code)
				}
			}
			err = eng.Push(t.Context(), loki.Line{Labels: `{a="b"}`, Text: "c"})
			if got := errors.Is(err, loki.ErrNotHere); got == slices.Contains(want, push[0]) {
				t.Errorf("Push = %v", err)
			}
		}
		addresses := map[loki.Component]string{loki.Ingester: "127.0.0.1:1", loki.QueryScheduler: "127.0.0.1:1,127.0.0.1:2"}
		var built loki.Collaborators
		t.Run(target+"/alone", func(t *testing.T) {
			cfg := loki.Config{Dir: t.TempDir(), Cluster: loki.Cluster{Addresses: addresses}}
			if target == "ruler" {
				cfg.Ruler = withRuler("", &built).Ruler
			}
			check(t, cfg, slices.DeleteFunc(slices.Concat(want.own, want.rings, []string{"/memberlist"}), func(p string) bool {
				return target != "ruler" && (slices.Contains(rules, p) || p == "/ruler/ring" || target == "backend" && p == "/ring") // there is no ruler
			}))
		})
		t.Run(target+"/in a cluster", func(t *testing.T) {
			m := &members{bucket: objstore.NewInMemBucket(), here: map[loki.Component][]member.Instance{}}
			cfg := withRuler(t.TempDir(), &built)
			cfg.Bucket = m.bucket
			cfg.Cluster = loki.Cluster{Addresses: addresses, Membership: &process{services.NewIdleService(nil, nil), m, "one", "127.0.0.1:1", ""}}
			check(t, cfg, slices.Concat(want.own, want.rings, []string{"/memberlist"}))
		})
	}
	if _, err := loki.ParseTargets("write", "writer"); err == nil || !strings.Contains(err.Error(), "writer") {
		t.Errorf("ParseTargets of nonsense = %v", err)
	}
}

// TestPagesWithoutRing looks at the pages of rings in a process that has none.
func TestPagesWithoutRing(t *testing.T) {
	eng, err := loki.NewTopology(loki.Config{Dir: t.TempDir(), Name: "one", Cluster: loki.Cluster{
		Addresses: map[loki.Component]string{loki.QueryScheduler: "far:9095"},
	}}).Component(loki.Distributor, loki.Ingester, loki.Querier).Build()
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	get := func(method, path, accept string) (int, string) {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set("Accept", accept)
		eng.Handler().ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	if code, text := get(http.MethodGet, "/ring", ""); code != http.StatusOK || !strings.Contains(text, "JOINING") {
		t.Errorf("GET /ring before the start = %d %s", code, text)
	}
	if err := eng.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path, accept, want string
	}{
		{"/ring", "", "the ingester that it runs itself, which is ACTIVE"},
		{"/ring", "application/json", `"id":"one","state":"ACTIVE"`},
		{"/scheduler/ring", "", "finds the query-scheduler at far:9095"},
		{"/scheduler/ring", "application/json", `"shards":[]`},
		{"/memberlist", "", "gossips with nobody"},
	} {
		if code, text := get(http.MethodGet, tt.path, tt.accept); code != http.StatusOK || !strings.Contains(text, tt.want) {
			t.Errorf("GET %s = %d %s, want %s", tt.path, code, text, tt.want)
		}
	}
	if code, _ := get(http.MethodPost, "/ring", ""); code != http.StatusNotFound {
		t.Errorf("POST /ring = %d", code)
	}
}
