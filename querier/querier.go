// Package querier reads what is stored and what is new as one.
//
// A task of a query runs over a single logql.Source that merges two: the segments of the store and the
// heads of the ingester. The merge has no gap and no overlap while parts are cut into segments: it first
// takes a snapshot of the segments, then asks the ingester for everything that is in none of these, and
// last reads from the store exactly these (see merged). Lists of labels and streams are unions; there the
// ingester is asked first and the index second, so that a part that is cut in between is seen twice
// rather than never.
//
// A tail reads history the same way and goes on with what the ingester passes on as it is pushed.
package querier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/internal/pace"
	"example.com/loki/limits"
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

	// Volumes returns per matching stream how much of it there is, ordered by labels. If by is not nil, volumes are those of
	// groups of streams that agree in the labels of these names, and have no others: see logql.GroupVolumes.
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by []string) ([]logql.StreamVolume, error)

	// Survey tells about pieces of a time range what it would read there, without reading any of it.
	Survey(ctx context.Context, req *SurveyRequest) ([]SurveyPiece, error)

	// Tail yields the newest entries that match a log query since req.Start and then new ones as they
	// arrive, until ctx is done. What a caller has received once, it doesn't receive again.
	Tail(ctx context.Context, req *TailRequest) iter.Seq2[*TailResponse, error]
}

// SurveyRequest asks about pieces of a time range.
type SurveyRequest struct {
	Matchers []*labels.Matcher

	// Cuts are the edges of the pieces, ascending: piece n has the times Cuts[n] <= t < Cuts[n+1].
	Cuts []int64
}

// SurveyPiece is what a survey says about a piece.
type SurveyPiece struct {
	// Bytes are those of lines and metadata in segments, of all streams. A segment that reaches beyond the
	// piece counts in proportion to the time that it shares with it.
	Bytes int64

	// Source is what logql.Partial.Source would be of a task over the piece: it names the segments and
	// the delete requests that decide the answer. Empty if ingesters hold rows that may matter, so that the
	// answer is true for this moment only.
	Source string
}

// TailRequest asks for a live query.
type TailRequest struct {
	Query      string
	Start      int64 // nanoseconds since 1970
	Limit      int   // of entries from before the call; 0 means none of them
	Categorize bool
}

// TailResponse holds new entries, oldest first in each stream.
type TailResponse struct {
	Streams []logql.StreamResult
	Dropped int          // entries lost because the reader was slow
	Lost    []logql.Lost // the first of these
}

// Config of a querier. The zero value is a good default.
type Config struct {
	// Parallelism is how many goroutines work on one task. 0 means one per processor.
	Parallelism int

	// Pace shares the processors between pushes and other work. The engine fills it in; nil means that all run at once.
	Pace *pace.Pace

	// HandoverWindow is how long ingesters answer for what they have stored (their Config.HandoverWindow). Queries fail
	// rather than miss rows where the bucket could not be listed for three quarters of it. 0 means 1 h.
	HandoverWindow time.Duration

	// Generation, unless nil, names the delete requests of a tenant that are in force for what this querier
	// reads: the name changes whenever they do. Answers that were computed under another name are not
	// used again.
	Generation func(tenant string) string

	// Filter, unless nil, returns a source of what queries and tails of the tenant of ctx may see of another,
	// such as one without deleted rows. It is asked for each of them when it begins. Lists of labels and
	// streams, and volumes, are not filtered.
	Filter func(ctx context.Context, src logql.Source) logql.Source
}

func (c Config) check() (Config, error) {
	if c.Parallelism < 0 {
		return c, fmt.Errorf("Parallelism is %d; it can't be negative", c.Parallelism)
	}
	if c.HandoverWindow < 0 {
		return c, fmt.Errorf("HandoverWindow is %v; it can't be negative", c.HandoverWindow)
	}
	c.HandoverWindow = cmp.Or(c.HandoverWindow, time.Hour)
	return c, nil
}

// Querier is the Service in one process.
type Querier struct {
	services.Service
	cfg     Config
	heads   ingester.Service
	index   indexgw.Service
	store   logql.Source
	limits  limits.Provider
	fresh   *fresh
	metrics *metrics
	log     *slog.Logger
}

var _ Service = (*Querier)(nil)

// New returns a querier over an ingester (or what stands for several), an index of the stored segments
// and the segments themselves. It must be started before its first use.
func New(cfg Config, heads ingester.Service, index indexgw.Service, stored logql.Source, lim limits.Provider, logger *slog.Logger, reg prometheus.Registerer) (*Querier, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("querier: %w", err)
	}
	if lim == nil {
		lim = limits.Fixed(limits.Default())
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Querier{
		Service: services.NewIdleService(nil, nil),
		cfg:     cfg,
		heads:   heads,
		index:   index,
		store:   stored,
		limits:  lim,
		fresh:   newFresh(cfg.HandoverWindow, heads, index, stored),
		metrics: newMetrics(reg),
		log:     logger,
	}, nil
}

// Run implements Service.
func (q *Querier) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	options, err := q.options(ctx)
	if err != nil {
		return nil, err
	}
	q.metrics.running.Inc()
	defer q.metrics.running.Dec()
	source := q.source()
	generation := q.generation(ctx)
	p, err := logql.Execute(q.cfg.Pace.Context(ctx, pace.Query), *t, q.filtered(ctx, source), options)
	if err != nil {
		// Whoever ended the context knows better why than the read that noticed it.
		if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if source.settled && q.generation(ctx) == generation {
		p.Source = nameOf(generation, source.parts)
	}
	return p, nil
}

// options returns the bounds of the tenant's queries.
func (q *Querier) options(ctx context.Context) (logql.Options, error) {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return logql.Options{}, err
	}
	l := q.limits(id)
	return logql.Options{MaxMemory: l.MaxQueryMemory, MaxSeries: l.MaxQuerySeries, Parallelism: q.cfg.Parallelism}, nil
}
