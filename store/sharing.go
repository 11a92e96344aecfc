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
	byHash map[uint64][]sharedStream
}

// sharedStream is a stream in one of several segments that overlap in time.
type sharedStream struct {
	seg        int
	stream     *column.Stream
	table      *streamTable
	first, end int // its runs, which ascend in time
}

// newSharing looks only at segments whose time ranges overlap; mostly there are few.
func newSharing(segs []selected, start, end int64) (*sharing, error) {
	sh := &sharing{byHash: make(map[uint64][]sharedStream)}
	for i, overlaps := range overlapping(segs) {
		if !overlaps {
			continue
		}
		t := segs[i].seg.table
		for _, n := range segs[i].streams {
			from, to := t.runsOf(n, start, end)
			if from == to {
				continue
			}
			st, err := segs[i].seg.stream(n)
			if err != nil {
				return nil, err
			}
			sh.byHash[st.Hash] = append(sh.byHash[st.Hash], sharedStream{seg: i, stream: st, table: t, first: from, end: to})
		}
	}
	return sh, nil
}

// overlapping tells for each segment whether another one has rows between its first and its last.
func overlapping(segs []selected) []bool {
	order := make([]int, len(segs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(segs[a].info.MinTime, segs[b].info.MinTime) })
	out := make([]bool, len(segs))
	last := 0 // of those before, the one that reaches farthest
	for i := 1; i < len(order); i++ {
		a, b := order[last], order[i]
		if segs[b].info.MinTime <= segs[a].info.MaxTime {
			out[a], out[b] = true, true
		}
		if segs[b].info.MaxTime > segs[a].info.MaxTime {
			last = i
		}
	}
	return out
}

// overlaps tells whether another segment has rows of the stream in a run that overlaps these times,
// inclusive.
func (sh *sharing) overlaps(seg int, st *column.Stream, lo, hi int64) bool {
	for _, s := range sh.byHash[st.Hash] {
		t := s.table
		if s.seg == seg || t.min[s.first] > hi || t.max[s.end-1] < lo || !labels.Equal(s.stream.Labels, st.Labels) {
			continue
		}
		// The first run that ends at lo or later.
		r := s.first + sort.Search(s.end-s.first, func(i int) bool { return t.max[s.first+i] >= lo })
		if r < s.end && t.min[r] <= hi {
			return true
		}
	}
	return false
}
