package store

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// Labels implements Service. A name counts if a segment with rows in the range has it.
func (s *Store) Labels(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error) {
	names := make(map[string]bool)
	segs, err := s.match(ctx, ms, start, end, nil, nil)
	if err != nil {
		return nil, err
	}
	for i := range segs {
		for _, n := range segs[i].seg.index.labelNames(segs[i].streams) {
			names[n] = true
		}
	}
	return sortedKeys(names), nil
}

// LabelValues implements Service. A value counts if a segment with rows in the range has it.
func (s *Store) LabelValues(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error) {
	values := make(map[string]bool)
	segs, err := s.match(ctx, ms, start, end, nil, nil)
	if err != nil {
		return nil, err
	}
	for i := range segs {
		for _, v := range segs[i].seg.index.labelValues(name, segs[i].streams) {
			if !values[v] {
				values[strings.Clone(v)] = true // the index need not stay in memory for it
			}
		}
	}
	return sortedKeys(values), nil
}

func sortedKeys(set map[string]bool) []string {
	return slices.Sorted(maps.Keys(set))
}

// Series implements Service. A stream counts if one of its runs overlaps the range.
func (s *Store) Series(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]labels.Labels, error) {
	segs, err := s.match(ctx, ms, start, end, nil, nil)
	if err != nil {
		return nil, err
	}
	var out []labels.Labels
	for i := range segs {
		for n := range segs[i].streams.each() {
			if from, to := segs[i].seg.table.runsOf(n, start, end); from == to {
				continue
			}
			st, err := segs[i].seg.stream(n)
			if err != nil {
				return nil, s.report(err)
			}
			out = append(out, st.Labels)
		}
	}
	if len(segs) > 1 {
		slices.SortFunc(out, labels.Compare)
		out = slices.CompactFunc(out, labels.Equal)
	}
	return out, nil
}

// Volumes implements Service. Each segment that has some of a stream counts as one chunk of it. What was put
// by different writers comes apart: see logql.MergeVolumes.
func (s *Store) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	segs, err := s.match(ctx, ms, start, end, parts, nil)
	if err != nil {
		return nil, err
	}
	var out []logql.StreamVolume
	for i := range segs {
		if by != nil {
			out, err = segs[i].groupVolumes(out, start, end, by)
		} else {
			out, err = segs[i].volumes(out, start, end)
		}
		if err != nil {
			return nil, s.report(err)
		}
	}
	if len(segs) > 1 || by != nil {
		out = logql.AddVolumes(out)
	}
	return out, nil
}

// volumes appends those of the streams of a segment.
func (x *selected) volumes(out []logql.StreamVolume, start, end int64) ([]logql.StreamVolume, error) {
	n := x.streams.count()
	m := streamMaker{index: x.seg.index, expect: n}
	out = slices.Grow(out, n)
	for n := range x.streams.each() {
		v := logql.StreamVolume{Writers: x.seg.info.Writers}
		if x.seg.addVolume(&v, n, n+1, start, end, nil); v.Chunks == 0 {
			continue
		}
		st, err := m.stream(n)
		if err != nil {
			return nil, x.seg.streamError(n, err)
		}
		v.Labels = st.Labels
		out = append(out, v)
	}
	return out, nil
}

// groupVolumes appends those of groups of streams of a segment. There may be several of a group. If all streams are one group,
// it says which ones there are.
func (x *selected) groupVolumes(out []logql.StreamVolume, start, end int64, by []string) ([]logql.StreamVolume, error) {
	groups := x.seg.index.group(by)
	var hashes []uint64
	var err error
	var counted func(from, to int)
	if len(by) == 0 {
		hashes = make([]uint64, 0, x.streams.count())
		counted = func(from, to int) {
			for n := from; n < to && err == nil; n++ {
				var h uint64
				if h, err = x.seg.index.hash(n); err != nil {
					err = x.seg.streamError(n, err)
				}
				hashes = append(hashes, h)
			}
		}
	}
	for _, r := range x.streams {
		for from, to := 0, int(r.from); to < int(r.to); {
			from = to
			_, to = groups.of(from)
			to = min(to, int(r.to))
			v := logql.StreamVolume{Writers: x.seg.info.Writers}
			x.seg.addVolume(&v, from, to, start, end, counted)
			if err != nil {
				return nil, err
			}
			if v.Chunks > 0 {
				v.Labels = groups.show(from).Labels
				v.Streams, hashes = hashes[:len(hashes):len(hashes)], hashes[len(hashes):]
				out = append(out, v)
			}
		}
	}
	return out, nil
}

// addVolume adds what the streams [from, to) have in a range of time. Pages that belong to them and to the range as a whole
// are counted by their sums, so it takes time for pages rather than for streams. counted, unless nil, is called with those
// streams that have something, in their order, each once.
func (s *segment) addVolume(v *logql.StreamVolume, from, to int, start, end int64, counted func(from, to int)) {
	t := s.table
	r, last := int(t.firstRun[from]), int(t.firstRun[to])
	stream, known := from, -1 // stream of run r; the one that is among v.Chunks already
	count := func(from, to int) {
		from = max(from, known+1)
		if from == to {
			return
		}
		v.Chunks += int64(to - from)
		known = to - 1
		if counted != nil {
			counted(from, to)
		}
	}
	for page := t.pageOf(r); r < last; page++ {
		first, stop := t.pageRuns(page)
		whole := r == first && stop <= last
		stop = min(stop, last)
		times := t.pageTimes[page]
		switch {
		case times.max < start || times.min >= end:
			r = stop
		case times.min >= start && times.max < end:
			if whole {
				p := &s.dir.pages[page]
				v.Entries += int64(p.rows)
				v.Bytes += p.rawBytes + p.metaBytes
			} else {
				a, _ := t.rows(r)
				_, b := t.rows(stop - 1)
				v.Entries += int64(b - a)
				for i := r; i < stop; i++ {
					v.Bytes += t.bytes(i)
				}
			}
			// Each run of a page is of another stream.
			stream = t.streamOf(r)
			count(stream, stream+stop-r)
			r = stop
		default:
			for stream = t.streamOf(r); r < stop; r, stream = r+1, stream+1 {
				if t.max[r] < start || t.min[r] >= end {
					continue
				}
				a, b := t.rows(r)
				rows, bytes := int64(b-a), t.bytes(r)
				if f := overlap(t.min[r], t.max[r], start, end); f < 1 {
					rows, bytes = scale(rows, f), scale(bytes, f)
				}
				v.Entries += rows
				v.Bytes += bytes
				count(stream, stream+1)
			}
		}
	}
}

// overlap returns which part of the times from lo to hi, inclusive, lies in [start, end).
func overlap(lo, hi, start, end int64) float64 {
	if lo >= start && hi < end {
		return 1
	}
	a, b := max(lo, start), min(hi, end-1)
	return (float64(b-a) + 1) / (float64(hi-lo) + 1)
}

func scale(n int64, f float64) int64 { return int64(math.Round(float64(n) * f)) }
