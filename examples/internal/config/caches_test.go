package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/cache"
	"example.com/loki/cache/memcached"
)

func TestCaches(t *testing.T) {
	load := func(text string) (*Config, error) {
		file := filepath.Join(t.TempDir(), "loki.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return Load([]string{"-config.file=" + file}, os.LookupEnv)
	}
	open := func(text string) *Caches {
		t.Helper()
		c, err := load(text)
		if err != nil {
			t.Fatal(err)
		}
		all, err := c.Caches(nil, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := all.Close(); err != nil {
				t.Error(err)
			}
		})
		return all
	}
	if c := open("query_range: {max_retries: 3}"); c.Results != nil || c.Instant != nil {
		t.Errorf("caches %v without being asked for", c)
	}
	if c := open("query_range: {cache_results: false, results_cache: {cache: {embedded_cache: {enabled: true}}}}"); c.Results != nil {
		t.Error("a cache though it is switched off")
	}
	both := open("query_range: {cache_results: true, cache_instant_metric_results: true, results_cache: {cache: {embedded_cache: {max_size_mb: 1}}}}")
	if _, ok := both.Results.(*cache.Memory); !ok || both.Instant == nil {
		t.Errorf("caches %v, want both in memory", both)
	}
	both.Results.Set(t.Context(), "large", make([]byte, 100<<10))
	both.Instant.Set(t.Context(), "large", make([]byte, 100<<10))
	if both.Results.Get(t.Context(), "large")[0] != nil || both.Instant.Get(t.Context(), "large")[0] == nil {
		t.Error("max_size_mb does not count")
	}
	c := open("query_range: {cache_results: true, results_cache: {cache: {memcached_client: {addresses: '127.0.0.1:1,127.0.0.1:2'}}}}")
	if _, ok := c.Results.(*memcached.Client); !ok {
		t.Errorf("caches %v, want memcached", c)
	}
	// Answers of indexes are kept unless somebody says otherwise.
	usual := open("query_range: {max_retries: 3}")
	for name, c := range map[string]cache.Cache{"labels": usual.Labels, "series": usual.Series, "volumes": usual.Volumes} {
		if _, ok := c.(*cache.Memory); !ok {
			t.Errorf("cache of %s is %T, want one in memory", name, c)
		}
	}
	off := open("query_range: {cache_label_results: false, cache_series_results: false, cache_volume_results: false, cache_index_stats_results: false}")
	if off.Labels != cache.None() || off.Series != cache.None() || off.Volumes != cache.None() {
		t.Errorf("caches %v, want none", off)
	}
	stats := open("query_range: {cache_volume_results: false, index_stats_results_cache: {cache: {memcached_client: {addresses: '127.0.0.1:1'}}}}")
	if _, ok := stats.Volumes.(*memcached.Client); !ok {
		t.Errorf("cache of statistics is %T, want memcached", stats.Volumes)
	}

	none, err := load("query_range: {cache_results: true, results_cache: {cache: {embedded_cache: {enabled: false}}}}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.Caches(nil, nil); err == nil || !strings.Contains(err.Error(), "embedded") {
		t.Errorf("neither kind of cache: %v", err)
	}

	set, err := load("query_range: {max_retries: 0}\nquerier: {multi_tenant_queries_enabled: true}")
	if err != nil {
		t.Fatal(err)
	}
	e, err := set.Engine(nil, nil, nil)
	if err != nil || e.Frontend.MaxRetries != -1 || !e.Frontend.MultiTenant {
		t.Errorf("the frontend is %+v, %v", e.Frontend, err)
	}
}
