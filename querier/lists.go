package querier

import (
	"context"
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// Labels implements Service.
func (q *Querier) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return union(ctx, q, strings.Compare,
		func() ([]string, error) { return q.heads.Labels(ctx, start, end, matchers) },
		func() ([]string, error) { return q.index.Labels(ctx, start, end, matchers) })
}

// LabelValues implements Service.
func (q *Querier) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return union(ctx, q, strings.Compare,
		func() ([]string, error) { return q.heads.LabelValues(ctx, name, start, end, matchers) },
		func() ([]string, error) { return q.index.LabelValues(ctx, name, start, end, matchers) })
}

// Series implements Service.
func (q *Querier) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	return union(ctx, q, labels.Compare,
		func() ([]labels.Labels, error) { return q.heads.Series(ctx, start, end, matchers) },
		func() ([]labels.Labels, error) { return q.index.Series(ctx, start, end, matchers) })
}

// union merges the answers of the ingester and the index. They are asked one after the other: a part that
// becomes a segment meanwhile is in both answers, where asking the index first could miss it in both.
func union[T any](ctx context.Context, q *Querier, compare func(a, b T) int, heads, index func() ([]T, error)) ([]T, error) {
	a, err := heads()
	if err != nil {
		return nil, fmt.Errorf("ask ingester: %w", err)
	}
	// Some ingester may have left before the others were asked.
	if _, err := q.fresh.ready(ctx); err != nil {
		return nil, err
	}
	b, err := index()
	if err != nil {
		return nil, err
	}
	if len(b) == 0 {
		return a, nil
	}
	if len(a) == 0 {
		return b, nil
	}
	all := make([]T, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch c := compare(a[0], b[0]); {
		case c < 0:
			all, a = append(all, a[0]), a[1:]
		case c > 0:
			all, b = append(all, b[0]), b[1:]
		default:
			all, a, b = append(all, a[0]), a[1:], b[1:]
		}
	}
	return append(append(all, a...), b...), nil
}

// Volumes implements Service. What lies in segments is counted there and nowhere else, as in Select.
func (q *Querier) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by []string) ([]logql.StreamVolume, error) {
	var snap snapshot
	var all []logql.StreamVolume
	err := q.fresh.read(ctx, func() (err error) {
		if snap, err = takeSnapshot(ctx, q.index, start, end); err != nil {
			return err
		}
		if all, err = q.heads.Volumes(ctx, start, end, matchers, snap.known); err != nil {
			return fmt.Errorf("ask ingester: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Copies of the same entries are told by streams.
	replicas := q.replicas()
	groups := by
	if replicas > 1 {
		groups = nil
	}
	if groups != nil {
		all = logql.GroupVolumes(all, groups)
	}
	if len(snap.parts) > 0 {
		stored, err := q.index.Volumes(ctx, start, end, matchers, groups, snap.parts)
		if err != nil {
			return nil, err
		}
		all = append(all, stored...)
	}
	all = logql.MergeVolumes(all, replicas)
	if by != nil && groups == nil {
		all = logql.GroupVolumes(all, by)
	}
	return all, nil
}

// replicas is how many ingesters take each entry in.
func (q *Querier) replicas() int {
	if r, ok := q.heads.(interface{ ReplicationFactor() int }); ok {
		return r.ReplicationFactor()
	}
	return 1
}
