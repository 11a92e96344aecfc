package logql

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func someFound(r *rand.Rand, n int, times int64) []*found {
	var out []*found
	for range n {
		f := &found{stream: labels.FromStrings("app", fmt.Sprint(r.IntN(3))), part: fmt.Sprint(r.IntN(2)), page: r.IntN(3), row: r.IntN(1e6), size: 1}
		f.time = r.Int64N(times)
		if f.shared = r.IntN(3) == 0; f.shared {
			f.hash = rowHash{uint64(r.IntN(3))}
		}
		out = append(out, f)
	}
	return out
}

// TestShortlist: however entries arrive, those on the list are the first of all that are no doubles, and each of the others gives
// its memory back.
func TestShortlist(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := Direction(r.IntN(2))
		mem := &budget{}
		l := newShortlist(d, r.IntN(40), mem)
		var all []*found
		for range 1 + r.IntN(30) {
			fresh := someFound(r, r.IntN(8), 20)
			for _, f := range fresh {
				if err := mem.take(f.size, "entries"); err != nil {
					t.Fatal(err)
				}
			}
			all = append(all, fresh...)
			l.add(slices.Clone(fresh))
		}
		if !slices.IsSortedFunc(l.kept, func(a, b *found) int { return a.compare(b, d) }) {
			t.Fatalf("seed %d: the list is not in order", seed)
		}
		onList := 0
		for _, f := range all {
			if f.gone == slices.Contains(l.kept, f) {
				t.Fatalf("seed %d: an entry is gone: %t, and on the list too, or neither", seed, f.gone)
			}
			if !f.gone {
				onList++
			}
		}
		for i, f := range l.kept {
			if f.shared && f.isAmong(slices.DeleteFunc(slices.Clone(l.kept[:i]), func(o *found) bool { return !o.together(f) })) {
				t.Fatalf("seed %d: entry %d is a double", seed, i)
			}
		}
		if l.limit > 0 && len(l.kept) > l.limit || onList != len(l.kept) || mem.used.Load() != int64(onList) {
			t.Fatalf("seed %d: %d entries on a list of %d, of %d that are not gone, taking %d", seed, len(l.kept), l.limit, onList, mem.used.Load())
		}
		for _, f := range all {
			full := l.limit > 0 && len(l.kept) == l.limit
			if f.gone && !f.shared && (!full || f.compare(l.kept[len(l.kept)-1], d) < 0) {
				t.Fatalf("seed %d: an entry of %d is missing", seed, f.time)
			}
		}
		for i, f := range l.kept[:cap(l.kept)] {
			if i >= len(l.kept) && f != nil {
				t.Fatalf("seed %d: an entry behind the list is held", seed)
			}
		}
	}
}

// BenchmarkShortlist adds a thousand entries one by one, the newest first.
func BenchmarkShortlist(b *testing.B) {
	b.ReportAllocs()
	entries := make([]*found, 1000)
	for i := range entries {
		entries[i] = &found{entry: entry{time: int64(-i)}, stream: labels.FromStrings("app", "x")}
	}
	one := make([]*found, 1)
	for b.Loop() {
		l := newShortlist(Backward, 2000, &budget{})
		for _, f := range entries {
			one[0] = f
			l.add(one)
		}
	}
}
