package compactor

import (
	"cmp"
	"math"
	"slices"
	"time"

	"example.com/loki/store"
)

// policy says which segments to merge. It sees segments that count and are at rest.
type policy struct {
	partition time.Duration
	fanIn     int
	maxBytes  int64 // lines of a merged segment
	maxInputs int
}

const (
	// alike is how much smaller than the largest segment of a merge a segment may be to count as one of its size.
	alike = 4
	// tiny segments count as if they were of this size.
	tiny = 256 << 10
)

// partitionOf returns the start of the span that a time lies in.
func partitionOf(t int64, span time.Duration) int64 {
	n := int64(span)
	r := t % n
	if r < 0 {
		r += n
	}
	if t-r > t { // before the first span that has a start
		return t
	}
	return t - r
}

// next returns the segments of one merge, or nil if there is nothing to do. ended tells that no more
// segments are expected in the partition with that start.
func (p policy) next(segments []store.SegmentInfo, ended func(start int64) bool) []store.SegmentInfo {
	parts := make(map[int64][]store.SegmentInfo)
	for _, s := range segments {
		at := partitionOf(s.MaxTime, p.partition)
		parts[at] = append(parts[at], s)
	}
	starts := make([]int64, 0, len(parts))
	for at := range parts {
		starts = append(starts, at)
	}
	slices.Sort(starts)
	for _, at := range starts {
		least := p.fanIn
		if ended(at) {
			least = 2
		}
		if group := p.group(parts[at], least); group != nil {
			return group
		}
		if least > 2 {
			continue
		}
		// Alone, a segment is worth it only if it covers more than two partitions' spans.
		for _, s := range parts[at] {
			if p.mergeable(s) && s.MaxTime-s.MinTime > 2*int64(p.partition) {
				return []store.SegmentInfo{s}
			}
		}
	}
	return nil
}

// mergeable tells whether a segment may be merged with others. One over several partitions is worked on so that it comes apart.
func (p policy) mergeable(s store.SegmentInfo) bool {
	return s.RawBytes+s.MetadataBytes < p.maxBytes/2 || p.spans(s)
}

func (p policy) spans(s store.SegmentInfo) bool {
	return partitionOf(s.MinTime, p.partition) != partitionOf(s.MaxTime, p.partition) &&
		s.MaxTime-s.MinTime > int64(p.partition)/4
}

// group returns segments that follow one another in time, at least so many of them of about one size: the smallest ones for
// which there are enough. What becomes of them covers no time of a segment that none of them overlaps: where segments overlap,
// queries must compare rows, which takes a hundred times as long as counting them.
func (p policy) group(segments []store.SegmentInfo, least int) []store.SegmentInfo {
	slices.SortFunc(segments, func(a, b store.SegmentInfo) int {
		return cmp.Or(cmp.Compare(a.MinTime, b.MinTime), a.ID.Compare(b.ID))
	})
	var classes []int
	for _, s := range segments {
		if p.mergeable(s) {
			classes = append(classes, classOf(s))
		}
	}
	slices.Sort(classes)
	for _, class := range slices.Compact(classes) {
		for from, s := range segments {
			if !p.mergeable(s) || classOf(s) > class {
				continue
			}
			if group := p.run(segments[from:], class, least); group != nil {
				return group
			}
		}
	}
	return nil
}

func sizeOf(s store.SegmentInfo) int64 { return max(s.RawBytes+s.MetadataBytes, 1) }

// classOf numbers sizes: those within a factor of two are one.
func classOf(s store.SegmentInfo) int {
	n := 0
	for b := sizeOf(s); b > tiny; b >>= 1 {
		n++
	}
	return n
}

// run returns the most segments up to a class that can be merged at once, the first one among them, or nil.
func (p policy) run(segments []store.SegmentInfo, class, least int) []store.SegmentInfo {
	group := []store.SegmentInfo{segments[0]}
	sum, reach := sizeOf(segments[0]), segments[0].MaxTime
	best, apart := 0, int64(math.MaxInt64) // the earliest end of a segment left out that the group does not overlap so far
	for _, s := range segments[1:] {
		if len(group) == p.maxInputs || s.MinTime > apart {
			break
		}
		if !p.mergeable(s) || classOf(s) > class {
			if s.MinTime > reach {
				apart = min(apart, s.MaxTime)
			}
			continue
		}
		if len(group) > 1 && sum+sizeOf(s) > p.maxBytes {
			break
		}
		group = append(group, s)
		sum, reach = sum+sizeOf(s), max(reach, s.MaxTime)
		apart = math.MaxInt64 // all that were left out are overlapped by s
		if peers(group) >= least {
			best = len(group)
		}
	}
	if best == 0 {
		return nil
	}
	return group[:best]
}

// peers returns how many of the segments have about the size of the largest.
func peers(group []store.SegmentInfo) (n int) {
	largest := int64(tiny)
	for _, s := range group {
		largest = max(largest, sizeOf(s))
	}
	for _, s := range group {
		if max(sizeOf(s), tiny) >= largest/alike {
			n++
		}
	}
	return n
}
