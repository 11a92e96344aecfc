package cache_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"example.com/loki/cache"
	"example.com/loki/cache/cachetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newCache(t testing.TB, cfg cache.Config, reg prometheus.Registerer) *cache.Memory {
	t.Helper()
	c, err := cache.New(cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContract(t *testing.T) {
	cachetest.Contract(t, func(t *testing.T) cache.Cache { return newCache(t, cache.Config{}, nil) })
}

func TestConfig(t *testing.T) {
	_, err := cache.New(cache.Config{MaxBytes: -1, MaxItems: -1, TTL: -1}, nil)
	for _, name := range []string{"MaxBytes", "MaxItems", "TTL"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New = %v, which lacks %s", err, name)
		}
	}
}

func TestExpires(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newCache(t, cache.Config{TTL: time.Minute, Now: func() time.Time { return now }}, nil)
	c.Set(t.Context(), "a", []byte("1"))
	now = now.Add(time.Minute - 1)
	if c.Get(t.Context(), "a")[0] == nil {
		t.Error("the value went too early")
	}
	now = now.Add(1)
	if c.Get(t.Context(), "a")[0] != nil {
		t.Error("the value is still there")
	}
}

// TestBounds fills a cache with more than it may hold.
func TestBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	reg := prometheus.NewRegistry()
	c := newCache(t, cache.Config{Name: "x", MaxBytes: 1 << 20}, reg)
	for i := range 2000 {
		c.Set(t.Context(), fmt.Sprint(i%1500), make([]byte, r.IntN(12<<10)))
		c.Get(t.Context(), "1") // it is used, so it stays
	}
	c.Set(t.Context(), "large", make([]byte, 1<<20/64))
	if got := c.Get(t.Context(), "large", "2", "1"); got[0] != nil || got[1] != nil || got[2] == nil {
		t.Errorf("%d, %d, %d bytes; want the first two to be gone and the last to be there", len(got[0]), len(got[1]), len(got[2]))
	}
	for name, most := range map[string]float64{"loki_embeddedcache_memory_bytes": 1 << 20, "loki_embeddedcache_entries": 1500} {
		if n := gauge(t, reg, name); n <= 0 || n > most {
			t.Errorf("%s is %v, want at most %v", name, n, most)
		}
	}
	few := newCache(t, cache.Config{MaxItems: 32}, reg)
	for i := range 1000 {
		few.Set(t.Context(), fmt.Sprint(i), nil)
	}
	n := 0
	for i := range 1000 {
		if few.Get(t.Context(), fmt.Sprint(i))[0] != nil {
			n++
		}
	}
	if n < 16 || n > 32 {
		t.Errorf("%d values are left of 32", n)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func gauge(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func BenchmarkMemory(b *testing.B) {
	c := newCache(b, cache.Config{}, nil)
	value := make([]byte, 4<<10)
	keys := make([]string, 1000)
	for i := range keys {
		keys[i] = fmt.Sprint("some-key-of-usual-length-", i)
		c.Set(b.Context(), keys[i], value)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			if c.Get(b.Context(), keys[i%len(keys)])[0] == nil {
				b.Error("a value is missing")
			}
		}
	})
}
