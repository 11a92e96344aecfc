// Package scheduler hands tasks of queries to queriers, fairly between tenants.
//
// As many tasks run at once as Config.Concurrency says. When nothing waits, Run is a plain call of the
// querier in the caller's goroutine. Otherwise a task waits in the queue of its tenant, first in, first
// out, and the tenants take turns: a tenant with a thousand waiting tasks delays another one's single
// task by one task, not by a thousand.
//
// A scheduler runs tasks on a querier in its own process, or on those that connect to it and fetch their
// work (see RegisterDispatcher). Then its concurrency is that of all queriers together: they join and
// leave at any time, and a task whose querier went away is given to another one.
//
// What is limited is the work of tasks that run at once, in bytes (Config.TenantBytes). There is no limit on
// how many tasks wait: a task waits no longer than its context allows, and a queue that refuses work only
// makes clients repeat it.
package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/logql"
)

// Service runs tasks on queriers, fairly between tenants. The context carries the tenant.
type Service interface {
	// Run waits for its turn and returns the answer of a querier. Waiting is bounded by ctx alone. The
	// time spent waiting is added to the answer's Stats.QueueTime.
	Run(ctx context.Context, t *logql.Task) (*logql.Partial, error)
}

// ErrStopped is returned by Run of a scheduler that is not running: try another one.
var ErrStopped = errors.New("scheduler: not running")

// Config of a scheduler. The zero value is a good default.
type Config struct {
	// Concurrency is how many tasks run at once. 0 means two per processor, but at least 4: a task
	// spreads over all processors by itself, more at once let short ones pass long ones. It says
	// nothing where queriers connect: they know themselves how much they can do.
	Concurrency int

	// TenantBytes is how many bytes the tasks of one tenant may read that run at once, as logql.Task.Bytes
	// estimates them; what is beyond waits while other tenants go on. 0 means 64 GiB. MaxBytes is the same
	// for the tasks of all; 0 means no bound. A task alone may be larger.
	TenantBytes, MaxBytes int64
}

func (c Config) check() (Config, error) {
	c.Concurrency = cmp.Or(c.Concurrency, max(4, 2*runtime.GOMAXPROCS(0)))
	if c.Concurrency < 0 {
		return c, fmt.Errorf("Concurrency is %d; it can't be negative", c.Concurrency)
	}
	c.TenantBytes = cmp.Or(c.TenantBytes, 64<<30)
	c.MaxBytes = cmp.Or(c.MaxBytes, math.MaxInt64/2)
	if c.TenantBytes < 0 || c.MaxBytes < 0 {
		return c, fmt.Errorf("TenantBytes is %d, MaxBytes %d; they can't be negative", c.TenantBytes, c.MaxBytes)
	}
	return c, nil
}

// Querier is what a scheduler needs of a querier.
type Querier interface {
	Run(ctx context.Context, t *logql.Task) (*logql.Partial, error)
}

// Scheduler is the Service in one process.
type Scheduler struct {
	services.Service
	querier Querier // nil: workers do its work
	queue   *queue
	workers *workers
	metrics *metrics
	log     *slog.Logger
}

var _ Service = (*Scheduler)(nil)

// New returns a scheduler that runs tasks on q, or if q is nil on the queriers that connect. Run works
// once it is started.
func New(cfg Config, q Querier, logger *slog.Logger, reg prometheus.Registerer) (*Scheduler, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	size := cfg.Concurrency
	if q == nil {
		size = 0 // grows with each worker
	}
	s := &Scheduler{querier: q, queue: newQueue(size, work{tenant: cfg.TenantBytes, all: cfg.MaxBytes}), workers: newWorkers(), log: logger}
	s.metrics = newMetrics(reg, s.queue)
	s.Service = services.NewIdleService(s.starting, s.stopping)
	return s, nil
}

func (s *Scheduler) starting(context.Context) error {
	s.queue.open()
	return nil
}

// stopping cancels the tasks that run, sends those that wait away, and returns when none is left.
func (s *Scheduler) stopping(error) error {
	if n := s.queue.close(ErrStopped); n > 0 {
		s.log.Info("query scheduler stopped with tasks waiting", "tasks", n)
	}
	return nil
}

// Run implements Service.
func (s *Scheduler) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	if s.querier == nil {
		data, waited, err := s.dispatch(ctx, id, t)
		if err != nil {
			return nil, err
		}
		p := new(logql.Partial)
		if err := p.UnmarshalBinary(data); err != nil {
			return nil, err
		}
		p.Stats.QueueTime += waited
		return p, nil
	}
	begin := time.Now()
	slot, err := s.queue.acquire(ctx, id, t.Bytes, false)
	if err != nil {
		return nil, err
	}
	defer slot.release()
	waited := time.Duration(0)
	if slot.waited {
		waited = time.Since(begin)
	}
	s.metrics.wait.Observe(waited.Seconds())

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(s.queue.closed, func() { cancel(ErrStopped) })
	defer stop()
	p, err := s.querier.Run(ctx, t)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, ErrStopped) {
			return nil, cause
		}
		return nil, err
	}
	p.Stats.QueueTime += waited
	return p, nil
}
