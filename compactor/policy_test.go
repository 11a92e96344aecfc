package compactor

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"example.com/loki/store"
)

// TestPolicy simulates days of parts and measures what merging costs and leaves.
func TestPolicy(t *testing.T) {
	const day = 24 * time.Hour
	p := policy{partition: day, fanIn: 4, maxBytes: 1 << 30, maxInputs: 16}
	for _, test := range []struct {
		name      string
		every     time.Duration // a part
		bytes     int64
		late      float64 // share of parts with some rows of the day before
		segments  float64 // a day, at most
		amplified float64 // bytes rewritten for each pushed, at most
	}{
		{"10 GB a day", day / 160, 64 << 20, 0.02, 25, 2.5},
		{"1 GB a day", 2 * time.Hour, 85 << 20, 0.02, 5, 2.5},
		{"10 MB a day", 30 * time.Minute, 10 << 20 / 48, 0, 4, 4},
		{"200 GB a day", day / 3200, 64 << 20, 0.02, 420, 2.5},
	} {
		t.Run(test.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			var segments []store.SegmentInfo
			var pushed, rewritten int64
			merges, parts := 0, 0
			id := func(at time.Duration) ulid.ULID {
				parts++
				return ulid.ULID{0: byte(parts >> 24), 1: byte(parts >> 16), 2: byte(parts >> 8), 3: byte(parts), 15: byte(at)}
			}
			const days = 5
			pass := func(now time.Duration) {
				for {
					group := p.next(segments, func(start int64) bool { return start < int64(now-day-time.Hour) })
					if group == nil {
						return
					}
					merges++
					in := map[ulid.ULID]bool{}
					outs := map[int64]*store.SegmentInfo{}
					for _, s := range group {
						in[s.ID] = true
						rewritten += s.RawBytes
						first, last := partitionOf(s.MinTime, day), partitionOf(s.MaxTime, day)
						for at := first; at <= last; at += int64(day) {
							share := float64(min(s.MaxTime, at+int64(day))-max(s.MinTime, at)+1) / float64(s.MaxTime-s.MinTime+1)
							o := outs[at]
							if o == nil {
								o = &store.SegmentInfo{ID: id(now), MinTime: max(s.MinTime, at), MaxTime: min(s.MaxTime, at+int64(day)-1), Rows: 1}
								outs[at] = o
							}
							o.RawBytes += int64(float64(s.RawBytes) * share)
							o.MinTime, o.MaxTime = min(o.MinTime, max(s.MinTime, at)), max(o.MaxTime, min(s.MaxTime, at+int64(day)-1))
						}
					}
					rest := segments[:0]
					for _, s := range segments {
						if !in[s.ID] {
							rest = append(rest, s)
						}
					}
					segments = rest
					for _, o := range outs {
						segments = append(segments, *o)
					}
					if merges > 100_000 {
						t.Fatal("merging does not come to an end")
					}
				}
			}
			nextPass := time.Duration(0)
			for now := time.Duration(0); now < days*day; now += test.every {
				s := store.SegmentInfo{ID: id(now), MinTime: int64(now - test.every), MaxTime: int64(now), RawBytes: test.bytes, Rows: 1}
				if rnd.Float64() < test.late {
					s.MinTime = int64(now - day)
				}
				s.MinTime = max(0, s.MinTime)
				pushed += s.RawBytes
				segments = append(segments, s)
				if now >= nextPass {
					pass(now)
					nextPass = now + 10*time.Minute
				}
			}
			pass((days + 2) * day)
			perDay := float64(len(segments)) / days
			amplified := float64(rewritten) / float64(pushed)
			t.Logf("%d parts a day become %.1f segments, %d merges in all; each byte is rewritten %.2f times",
				int(day/test.every), perDay, merges, amplified)
			if perDay > test.segments || amplified > test.amplified {
				for _, s := range segments {
					t.Logf("%v-%v: %d MB", time.Duration(s.MinTime), time.Duration(s.MaxTime), s.RawBytes>>20)
				}
				t.Errorf("want at most %v segments a day and %v times", test.segments, test.amplified)
			}
		})
	}
}

func TestPartitionOf(t *testing.T) {
	for _, test := range []struct {
		t    int64
		want int64
	}{{0, 0}, {59, 0}, {60e9, 60e9}, {-1, -60e9}, {-60e9, -60e9}, {1 << 62, 4611685980000000000}} {
		if got := partitionOf(test.t, time.Minute); got != test.want {
			t.Errorf("partitionOf(%d) = %d, want %d", test.t, got, test.want)
		}
	}
}

// TestPolicyLeftOver does not let a small segment that fits to nothing keep others from being merged.
func TestPolicyLeftOver(t *testing.T) {
	p := policy{partition: 24 * time.Hour, fanIn: 4, maxBytes: 1 << 30, maxInputs: 16}
	segments := []store.SegmentInfo{{ID: ulid.ULID{0: 1}, RawBytes: 20 << 20}}
	for n := range 8 {
		segments = append(segments, store.SegmentInfo{ID: ulid.ULID{0: byte(2 + n)}, RawBytes: 64 << 20, MinTime: int64(n), MaxTime: int64(n + 1)})
	}
	if group := p.next(segments, func(int64) bool { return false }); len(group) < 8 {
		t.Errorf("%d segments are merged, want the 8 of one size", len(group))
	}
	// Three of one size are too few, whatever lies between them.
	few := slices.Concat(segments[1:4], []store.SegmentInfo{{ID: ulid.ULID{0: 99}, RawBytes: 1 << 20, MinTime: 2, MaxTime: 2}})
	if group := p.next(few, func(int64) bool { return false }); group != nil {
		t.Errorf("%d segments are merged, want none", len(group))
	}
}

// TestPolicyOverlap merges random segments: what becomes of them covers no time of another that none of them overlapped, and
// segments that follow one another do so afterwards.
func TestPolicyOverlap(t *testing.T) {
	const day = int64(24 * time.Hour)
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range 300 {
		p := policy{partition: 24 * time.Hour, fanIn: 4, maxBytes: 1 << 30, maxInputs: 16}
		ordered := round%2 == 0
		var segments []store.SegmentInfo
		n := 2 + rnd.IntN(60)
		for i := range n {
			s := store.SegmentInfo{ID: ulid.ULID{0: byte(i)}, Rows: 1, MinTime: int64(i) * day / int64(n), RawBytes: 60<<20 + rnd.Int64N(8<<20)}
			s.MaxTime = s.MinTime + day/int64(n) - 1
			if !ordered {
				s.MinTime, s.RawBytes = rnd.Int64N(day), 1+rnd.Int64N(1<<(10+rnd.IntN(21)))
				s.MaxTime = min(day-1, s.MinTime+rnd.Int64N(1+day/int64(1+rnd.IntN(50))))
			}
			segments = append(segments, s)
		}
		overlap := func(a, b store.SegmentInfo) bool { return a.MinTime <= b.MaxTime && b.MinTime <= a.MaxTime }
		for merges := 0; ; merges++ {
			group := p.next(slices.Clone(segments), func(int64) bool { return true })
			if group == nil {
				break
			}
			if len(group) < 2 || len(group) > p.maxInputs || merges > n {
				t.Fatalf("merge %d is of %d segments", merges, len(group))
			}
			in := map[ulid.ULID]bool{}
			merged := store.SegmentInfo{ID: ulid.ULID{0: byte(merges), 1: 1}, Rows: 1, MinTime: group[0].MinTime, MaxTime: group[0].MaxTime}
			for _, s := range group {
				in[s.ID] = true
				merged.MinTime, merged.MaxTime = min(merged.MinTime, s.MinTime), max(merged.MaxTime, s.MaxTime)
				merged.RawBytes += s.RawBytes
			}
			rest := slices.DeleteFunc(slices.Clone(segments), func(s store.SegmentInfo) bool { return in[s.ID] })
			if len(rest)+len(group) != len(segments) {
				t.Fatalf("%d segments to merge, of which some are no segments", len(group))
			}
			for _, o := range rest {
				if overlap(o, merged) && !slices.ContainsFunc(group, func(s store.SegmentInfo) bool { return overlap(s, o) }) {
					t.Fatalf("round %d: merging makes a segment that covers one from %d to %d", round, o.MinTime, o.MaxTime)
				}
			}
			segments = append(rest, merged)
		}
		if !ordered {
			continue
		}
		if len(segments) > n/4+1 {
			t.Errorf("%d segments become %d", n, len(segments))
		}
		for i, a := range segments {
			for _, b := range segments[:i] {
				if overlap(a, b) {
					t.Errorf("merged segments overlap: %d to %d and %d to %d", a.MinTime, a.MaxTime, b.MinTime, b.MaxTime)
				}
			}
		}
	}
}
