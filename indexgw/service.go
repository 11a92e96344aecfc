package indexgw

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/store"
)

// Service answers from the indexes of stored segments. The context of each call carries the tenant.
// Times are nanoseconds since 1970; ranges include their start and exclude their end. Lists are
// sorted and without repetition.
type Service interface {
	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error)

	// Volumes returns per matching stream how much of it is stored in the range, in the given parts or
	// with nil in all.
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, parts []string) ([]logql.StreamVolume, error)

	// Segments returns the segments with rows in the range.
	Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error)
}
