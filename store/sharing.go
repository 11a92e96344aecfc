package store

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
	"sort"
	"sync"

	"example.com/loki/logql/column"
)

// sharing knows which streams several of the selected segments have at the same time. It is safe for concurrent use.
type sharing struct {
	double     []timeRange // what more than one segment of the query covers, ascending and apart from each other
	segs       []selected
	start, end int64 // what is asked for
	digests    bool  // what is the same is found by digests

	// Streams that have rows at such times, once somebody asked: a table by hash, of numbers from 1 in streams.
	once    sync.Once
	err     error
	table   []int32
	streams []sharedStream

	decoded []decodedDigests // of each segment
	mu      sync.Mutex
	judged  map[uint64]*judged // by hash; guarded by mu
}

// sharedStream is a stream in one of several segments that overlap in time.
type sharedStream struct {
	hash       uint64
	next       int32 // the next one of the same place in the table; 0: none
	seg        int32
	first, end uint32 // its runs, which ascend in time
}

// newSharing takes the segments that were opened for a query, and what is covered doubly by all that the query reads. It looks
// only at streams that have rows about such times; mostly there are few. With digests, segs must hold all segments of the query
// that have rows in the long spans in which those have some that are asked about.
func newSharing(segs []selected, double []timeRange, start, end int64, digests bool) *sharing {
	sh := &sharing{double: double, segs: segs, start: start, end: end, digests: digests}
	if digests {
		sh.decoded = make([]decodedDigests, len(segs))
	}
	return sh
}

// outward returns the times of all long spans that some times lie in.
func outward(r timeRange) timeRange {
	if r.min > -maxDigestTime {
		r.min = column.MinuteOf(r.min)>>maxDigestLevel*digestStep + 1
	}
	if r.max < maxDigestTime {
		r.max = (column.MinuteOf(r.max)>>maxDigestLevel + 1) * digestStep
	}
	return r
}

// find fills the table.
func (sh *sharing) find() error {
	about := timeRange{sh.double[0].min, sh.double[len(sh.double)-1].max}
	if sh.digests {
		about = outward(about)
	}
	asked := timeRange{sh.start, sh.end}
	if sh.digests {
		asked = outward(asked)
	}
	for i := range sh.segs {
		seg := sh.segs[i].seg
		t := seg.table
		for _, in := range sh.segs[i].streams {
			for s := int(in.from); s < int(in.to); s++ {
				if lo, hi := t.timeRange(s); hi < about.min || lo > about.max {
					continue
				}
				first, end := t.runsOf(s, asked.min, asked.max)
				if first == end {
					continue
				}
				times := timeRange{t.min[first], t.max[end-1]}
				if sh.digests {
					times = outward(times)
				}
				if !sh.covers(times.min, times.max) {
					continue
				}
				hash, err := seg.index.hash(s)
				if err != nil {
					return seg.streamError(s, err)
				}
				sh.streams = append(sh.streams, sharedStream{hash: hash, seg: int32(i), first: uint32(first), end: uint32(end)})
			}
		}
	}
	sh.table = make([]int32, 1<<bits.Len(uint(len(sh.streams))))
	for i := range sh.streams {
		s := &sh.streams[i]
		at := s.hash & uint64(len(sh.table)-1)
		s.next, sh.table[at] = sh.table[at], int32(i+1)
	}
	return nil
}

// timeRange is a range of times, inclusive.
type timeRange struct{ min, max int64 }

// doublyCovered returns the times that lie between the first and the last row of several segments.
func doublyCovered(segs []selected) []timeRange {
	order := make([]timeRange, len(segs))
	for i := range segs {
		order[i] = timeRange{segs[i].info.MinTime, segs[i].info.MaxTime}
	}
	slices.SortFunc(order, func(a, b timeRange) int { return cmp.Compare(a.min, b.min) })
	var out []timeRange
	for i, r := range order {
		if i == 0 {
			continue
		}
		reach := order[i-1].max
		order[i].max = max(reach, r.max) // from here on: the end of all so far
		if r.min > reach {
			continue
		}
		both := timeRange{r.min, min(r.max, reach)}
		if n := len(out); n > 0 && both.min <= out[n-1].max {
			out[n-1].max = max(out[n-1].max, both.max)
		} else {
			out = append(out, both)
		}
	}
	return out
}

// covers tells whether some of these times are covered doubly. For those of a run, that is whether another
// segment has rows of any stream about that time.
func (sh *sharing) covers(lo, hi int64) bool {
	if len(sh.double) == 0 {
		return false
	}
	i := 0
	if len(sh.double) > 1 {
		i = sort.Search(len(sh.double), func(i int) bool { return sh.double[i].max >= lo })
	}
	return i < len(sh.double) && sh.double[i].min <= hi && sh.double[i].max >= lo
}

// between returns the times around t, which is not covered doubly, that are not either.
func (sh *sharing) between(t int64) timeRange {
	r := timeRange{math.MinInt64, math.MaxInt64}
	i := sort.Search(len(sh.double), func(i int) bool { return sh.double[i].max >= t })
	if i > 0 {
		r.min = sh.double[i-1].max + 1
	}
	if i < len(sh.double) {
		r.max = sh.double[i].min - 1
	}
	return r
}

// overlaps tells whether another segment has rows of a stream, or of one with the same hash, in a run that overlaps these
// times, inclusive. The stream is one of segment seg.
func (sh *sharing) overlaps(seg, stream int, lo, hi int64) (bool, error) {
	if !sh.covers(lo, hi) {
		return false, nil
	}
	if sh.once.Do(func() { sh.err = sh.find() }); sh.err != nil {
		return false, sh.err
	}
	hash, err := sh.segs[seg].seg.index.hash(stream)
	if err != nil {
		return false, sh.segs[seg].seg.streamError(stream, err)
	}
	for n := sh.table[hash&uint64(len(sh.table)-1)]; n > 0; n = sh.streams[n-1].next {
		s := &sh.streams[n-1]
		if s.hash != hash || int(s.seg) == seg {
			continue
		}
		t := sh.segs[s.seg].seg.table
		// The first run that ends at lo or later.
		first, end := int(s.first), int(s.end)
		r := first + sort.Search(end-first, func(i int) bool { return t.max[first+i] >= lo })
		for ; r < end && t.min[r] <= hi; r++ {
			if t.max[r] >= sh.start && t.min[r] < sh.end {
				return true, nil
			}
		}
	}
	return false, nil
}
