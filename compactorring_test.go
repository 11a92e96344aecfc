package loki_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/loki"
	membership "example.com/loki/cluster"
	"example.com/loki/limits"
	"example.com/loki/ring"
	"example.com/loki/store"
)

// get returns what an engine answers.
func get(t *testing.T, eng *loki.Engine, path string) string {
	t.Helper()
	w := httptest.NewRecorder()
	eng.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%s = %d %s", path, w.Code, w.Body)
	}
	return w.Body.String()
}

// metric returns the sum of a metric over its labels.
func metric(t *testing.T, eng *loki.Engine, name string) (sum float64) {
	t.Helper()
	for s := bufio.NewScanner(strings.NewReader(get(t, eng, "/metrics"))); s.Scan(); {
		line := s.Text()
		if rest, ok := strings.CutPrefix(line, name); ok && (rest[0] == ' ' || rest[0] == '{') {
			f, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += f
		}
	}
	return sum
}

// TestCompactorRing has two compactors share the tenants, and one take over those of the other.
func TestCompactorRing(t *testing.T) {
	bucket, err := store.NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const tenants = 16
	expired := 0
	fill := func() {
		t.Helper()
		eng, err := loki.Open(loki.Config{Dir: t.TempDir(), Bucket: bucket})
		if err != nil {
			t.Fatal(err)
		}
		defer eng.Close()
		for n := range tenants {
			ctx := loki.WithTenant(t.Context(), fmt.Sprint("tenant-", n))
			if err := eng.Push(ctx, loki.Line{Labels: `{a="b"}`, Time: time.Now().Add(-48 * time.Hour), Text: fmt.Sprint("line ", expired)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := eng.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		expired += tenants
	}
	fill()

	l := loki.EmbeddedLimits()
	l.RetentionPeriod = 24 * time.Hour
	var join []string
	var both []*loki.Engine
	for _, name := range []string{"a", "b"} {
		m, err := membership.New(membership.Config{Ring: ring.Config{
			Store: ring.Memberlist, Join: join, BindAddr: "127.0.0.1", BindPort: -1, InstanceID: "compactor-" + name, InstanceAddr: "127.0.0.1",
			InstancePort: 9000 + len(both), HeartbeatPeriod: time.Second, ListenAddr: "127.0.0.1",
		}}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg := eager(loki.Config{Dir: t.TempDir(), Bucket: bucket, Limits: limits.Fixed(l), Name: name, Cluster: loki.Cluster{Membership: m}})
		eng, err := loki.NewTopology(cfg).Component(loki.Compactor).Build()
		if err != nil {
			t.Fatal(err)
		}
		defer eng.Close()
		if err := eng.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		join = append(join, fmt.Sprintf("127.0.0.1:%d", m.GossipPort()))
		both = append(both, eng)
	}
	await := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !done(); <-time.After(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("after a minute still not: %s", what)
			}
		}
	}
	const dropped, leads = "loki_compactor_segments_dropped_total", "loki_boltdb_shipper_compactor_running"
	await("both are known to both", func() bool {
		for _, eng := range both {
			page := get(t, eng, "/compactor/ring")
			if !strings.Contains(page, "compactor-a") || !strings.Contains(page, "compactor-b") || strings.Count(page, `class="ACTIVE"`) != 2 {
				return false
			}
		}
		return metric(t, both[0], leads)+metric(t, both[1], leads) == 1
	})
	pass := func(eng *loki.Engine) {
		t.Helper()
		if err := eng.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 { // the segments are at rest by now; more passes must not make one take what is the other's
		pass(both[0])
	}
	first := metric(t, both[0], dropped)
	pass(both[1])
	second := metric(t, both[1], dropped)
	if first == 0 || second == 0 || first+second != tenants {
		t.Errorf("of %d tenants one compactor has worked on %v, the other on %v", tenants, first, second)
	}

	fill()
	if err := both[0].Close(); err != nil {
		t.Fatal(err)
	}
	await("the other takes over", func() bool {
		pass(both[1])
		return metric(t, both[1], dropped) == second+tenants
	})
	if n := metric(t, both[1], leads); n != 1 {
		t.Errorf("the one that is left says %v", n)
	}
}
