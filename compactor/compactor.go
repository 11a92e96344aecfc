// Package compactor looks after the segments in the store: it merges small ones into large ones, drops
// what is too old or too much, removes what delete requests name, and what is no longer needed from the
// bucket. How, and why readers never notice, is in docs/compaction.md.
//
// It works in passes over the tenants, one after the other, in one goroutine. A pass may be interrupted at
// any point, also by a crash: the next one goes on from what is in the bucket.
package compactor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"
	"golang.org/x/time/rate"

	"example.com/loki/internal/pace"
	"example.com/loki/limits"
	"example.com/loki/store"
)

// Service is what others may ask of the compactor. The context of each call carries the tenant.
type Service interface {
	Deletes

	// Delete makes a delete request for the rows that a log query selects from start to end, in nanoseconds
	// since 1970, both inclusive. From its return on, queries of this process don't see them. The error is
	// ErrBadRequest if the query or the times are wrong, ErrDisabled if the tenant may not delete.
	Delete(ctx context.Context, query string, start, end int64) (Request, error)

	// Requests returns the delete requests of the tenant, oldest first.
	Requests(ctx context.Context) ([]Request, error)

	// Cancel takes back a delete request: ErrNotFound if there is none of that ID, ErrTooLate if its rows
	// are being removed. With force, what has not been removed is kept, unless the request is processed; it
	// stays in the list then.
	Cancel(ctx context.Context, id string, force bool) error

	// Preview returns what retention will drop within that time, as far as it can be told now, in the
	// order in which it goes.
	Preview(ctx context.Context, within time.Duration) ([]Planned, error)

	// Damaged returns the segments that failed the verification in the background.
	Damaged(ctx context.Context) ([]Damage, error)
}

// Config of a compactor. The zero value is a good default.
type Config struct {
	// Pace shares the processors between pushes and other work. The engine fills it in; nil means that all run at once.
	Pace *pace.Pace
	// Interval is the time between passes. 0 means 10m, negative never: then only Run works.
	Interval time.Duration

	// MinAge is how long ago a segment must have been written to be touched. It must be longer than the
	// HandoverWindow of the ingesters, and than queries run. 0 means 65m, negative none. An engine takes 5m more than the
	// window of its ingester.
	MinAge time.Duration

	// DeleteDelay is how long a replaced object stays. It must be longer than any query runs, and than
	// other processes need to see new segments. 0 means 1h, negative none.
	DeleteDelay time.Duration

	// ReplayWindow is for how long it is remembered at least that a removed segment existed, so that an
	// ingester does not replay it. 0 means 7 days.
	ReplayWindow time.Duration

	// Partition is the span of time that merged segments cover. 0 means 24h.
	Partition time.Duration

	// MaxSegmentBytes is about how many bytes of lines and metadata a merged segment holds. 0 means 1 GiB.
	MaxSegmentBytes int64

	// FanIn is the number of segments of about one size that make a merge worthwhile. 0 means 4.
	FanIn int

	// MaxInputs is how many segments are read at once, each with up to 4 MiB of memory. 0 means 16.
	MaxInputs int

	// CompressionLevel of merged segments, 1 to 4. 0 means 3: they are read often and written seldom. Those that will be
	// merged again, as they are small and of a partition that goes on, are written with 1.
	CompressionLevel int

	// BytesPerSecond bounds how many bytes of lines are rewritten, which takes about 20 seconds of a processor
	// a GB. 0 means 16 MiB: a third of a processor at most, and enough for a TB a day. Negative means no bound.
	BytesPerSecond int

	// MinShare is the share of one processor that the work takes at least. It takes less than BytesPerSecond allows while
	// other goroutines of the process wait for a processor. 0 means 0.1; 1 means that it never gives way. It
	// rises up to 0.5 by itself where a pass takes several Intervals.
	MinShare float64

	// CancelPeriod is how long a delete request can be cancelled before its rows are removed. 0 means 24h,
	// negative none.
	CancelPeriod time.Duration

	// Flush makes the ingesters store what they hold of a tenant. Without it, rows are taken to be stored
	// HeadAge after they were pushed.
	Flush   func(ctx context.Context, tenant string) error
	HeadAge time.Duration // 0 means 3h

	// FollowEvery is how often delete requests are read that other processes have taken, besides in each pass: that long they take to
	// be in force for queries of this process at most. 0 means 10s, negative that there are no other processes.
	FollowEvery time.Duration

	// KeepRequests is how long a processed delete request stays in the list. 0 means 30 days.
	KeepRequests time.Duration

	// KeepExpired leaves what RetentionPeriod and RetentionStream of the limits say to drop. Limits of size hold all
	// the same.
	KeepExpired bool

	// MaxBytes is how many stored bytes all tenants may have together; beyond, the oldest segments go, each by the
	// compactor that owns its tenant. 0 means no limit.
	MaxBytes int64

	// MaxDiskShare is the share of the disk, as DiskUsage tells it, above which the oldest segments go, from
	// 0 to 1. 0 means no limit.
	MaxDiskShare float64
	// DiskUsage is that of the disk that the bucket is on; see the function of that name. nil: it is not on a disk.
	DiskUsage func() (used, total int64, err error)

	// DryRun makes retention say what it would drop without doing it.
	DryRun bool

	// VerifyEvery is the time in which the checksums of all segments are verified. 0 means 7 days, negative
	// never.
	VerifyEvery time.Duration

	// File is a bbolt file with a copy of the delete requests, so that the compactor starts and answers while the bucket does
	// not, and with what it has found out about segments, which spares finding that out once more. It may be
	// deleted while no compactor runs; it is made anew from the bucket then. Empty: there is none.
	File string

	// Owns tells whether this compactor is the one for a tenant. nil means all.
	Owns func(tenant string) bool

	// Now is the clock. nil means time.Now.
	Now func() time.Time
}

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	c.Interval = cmp.Or(c.Interval, 10*time.Minute)
	c.MinAge = cmp.Or(c.MinAge, 65*time.Minute)
	c.DeleteDelay = cmp.Or(c.DeleteDelay, time.Hour)
	c.ReplayWindow = cmp.Or(c.ReplayWindow, 7*24*time.Hour)
	c.Partition = cmp.Or(c.Partition, 24*time.Hour)
	c.MaxSegmentBytes = cmp.Or(c.MaxSegmentBytes, 1<<30)
	c.FanIn = cmp.Or(c.FanIn, 4)
	c.MaxInputs = cmp.Or(c.MaxInputs, 16)
	c.CompressionLevel = cmp.Or(c.CompressionLevel, 3)
	c.BytesPerSecond = cmp.Or(c.BytesPerSecond, 16<<20)
	c.MinShare = cmp.Or(c.MinShare, 0.1)
	c.CancelPeriod = cmp.Or(c.CancelPeriod, 24*time.Hour)
	c.FollowEvery = cmp.Or(c.FollowEvery, followEvery)
	c.HeadAge = cmp.Or(c.HeadAge, 3*time.Hour)
	c.KeepRequests = cmp.Or(c.KeepRequests, 30*24*time.Hour)
	c.VerifyEvery = cmp.Or(c.VerifyEvery, 7*24*time.Hour)
	c.MinAge, c.DeleteDelay, c.CancelPeriod = max(0, c.MinAge), max(0, c.DeleteDelay), max(0, c.CancelPeriod)
	if c.Owns == nil {
		c.Owns = func(string) bool { return true }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var errs []error
	if c.Partition < time.Minute {
		errs = append(errs, fmt.Errorf("Partition %s is below a minute", c.Partition))
	}
	if c.FanIn < 2 || c.MaxInputs < c.FanIn {
		errs = append(errs, fmt.Errorf("FanIn %d must be 2 or more, and MaxInputs %d no less", c.FanIn, c.MaxInputs))
	}
	if c.CompressionLevel < 1 || c.CompressionLevel > 4 {
		errs = append(errs, fmt.Errorf("CompressionLevel %d is not in 1 to 4", c.CompressionLevel))
	}
	if c.MinShare < 0.001 || c.MinShare > 1 {
		errs = append(errs, fmt.Errorf("MinShare %g is not in 0.001 to 1", c.MinShare))
	}
	if c.MaxDiskShare < 0 || c.MaxDiskShare > 1 {
		errs = append(errs, fmt.Errorf("MaxDiskShare %g is not in 0 to 1", c.MaxDiskShare))
	}
	if c.MaxDiskShare > 0 && c.DiskUsage == nil {
		errs = append(errs, errors.New("MaxDiskShare needs DiskUsage"))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxSegmentBytes", c.MaxSegmentBytes}, {"MaxBytes", c.MaxBytes}, {"ReplayWindow", int64(c.ReplayWindow)},
		{"HeadAge", int64(c.HeadAge)}, {"KeepRequests", int64(c.KeepRequests)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d is negative", f.name, f.value))
		}
	}
	return c, errors.Join(errs...)
}

// Compactor is the Service over a store in this process.
type Compactor struct {
	services.Service

	cfg      Config
	store    store.Keeper
	bucket   objstore.Bucket
	limits   limits.Provider
	log      *slog.Logger
	metrics  *metrics
	requests *requests

	passing chan struct{} // is full while a pass works, to which the fields below belong
	pacer   *pacer
	written map[segmentKey]time.Time
	clean   map[segmentKey]map[string]bool // delete requests that name no row of a segment
	checked map[segmentKey]time.Time       // when a segment was verified

	mu      sync.Mutex
	expiry  map[segmentKey]expiry     // guarded by mu
	damaged map[segmentKey]DamageInfo // guarded by mu
}

type segmentKey struct {
	tenant string
	id     ulid.ULID
}

var _ Service = (*Compactor)(nil)

// New returns a compactor of the segments of a store. bucket is the one that the store is over: delete
// requests are kept in it too. The store must run before the compactor starts, and stop after it. logger and reg
// may be nil.
func New(cfg Config, st store.Keeper, bucket objstore.Bucket, lim limits.Provider, logger *slog.Logger, reg prometheus.Registerer) (*Compactor, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("compactor: %w", err)
	}
	if lim == nil {
		lim = limits.Fixed(limits.Default())
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	c := &Compactor{
		cfg: cfg, store: st, bucket: bucket, limits: lim, log: logger, passing: make(chan struct{}, 1),
		requests: newRequests(bucket, lim, cfg.File, logger), written: make(map[segmentKey]time.Time),
		clean: make(map[segmentKey]map[string]bool), checked: make(map[segmentKey]time.Time),
		expiry: make(map[segmentKey]expiry), damaged: make(map[segmentKey]DamageInfo),
	}
	var limiter *rate.Limiter
	if cfg.BytesPerSecond > 0 {
		limiter = rate.NewLimiter(rate.Limit(cfg.BytesPerSecond), max(cfg.BytesPerSecond, 1<<20))
	}
	c.pacer = newPacer(limiter, cfg.MinShare, max(0, cfg.Interval))
	c.metrics = newMetrics(reg, func() bool { return c.State() == services.Running && cfg.Owns("") })
	c.Service = services.NewBasicService(c.starting, c.running, c.stopping)
	return c, nil
}

// starting reads the delete requests: without them, queries would see deleted rows.
func (c *Compactor) starting(ctx context.Context) error {
	if err := c.requests.open(ctx); err != nil {
		return err
	}
	c.recall()
	return nil
}

func (c *Compactor) stopping(error) error { return c.requests.close() }

// running works in passes. Requests are followed beside them: a pass may take long.
func (c *Compactor) running(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	if c.cfg.FollowEvery > 0 {
		wg.Go(func() { c.requests.keepUp(ctx, c.cfg.FollowEvery) })
	}
	if c.cfg.Interval < 0 {
		<-ctx.Done()
		return nil
	}
	// Soon after the start, so that engines that never run for long are looked after too.
	next := time.Now().Add(c.cfg.Interval / 10)
	timer := time.NewTimer(c.pause(next))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		switch {
		case !time.Now().Before(next):
			if err := c.Run(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("compaction failed in part, will go on at the next pass", "err", err)
			}
			next = time.Now().Add(c.cfg.Interval)
		case c.crowded():
			if err := c.makeRoom(ctx); err != nil && ctx.Err() == nil {
				c.log.Error("not all room could be made on the disk", "err", err)
			}
		}
		timer.Reset(c.pause(next))
	}
}

// diskInterval is how often the disk is looked at between passes.
const diskInterval = 10 * time.Second

// pause is until the next pass, or the next look at the disk.
func (c *Compactor) pause(next time.Time) time.Duration {
	d := time.Until(next)
	if c.cfg.DiskUsage != nil {
		d = min(d, diskInterval)
	}
	return d
}

// Deleted implements Deletes.
func (c *Compactor) Deleted(tenant string) []*Predicate { return c.requests.Deleted(tenant) }

// Generation implements Deletes.
func (c *Compactor) Generation(tenant string) string { return c.requests.Generation(tenant) }

// Delete implements Service.
func (c *Compactor) Delete(ctx context.Context, query string, start, end int64) (Request, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return Request{}, err
	}
	p, err := NewPredicate(query, start, end)
	if err != nil {
		return Request{}, err
	}
	if c.limits(tenant).DeletionMode == limits.DeletionDisabled {
		return Request{}, ErrDisabled
	}
	r, err := c.requests.add(ctx, tenant, p, query, c.cfg.Now())
	if err == nil {
		c.metrics.received.WithLabelValues(tenant).Inc()
		c.log.Info("delete request accepted", "tenant", tenant, "request", r.ID, "query", query)
	}
	return r, err
}

// Requests implements Service.
func (c *Compactor) Requests(ctx context.Context) ([]Request, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	list := c.requests.list(tenant)
	out := make([]Request, len(list))
	for i, r := range list {
		out[i] = r.Request
	}
	return out, nil
}

// Cancel implements Service.
func (c *Compactor) Cancel(ctx context.Context, id string, force bool) error {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return err
	}
	err = c.requests.cancel(ctx, tenant, id, force, c.cfg.Now())
	if !errors.Is(err, ErrNotFound) || c.cfg.FollowEvery < 0 {
		return err
	}
	// Another process may have taken it just before.
	if err := c.requests.load(ctx); err != nil {
		return err
	}
	return c.requests.cancel(ctx, tenant, id, force, c.cfg.Now())
}
