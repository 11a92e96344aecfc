package logql

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReach checks that whatever was kept before a sequence of times, the ones that an interval keeps
// of all are those it keeps of what reach has kept.
func TestReach(t *testing.T) {
	greedy := func(times []int64, last, interval int64, limit int) []int64 {
		var kept []int64
		for _, at := range times {
			if at >= last+interval && (limit == 0 || len(kept) < limit) {
				kept = append(kept, at)
				last = at
			}
		}
		return kept
	}
	for round := range 500 {
		r := rand.New(rand.NewPCG(uint64(round), 5))
		interval, origin, limit := int64(1+r.IntN(20)), int64(100), r.IntN(6)
		var times []int64
		for range r.IntN(80) {
			times = append(times, origin+int64(r.IntN(150)))
		}
		slices.Sort(times)
		for _, first := range []bool{true, false} {
			re := reach{interval: interval, limit: limit, origin: origin, first: first}
			var kept []int64
			for _, at := range times {
				if re.done {
					break
				}
				if re.keep(at) {
					kept = append(kept, at)
				}
			}
			from := origin - 60
			if first {
				from = origin - 1000
				if limit > 0 && len(kept) > limit {
					t.Fatalf("round %d: the first task keeps %d, the limit is %d", round, len(kept), limit)
				}
			}
			for last := from; last < origin; last++ {
				got, want := greedy(kept, last, interval, limit), greedy(times, last, interval, limit)
				if !slices.Equal(got, want) {
					t.Fatalf("round %d, interval %d, limit %d, %d kept before: of %v\nkept   %v\ngives  %v\nwant   %v", round, interval, limit, last, times, kept, got, want)
				}
				if first {
					break
				}
			}
		}
	}
}
