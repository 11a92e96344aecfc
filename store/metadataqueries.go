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
func (s *Store) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, parts []string) ([]logql.StreamVolume, error) {
	segs, err := s.match(ctx, ms, start, end, parts, nil)
	if err != nil {
		return nil, err
	}
	var out []logql.StreamVolume
	for i := range segs {
		seg := segs[i].seg
		t := seg.table
		count := segs[i].streams.count()
		m := streamMaker{index: seg.index, expect: count}
		out = slices.Grow(out, count)
		for n := range segs[i].streams.each() {
			from, to := t.runsOf(n, start, end)
			if from == to {
				continue
			}
			st, err := m.stream(n)
			if err != nil {
				return nil, s.report(seg.streamError(n, err))
			}
			v := logql.StreamVolume{Labels: st.Labels, Chunks: 1, Writers: seg.info.Writers}
			for r := from; r < to; r++ {
				a, b := t.rows(r)
				rows, bytes := int64(b-a), t.bytes(r)
				if f := overlap(t.min[r], t.max[r], start, end); f < 1 {
					rows, bytes = scale(rows, f), scale(bytes, f)
				}
				v.Entries += rows
				v.Bytes += bytes
			}
			out = append(out, v)
		}
	}
	if len(segs) > 1 {
		out = logql.AddVolumes(out)
	}
	return out, nil
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
