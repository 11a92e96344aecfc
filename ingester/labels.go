package ingester

import (
	"context"
	"math"
	"slices"
	"sort"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// forStreams calls f for each stream in memory that matches and has a row between start and end.
func (i *Ingester) forStreams(ctx context.Context, start, end int64, matchers []*labels.Matcher, f func(*stream)) error {
	t, err := i.reading(ctx)
	if err != nil || t == nil {
		return err
	}
	held, _ := t.holding(func(string) bool { return true }, start, end)
	for _, h := range held {
		refs, err := h.part.match(ctx, t, matchers)
		if err != nil {
			return err
		}
		for len(refs) > 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			some := refs[:min(len(refs), atOnce)]
			refs = refs[len(some):]
			var hits []*stream
			var partly []found
			t.mu.RLock()
			for _, ref := range some {
				s := h.part.streams[ref]
				switch {
				case len(s.rows) == 0 || s.min >= end || s.max < start:
				case s.min >= start || s.max < end:
					hits = append(hits, s) // its first or its last row is in the range
				default:
					partly = append(partly, found{stream: s, rows: s.rows})
				}
			}
			t.mu.RUnlock()
			for _, p := range partly {
				if slices.ContainsFunc(p.rows, func(r row) bool { return start <= r.time && r.time < end }) {
					hits = append(hits, p.stream)
				}
			}
			for _, s := range hits {
				f(s)
			}
		}
	}
	return nil
}

// Labels implements Service.
//
// It and LabelValues and Series tell of what is in memory only. Who joins their answers with those of the
// store must ask the ingester first: a part that leaves the memory is in the store before.
func (i *Ingester) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	names := make(map[string]struct{})
	err := i.forStreams(ctx, start, end, matchers, func(s *stream) {
		s.Labels.Range(func(l labels.Label) { names[l.Name] = struct{}{} })
	})
	return sorted(names), err
}

// LabelValues implements Service.
func (i *Ingester) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	values := make(map[string]struct{})
	err := i.forStreams(ctx, start, end, matchers, func(s *stream) {
		if v := s.Labels.Get(name); v != "" {
			values[v] = struct{}{}
		}
	})
	return sorted(values), err
}

func sorted(set map[string]struct{}) []string {
	out := make([]string, 0, len(set))
	for s := range set {
		out = append(out, s)
	}
	sort.Strings(out)
	return out
}

// Series implements Service.
func (i *Ingester) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	var out []labels.Labels
	err := i.forStreams(ctx, start, end, matchers, func(s *stream) { out = append(out, s.Labels) })
	slices.SortFunc(out, labels.Compare)
	return slices.CompactFunc(out, labels.Equal), err
}

// Volumes implements Service. Like Select it includes parts that were stored within
// Config.HandoverWindow.
func (i *Ingester) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) ([]logql.StreamVolume, error) {
	t, err := i.reading(ctx)
	if err != nil || t == nil || start >= end {
		return nil, err
	}
	held, stored := t.holding(partFilter(nil, known), start, end)
	var out []logql.StreamVolume
	req := &logql.SelectRequest{Matchers: matchers, Start: start, End: end}
	for n := range held {
		h := &held[n]
		if err := h.find(ctx, t, req); err != nil {
			return nil, err
		}
		for _, f := range h.streams {
			v := logql.StreamVolume{Labels: f.Labels, Entries: int64(len(f.rows)), Chunks: 1, Writers: i.writers}
			v.Bytes = gathered{rows: f.rows, blocks: h.blocks, names: h.names}.volume()
			out = append(out, v)
		}
	}
	if len(stored) > 0 {
		ids := make([]string, len(stored))
		for n, s := range stored {
			ids[n] = s.id
		}
		vs, err := i.store.Volumes(ctx, start, end, matchers, nil, ids)
		if err != nil {
			return nil, err
		}
		out = append(out, vs...)
	}
	return logql.AddVolumes(out), nil
}

// Oldest implements Service. Like Volumes it includes parts that were stored within
// Config.HandoverWindow, of which it takes all streams to match.
func (i *Ingester) Oldest(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) (int64, error) {
	t, err := i.reading(ctx)
	if err != nil {
		return 0, err
	}
	oldest := int64(math.MaxInt64)
	if t == nil || start >= end {
		return oldest, nil
	}
	held, stored := t.holding(partFilter(nil, known), start, end)
	for _, s := range stored {
		oldest = min(oldest, max(start, s.min))
	}
	for _, h := range held {
		refs, err := h.part.match(ctx, t, matchers)
		if err != nil {
			return 0, err
		}
		for some := range slices.Chunk(refs, atOnce) {
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			t.mu.RLock()
			for _, ref := range some {
				if s := h.part.streams[ref]; len(s.rows) > 0 && s.min < end && s.max >= start {
					oldest = min(oldest, max(start, s.min))
				}
			}
			t.mu.RUnlock()
		}
	}
	return oldest, nil
}
