// Package frontend takes queries from users and gives them answers.
//
// It reads the tenant's limits, parses the query and makes a plan of it, cuts the plan's leaves into tasks,
// has the scheduler run them, merges what comes back and evaluates the rest. A task whose querier is lost is
// run again; the others are not. Answers to pieces that can't change any more are kept (Config.Cache). Its
// HTTP endpoints are those of Loki (see Routes). Lists of labels and streams, volumes and tails pass through
// to a querier.
//
// Answers to metric range queries are aligned: start is rounded down and end is rounded up to a multiple
// of the step. Thus a dashboard that asks every few seconds gets the same points each time. It is what
// users of Loki see by default; a tenant with Limits.SplitQueriesByInterval 0 gets the points it asked for.
package frontend

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/cache"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
)

// Service answers queries. The context of each call carries the tenant. Times are nanoseconds since
// 1970; ranges include their start and exclude their end. Lists are sorted and without repetition.
//
// Errors that the caller can do something about are *syntax.ParseError, *logql.QueryError and
// *LimitError; anything else is a failure of the engine, or the end of the context.
type Service interface {
	// Query runs a query. It doesn't change p.
	Query(ctx context.Context, p *logql.Params) (*logql.Result, error)

	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	// Series returns the streams that match any of the matcher sets.
	Series(ctx context.Context, start, end int64, matchers [][]*labels.Matcher) ([]labels.Labels, error)
	IndexStats(ctx context.Context, start, end int64, matchers []*labels.Matcher) (IndexStats, error)
	// IndexShards cuts the streams that match into ranges of their hashes (labels.StableHash), each of which holds about
	// targetBytes of lines and structured metadata, or one stream. Together they cover all hashes, so there is at
	// least one; there are no more than MaxIndexShards. targetBytes is positive.
	IndexShards(ctx context.Context, start, end int64, matchers []*labels.Matcher, targetBytes int64) ([]IndexShard, error)
	// Volume returns the largest series first.
	Volume(ctx context.Context, req *VolumeRequest) (*logql.Result, error)
	// Tail yields what a log query selects, as it arrives. See querier.Service.
	Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error]
}

// IndexStats says how much a selector touches.
type IndexStats struct {
	Streams, Chunks, Entries, Bytes int64
}

// IndexShard says how much a selector touches of the streams whose hashes lie between Min and Max, inclusive.
type IndexShard struct {
	Min, Max uint64
	IndexStats
}

// MaxIndexShards is the greatest number of shards that IndexShards cuts streams into.
const MaxIndexShards = 4096

// VolumeRequest asks how many bytes (lines and structured metadata) there are by label.
type VolumeRequest struct {
	Start, End   int64
	Matchers     []*labels.Matcher
	Limit        int           // largest series only; 0 means 100
	Step         time.Duration // 0: one point at End, else one per step
	TargetLabels []string      // labels to group by; empty: those that the matchers name
	ByLabel      bool          // one series per label name rather than per combination of values
}

// Config of a frontend. The zero value is a good default.
type Config struct {
	// SplitTasks cuts queries into tasks of about TaskBytes, which run in parallel, unless the tenant's
	// SplitQueriesByInterval is 0. Choose it where queriers are other processes. A single process is
	// faster without: a task uses all processors by itself and stops as soon as it has what it needs.
	SplitTasks bool

	// TaskBytes is how many bytes of lines and metadata a task should read. 0 means 256 MiB: a task that
	// takes some tenths of a second is worth its way to another process.
	TaskBytes int64

	// MaxRetries is how often a task is tried again whose querier or scheduler went away. 0 means 5,
	// negative never.
	MaxRetries int

	// Cache, unless nil, keeps answers to pieces of range queries and of log queries, InstantCache those of
	// instant metric queries. Only what cannot change any more is kept: see SurveyPiece.Source of package
	// querier. One cache may be used for both, and by several frontends.
	Cache, InstantCache cache.Cache

	// Generation, unless nil, returns the name of what else kept answers of a tenant depend on: they are
	// used only as long as it stays the same. Delete requests that queriers know of need none, see
	// querier.Config.Generation.
	Generation func(ctx context.Context, tenant string) string

	// MultiTenant lets calls name several tenants, as in a|b: see TenantLabel. Such a call may do what each
	// of them may do.
	MultiTenant bool

	// SlowQuery is how long a query may take before its log line calls it slow. 0 means 10s.
	SlowQuery time.Duration

	// TailPing is how often a live client is asked whether it is still there. 0 means 5s.
	TailPing time.Duration

	// TailWriteTimeout is how long a live client may take to read one frame before it is disconnected. 0
	// means 10s.
	TailWriteTimeout time.Duration

	// TailMaxDuration is how long a live query over HTTP lasts at most; its client may ask again then. 0 means until one side
	// ends it.
	TailMaxDuration time.Duration

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) check() (Config, error) {
	c.SlowQuery = cmp.Or(c.SlowQuery, 10*time.Second)
	c.TailPing = cmp.Or(c.TailPing, 5*time.Second)
	c.TailWriteTimeout = cmp.Or(c.TailWriteTimeout, 10*time.Second)
	c.TaskBytes = cmp.Or(c.TaskBytes, 256<<20)
	c.MaxRetries = max(0, cmp.Or(c.MaxRetries, 5))
	if c.Now == nil {
		c.Now = time.Now
	}
	var errs []error
	if c.TaskBytes < 0 {
		errs = append(errs, fmt.Errorf("TaskBytes is %d; it can't be negative", c.TaskBytes))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"SlowQuery", c.SlowQuery}, {"TailPing", c.TailPing}, {"TailWriteTimeout", c.TailWriteTimeout}, {"TailMaxDuration", c.TailMaxDuration}} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %s; it can't be negative", d.name, d.value))
		}
	}
	return c, errors.Join(errs...)
}

// Frontend is the Service in one process.
type Frontend struct {
	services.Service
	cfg       Config
	scheduler scheduler.Service
	querier   querier.Service
	limits    limits.Provider
	metrics   *metrics
	log       *slog.Logger // nil without a logger: then no line is put together
	tails     tailCounts
}

var _ Service = (*Frontend)(nil)

// New returns a frontend that runs queries on a scheduler and asks a querier for everything else. It must
// be started before its first use.
func New(cfg Config, sched scheduler.Service, q querier.Service, lim limits.Provider, logger *slog.Logger, reg prometheus.Registerer) (*Frontend, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("frontend: %w", err)
	}
	if lim == nil {
		lim = limits.Fixed(limits.Default())
	}
	return &Frontend{
		Service:   services.NewIdleService(nil, nil),
		cfg:       cfg,
		scheduler: sched,
		querier:   q,
		limits:    lim,
		metrics:   newMetrics(reg),
		log:       logger,
	}, nil
}

// begin returns who asks, the limits, and a context that ends with the query timeout. The caller calls the
// function at the end.
func (f *Frontend) begin(ctx context.Context) ([]string, *limits.Limits, context.Context, context.CancelFunc, error) {
	ids, err := f.tenants(ctx)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	lim := limitsOf(f.limits, ids)
	if lim.QueryTimeout <= 0 {
		ctx, cancel := context.WithCancel(ctx)
		return ids, lim, ctx, cancel, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lim.QueryTimeout, &TimeoutError{After: lim.QueryTimeout})
	return ids, lim, ctx, cancel, nil
}

// cause returns why a call failed: where the end of the context did it, why that ended.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) {
		return err // it may say more
	}
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return context.Cause(ctx)
	}
	return err
}
