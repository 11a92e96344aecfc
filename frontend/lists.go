package frontend

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// Labels implements Service.
func (f *Frontend) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return list(ctx, f, start, matchers, func(ctx context.Context, start int64) ([]string, error) {
		return f.querier.Labels(ctx, start, end, matchers)
	})
}

// LabelValues implements Service.
func (f *Frontend) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return list(ctx, f, start, matchers, func(ctx context.Context, start int64) ([]string, error) {
		return f.querier.LabelValues(ctx, name, start, end, matchers)
	})
}

// list asks a querier within the limits.
func list[T any](ctx context.Context, f *Frontend, start int64, matchers []*labels.Matcher, ask func(ctx context.Context, start int64) ([]T, error)) ([]T, error) {
	_, lim, ctx, cancel, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := checkMatchers(matchers, lim); err != nil {
		return nil, err
	}
	answer, err := ask(ctx, lookback(start, lim, f.cfg.Now()))
	return answer, cause(ctx, err)
}

// maxMatcherSets bounds how many selectors a request for series may have: each is a look-up of its own.
const maxMatcherSets = 256

// Series implements Service.
func (f *Frontend) Series(ctx context.Context, start, end int64, sets [][]*labels.Matcher) ([]labels.Labels, error) {
	if len(sets) > maxMatcherSets {
		return nil, limitErrorf("max_series_selectors", "the request has %d selectors, but at most %d are allowed; use regular expressions instead of long lists", len(sets), maxMatcherSets)
	}
	var all []labels.Labels
	for _, matchers := range sets {
		some, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64) ([]labels.Labels, error) {
			return f.querier.Series(ctx, start, end, matchers)
		})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(sets) > 1 {
		slices.SortFunc(all, labels.Compare)
		all = slices.CompactFunc(all, labels.Equal)
	}
	return all, nil
}

// IndexStats implements Service.
func (f *Frontend) IndexStats(ctx context.Context, start, end int64, matchers []*labels.Matcher) (IndexStats, error) {
	volumes, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64) ([]logql.StreamVolume, error) {
		return f.querier.Volumes(ctx, start, end, matchers)
	})
	if err != nil {
		return IndexStats{}, fmt.Errorf("index stats: %w", err)
	}
	s := IndexStats{Streams: int64(len(volumes))}
	for _, v := range volumes {
		s.Chunks += v.Chunks
		s.Entries += v.Entries
		s.Bytes += v.Bytes
	}
	return s, nil
}
