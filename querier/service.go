package querier

import (
	"context"
	"iter"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// Service reads stored and new rows. The context of each call carries the tenant. Times are
// nanoseconds since 1970; ranges include their start and exclude their end. Lists are sorted and
// without repetition.
type Service interface {
	// Run executes one task of a query.
	Run(ctx context.Context, t *logql.Task) (*logql.Partial, error)

	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error)
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]logql.StreamVolume, error)

	// Tail yields the newest entries that match a log query since req.Start and then new ones as they
	// arrive, until ctx is done.
	Tail(ctx context.Context, req *TailRequest) iter.Seq2[*TailResponse, error]
}

// TailRequest asks for a live query.
type TailRequest struct {
	Query      string
	Start      int64 // nanoseconds since 1970
	Limit      int   // of entries from before the call
	Categorize bool
}

// TailResponse holds new entries, oldest first in each stream.
type TailResponse struct {
	Streams []logql.StreamResult
	Dropped int // entries lost because the reader was slow
}
