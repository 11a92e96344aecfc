package store

import (
	"cmp"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// sharing knows which streams several of the selected segments have at the same time.
type sharing struct {
	double []timeRange // what more than one segment covers, ascending and apart from each other
	byHash map[uint64][]sharedStream
}

// sharedStream is a stream in one of several segments that overlap in time.
type sharedStream struct {
	seg        int
	stream     *column.Stream
	table      *streamTable
	first, end int // its runs, which ascend in time
	timeRange      // of these
}

// newSharing looks only at segments whose time ranges overlap; mostly there are few.
func newSharing(segs []selected, start, end int64) (*sharing, error) {
	sh := &sharing{double: doublyCovered(segs), byHash: make(map[uint64][]sharedStream)}
	if len(sh.double) == 0 {
		return sh, nil
	}
	for i := range segs {
		t := segs[i].seg.table
		for _, n := range segs[i].streams {
			from, to := t.runsOf(n, start, end)
			if from == to || !sh.covers(t.min[from], t.max[to-1]) {
				continue
			}
			st, err := segs[i].seg.stream(n)
			if err != nil {
				return nil, err
			}
			sh.byHash[st.Hash] = append(sh.byHash[st.Hash], sharedStream{seg: i, stream: st, table: t, first: from, end: to, timeRange: timeRange{t.min[from], t.max[to-1]}})
		}
	}
	return sh, nil
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
	i := sort.Search(len(sh.double), func(i int) bool { return sh.double[i].max >= lo })
	return i < len(sh.double) && sh.double[i].min <= hi
}

// overlaps tells whether another segment has rows of the stream in a run that overlaps these times,
// inclusive.
func (sh *sharing) overlaps(seg int, st *column.Stream, lo, hi int64) bool {
	if !sh.covers(lo, hi) {
		return false
	}
	others := sh.byHash[st.Hash]
	for i := range others {
		s := &others[i]
		if s.seg == seg || s.min > hi || s.max < lo || !labels.Equal(s.stream.Labels, st.Labels) {
			continue
		}
		t := s.table
		// The first run that ends at lo or later.
		r := s.first + sort.Search(s.end-s.first, func(i int) bool { return t.max[s.first+i] >= lo })
		if r < s.end && t.min[r] <= hi {
			return true
		}
	}
	return false
}
