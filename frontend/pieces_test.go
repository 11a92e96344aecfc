package frontend

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"example.com/loki/logql/column"
)

// TestGrid: pieces cover the range one after another, are no more than asked for, and cut no minute that a store
// counts rows by.
func TestGrid(t *testing.T) {
	day := int64(24 * time.Hour)
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	type span struct {
		start, end int64
		n          int
	}
	spans := []span{
		{noon, noon + day, gridOfTasks}, {noon + 1, noon + day + 1, gridOfTasks}, {noon, noon + 1, 24}, {noon, noon + 2, 24},
		{noon, noon + day, 1}, {math.MinInt64 / 2, noon, 96}, {-day, day, 7}, {math.MaxInt64 - day, math.MaxInt64, 96},
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		start := noon + r.Int64N(day)
		spans = append(spans, span{start, start + 1 + r.Int64N(1<<r.IntN(56)), 1 + r.IntN(100)})
	}
	for _, s := range spans {
		cuts := grid(s.start, s.end, s.n)
		last := len(cuts) - 1
		if last < 1 || last > s.n || cuts[0] != s.start || cuts[last] != s.end {
			t.Fatalf("%v is cut at %v", s, cuts)
		}
		for i, c := range cuts[1:] {
			if c <= cuts[i] {
				t.Fatalf("%v is cut at %v", s, cuts)
			}
			if i+1 < last && column.MinuteOf(c) == column.MinuteOf(c-1) {
				t.Fatalf("%v is cut at %d, within a minute", s, c)
			}
		}
	}
	if n := len(grid(noon, noon+day, gridOfTasks)) - 1; n < gridOfTasks/2-1 {
		t.Errorf("a day has %d pieces", n)
	}
}
