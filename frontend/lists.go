package frontend

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// Labels implements Service.
func (f *Frontend) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	names, several, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64, _ string, ms []*labels.Matcher) ([]string, error) {
		return f.querier.Labels(ctx, start, end, ms)
	})
	if several && len(names) > 0 {
		names = append(names, TenantLabel)
	}
	if several {
		slices.Sort(names)
	}
	return slices.Compact(names), err
}

// LabelValues implements Service.
func (f *Frontend) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	ids, err := f.tenants(ctx)
	if err != nil {
		return nil, err
	}
	ofTenants := len(ids) > 1 && name == TenantLabel
	values, several, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64, id string, ms []*labels.Matcher) ([]string, error) {
		if ofTenants {
			return []string{id}, nil
		}
		return f.querier.LabelValues(ctx, name, start, end, ms)
	})
	if several {
		slices.Sort(values)
	}
	return slices.Compact(values), err
}

// list asks a querier within the limits, for each tenant, and tells whether there are several.
func list[T any](ctx context.Context, f *Frontend, start int64, matchers []*labels.Matcher, ask func(ctx context.Context, start int64, id string, matchers []*labels.Matcher) ([]T, error)) (all []T, several bool, err error) {
	ids, lim, ctx, cancel, err := f.begin(ctx)
	if err != nil {
		return nil, false, err
	}
	defer cancel()
	if err := checkMatchers(matchers, lim); err != nil {
		return nil, false, err
	}
	start = lookback(start, lim, f.cfg.Now())
	err = eachTenant(ctx, ids, matchers, func(ctx context.Context, id string, matchers []*labels.Matcher) error {
		answer, err := retried(ctx, f, func() ([]T, error) { return ask(ctx, start, id, matchers) })
		if len(all) == 0 {
			all = answer
			return err
		}
		all = append(all, answer...)
		return err
	})
	if err != nil {
		return nil, false, cause(ctx, err)
	}
	return all, len(ids) > 1, nil
}

// maxMatcherSets bounds how many selectors a request for series may have: each is a look-up of its own.
const maxMatcherSets = 256

// Series implements Service.
func (f *Frontend) Series(ctx context.Context, start, end int64, sets [][]*labels.Matcher) ([]labels.Labels, error) {
	if len(sets) > maxMatcherSets {
		return nil, limitErrorf("max_series_selectors", "the request has %d selectors, but at most %d are allowed; use regular expressions instead of long lists", len(sets), maxMatcherSets)
	}
	var all []labels.Labels
	ids, err := f.tenants(ctx)
	if err != nil {
		return nil, err
	}
	for _, matchers := range sets {
		some, _, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64, id string, ms []*labels.Matcher) ([]labels.Labels, error) {
			series, err := f.querier.Series(ctx, start, end, ms)
			if len(ids) > 1 {
				series = slices.Clone(series) // it may be the querier's
				for i, ls := range series {
					series[i] = ofTenant(ls, id)
				}
			}
			return series, err
		})
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	if len(sets) > 1 || len(ids) > 1 {
		slices.SortFunc(all, labels.Compare)
		all = slices.CompactFunc(all, labels.Equal)
	}
	return all, nil
}

// IndexStats implements Service.
func (f *Frontend) IndexStats(ctx context.Context, start, end int64, matchers []*labels.Matcher) (IndexStats, error) {
	// Tenants may have the same streams, which count for each.
	all, _, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64, _ string, ms []*labels.Matcher) ([][]logql.StreamVolume, error) {
		volumes, err := f.querier.Volumes(ctx, start, end, ms, []string{})
		return [][]logql.StreamVolume{volumes}, err
	})
	if err != nil {
		return IndexStats{}, fmt.Errorf("index stats: %w", err)
	}
	var s IndexStats
	for _, volumes := range all {
		s.Streams += logql.CountStreams(volumes)
	}
	for _, v := range slices.Concat(all...) {
		s.add(&v)
	}
	return s, nil
}

// add adds all of a volume but its streams.
func (s *IndexStats) add(v *logql.StreamVolume) {
	s.Chunks += v.Chunks
	s.Entries += v.Entries
	s.Bytes += v.Bytes
}

// IndexShards implements Service.
func (f *Frontend) IndexShards(ctx context.Context, start, end int64, matchers []*labels.Matcher, targetBytes int64) ([]IndexShard, error) {
	streams, _, err := list(ctx, f, start, matchers, func(ctx context.Context, start int64, _ string, ms []*labels.Matcher) ([]logql.StreamVolume, error) {
		return f.querier.Volumes(ctx, start, end, ms, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("index shards: %w", err)
	}
	return cutShards(streams, targetBytes), nil
}

// cutShards makes shards of the volumes of streams. Streams of several tenants may have the same hash; they are in one shard.
func cutShards(streams []logql.StreamVolume, targetBytes int64) []IndexShard {
	type hashed struct {
		hash   uint64
		volume *logql.StreamVolume
	}
	var bytes int64
	order := make([]hashed, len(streams))
	for i := range streams {
		order[i] = hashed{labels.StableHash(streams[i].Labels), &streams[i]}
		bytes += streams[i].Bytes
	}
	slices.SortFunc(order, func(a, b hashed) int { return cmp.Compare(a.hash, b.hash) })
	targetBytes = max(targetBytes, bytes/(MaxIndexShards-1)+1)
	all := []IndexShard{{}}
	shard := &all[0]
	for i, s := range order {
		if i > 0 && s.hash != order[i-1].hash && shard.Bytes > 0 && shard.Bytes+s.volume.Bytes/2 > targetBytes && len(all) < MaxIndexShards {
			shard.Max = s.hash - 1
			all = append(all, IndexShard{Min: s.hash})
			shard = &all[len(all)-1]
		}
		shard.Streams++
		shard.add(s.volume)
	}
	shard.Max = math.MaxUint64
	return all
}
