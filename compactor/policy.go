package compactor

import (
	"cmp"
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

// growth is how much larger than all before it together a segment may be to be merged with them.
const growth = 2

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
		// A segment over several partitions is worked on so that it comes apart.
		if s.RawBytes+s.MetadataBytes < p.maxBytes/2 || p.spans(s) {
			parts[at] = append(parts[at], s)
		}
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
			if s.MaxTime-s.MinTime > 2*int64(p.partition) {
				return []store.SegmentInfo{s}
			}
		}
	}
	return nil
}

func (p policy) spans(s store.SegmentInfo) bool {
	return partitionOf(s.MinTime, p.partition) != partitionOf(s.MaxTime, p.partition) &&
		s.MaxTime-s.MinTime > int64(p.partition)/4
}

// group returns segments of about one size, at least so many: the smallest ones for which there are enough. A
// small one that is left over waits for others of its size; it does not keep larger ones from being merged.
func (p policy) group(segments []store.SegmentInfo, least int) []store.SegmentInfo {
	class := func(s store.SegmentInfo) int { // sizes within a factor of two are one
		n := 0
		for b := sizeOf(s); b > 1<<20; b >>= 1 {
			n++
		}
		return n
	}
	slices.SortFunc(segments, func(a, b store.SegmentInfo) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), cmp.Compare(a.MinTime, b.MinTime), a.ID.Compare(b.ID))
	})
	for from := range segments {
		if n := p.run(segments[from:]); n >= least {
			return segments[from : from+n]
		}
	}
	return nil
}

func sizeOf(s store.SegmentInfo) int64 { return max(s.RawBytes+s.MetadataBytes, 1) }

// run returns how many of the first segments can be merged at once.
func (p policy) run(segments []store.SegmentInfo) int {
	const small = 1 << 20 // always taken along
	var sum int64
	n := 0
	for _, s := range segments {
		b := sizeOf(s)
		if n == p.maxInputs || n > 1 && sum+b > p.maxBytes || n > 0 && b > small && b > growth*sum {
			break
		}
		sum += b
		n++
	}
	return n
}
