package config

import (
	"strings"
	"testing"

	"example.com/loki/limits"
)

// TestTuning shows that each of these settings arrives at a component, and that none says anything unless it is set.
func TestTuning(t *testing.T) {
	const given = 1 << 20
	for _, s := range tuningSettings(Default()) {
		c, err := load(t, "", "-"+s.flag+"=1048576")
		if err != nil {
			t.Errorf("-%s: %v", s.flag, err)
			continue
		}
		e, err := c.Engine(limits.Fixed(c.Limits), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, n := range []int64{
			e.Ingester.MaxHeadBytes, e.Ingester.WALTarget, int64(e.Ingester.CutConcurrency), e.Distributor.MaxInflight, e.Replicas.MaxPending,
			e.Store.CacheBytes, e.Store.IndexCacheBytes, int64(e.Store.OpenConcurrency), e.Frontend.TaskBytes, e.Scheduler.TenantBytes,
			e.Scheduler.MaxBytes, int64(e.Querier.Parallelism), int64(e.Cluster.GRPC.MaxRequest),
		} {
			switch n {
			case given:
				found++
			case 0:
			default:
				t.Errorf("-%s sets a field to %d", s.flag, n)
			}
		}
		if found != 1 {
			t.Errorf("-%s sets %d fields, want one", s.flag, found)
		}
		if !strings.Contains(s.help, "not in Loki") {
			t.Errorf("-%s: the help must say that it is not Loki's", s.flag)
		}
	}
}
