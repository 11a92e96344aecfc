package frontend

import (
	"context"
	"iter"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/querier"
)

// Service answers queries. The context of each call carries the tenant. Times are nanoseconds since
// 1970; ranges include their start and exclude their end. Lists are sorted and without repetition.
//
// Errors that the caller can do something about are *syntax.ParseError, *logql.QueryError and
// *LimitError; anything else is a failure of the engine.
type Service interface {
	Query(ctx context.Context, p *logql.Params) (*logql.Result, error)

	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	// Series returns the streams that match any of the matcher sets.
	Series(ctx context.Context, start, end int64, matchers [][]*labels.Matcher) ([]labels.Labels, error)
	IndexStats(ctx context.Context, start, end int64, matchers []*labels.Matcher) (IndexStats, error)
	Volume(ctx context.Context, req *VolumeRequest) (*logql.Result, error)
	Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error]
}

// IndexStats says how much a selector touches.
type IndexStats struct {
	Streams, Chunks, Entries, Bytes int64
}

// VolumeRequest asks how many bytes (lines and structured metadata) there are by label.
type VolumeRequest struct {
	Start, End   int64
	Matchers     []*labels.Matcher
	Limit        int           // largest series only; 0 means 100
	Step         time.Duration // 0: one point at End, else one per step
	TargetLabels []string      // labels to group by; empty: those that the matchers name
	ByLabel      bool          // one series per label name rather than per combination of values
}
