package ingester

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"golang.org/x/sync/errgroup"

	"example.com/loki/internal/pace"
)

// reason says what made a part be cut. The texts are label values of metrics; Loki's where it has the same.
type reason string

const (
	reasonSize     reason = "full"
	reasonAge      reason = "max_age"
	reasonIdle     reason = "idle"
	reasonForced   reason = "forced"
	reasonShutdown reason = "shutdown"
	reasonLog      reason = "wal"
	reasonMemory   reason = "memory"
)

// cutter knows the sealed parts and who writes them to the store.
type cutter struct {
	wakeup  chan struct{} // capacity 1: the sweeper should look
	changed notifier      // a job was added, or ended

	mu   sync.Mutex
	jobs []*cutJob // oldest first
}

type cutJob struct {
	tenant *tenant
	part   *part
}

// cutState is what the cutter knows of a sealed part.
type cutState struct {
	busy     bool
	failures int
	err      error // of the last attempt
	retry    time.Time
}

// wake makes the sweeper look at memory and log at once.
func (c *cutter) wake() {
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

// add hands over a sealed part.
func (c *cutter) add(t *tenant, p *part) {
	c.mu.Lock()
	c.jobs = append(c.jobs, &cutJob{t, p})
	c.mu.Unlock()
	c.changed.broadcast()
}

// take returns a job that may be worked on now; else when the next may be, zero for not yet known.
func (c *cutter) take(now time.Time) (*cutJob, time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var next time.Time
	for _, j := range c.jobs {
		s := &j.part.cut
		switch {
		case s.busy:
		case s.retry.After(now):
			if next.IsZero() || s.retry.Before(next) {
				next = s.retry
			}
		default:
			s.busy = true
			return j, time.Time{}
		}
	}
	return nil, next
}

// finish notes how an attempt ended.
func (c *cutter) finish(j *cutJob, err error, retry time.Time) {
	c.mu.Lock()
	s := &j.part.cut
	s.busy, s.err = false, err
	if err != nil {
		s.failures++
		s.retry = retry
	} else {
		c.jobs = slices.DeleteFunc(c.jobs, func(o *cutJob) bool { return o == j })
	}
	c.mu.Unlock()
	c.changed.broadcast()
}

func (c *cutter) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.jobs)
}

const (
	minRetry = time.Second
	maxRetry = time.Minute
)

// work writes sealed parts to the store until ctx is done, or with drain until there are none.
func (i *Ingester) work(ctx context.Context, drain bool) error {
	for ctx.Err() == nil {
		changed := i.cutter.changed.wait()
		i.metrics.flushQueue.Set(float64(i.cutter.len()))
		j, next := i.cutter.take(time.Now())
		if j == nil {
			if drain && i.cutter.len() == 0 {
				return nil
			}
			await(ctx, changed, next)
			continue
		}
		err := i.cutPart(ctx, j.tenant, j.part)
		if err != nil && ctx.Err() == nil {
			i.metrics.flushFailures.Inc()
			i.logger.Error("segment cannot be written, will try again", "tenant", j.tenant.id, "segment", j.part.id, "err", err)
		}
		i.cutter.mu.Lock()
		wait := min(minRetry<<min(j.part.cut.failures, 10), maxRetry)
		i.cutter.mu.Unlock()
		i.cutter.finish(j, err, time.Now().Add(wait))
	}
	return nil
}

// await returns when changed is closed, ctx is done or the time has come; the zero time never comes.
func await(ctx context.Context, changed <-chan struct{}, until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-changed:
	case <-timer:
	case <-ctx.Done():
	}
}

// cutPart writes a sealed part as a segment and drops it from memory. It returns nil too if the part had no
// rows, and when it fails the part stays as it is.
func (i *Ingester) cutPart(ctx context.Context, t *tenant, p *part) error {
	select {
	case <-p.quiet:
	case <-ctx.Done():
		return ctx.Err()
	}
	if p.rows > 0 {
		ctx, worker := pace.NewWorker(i.cfg.Pace.Context(ctx, pace.Flush))
		if err := worker.Take(ctx); err != nil {
			return err
		}
		defer worker.Release()
		began := time.Now()
		info, err := i.store.Put(user.InjectOrgID(ctx, t.id), p.id, p.segment(ctx, t))
		if err != nil {
			return fmt.Errorf("write segment: %w", err)
		}
		i.metrics.stored.Inc()
		i.metrics.partSize.Observe(float64(info.SizeBytes))
		i.metrics.partEntries.Observe(float64(p.rows))
		i.metrics.partAge.Observe(i.cfg.Now().Sub(p.opened).Seconds())
		i.metrics.partUtilization.Observe(float64(p.lineBytes) / float64(i.cfg.SegmentTarget))
		i.logger.Info("segment written", "tenant", t.id, "segment", p.id, "reason", string(p.reason), "rows", p.rows,
			"streams", len(p.streams), "raw_bytes", p.lineBytes, "size_bytes", info.SizeBytes, "took", time.Since(began))
	}
	i.metrics.flushed.WithLabelValues(string(p.reason)).Inc()
	i.drop(t, p)
	return nil
}

// drop forgets a part whose rows are in the store. From one moment to the next, readers find it there.
func (i *Ingester) drop(t *tenant, p *part) {
	t.mu.Lock()
	t.sealed = slices.DeleteFunc(t.sealed, func(o *part) bool { return o == p })
	if p.rows > 0 {
		t.stored = append(t.stored, storedPart{id: p.id.String(), min: p.min, max: p.max, at: i.cfg.Now()})
	}
	if t.active != nil {
		for _, s := range p.streams {
			if t.active[s.Hash]--; t.active[s.Hash] <= 0 {
				delete(t.active, s.Hash)
			}
		}
	}
	mem, streams := p.mem, len(p.streams)
	t.mu.Unlock()

	i.metrics.parts.Dec()
	i.metrics.streams.Sub(float64(streams))
	i.addMemory(-mem)
	close(p.done)
	select {
	case i.truncate <- struct{}{}:
	default:
	}
}

// sweep seals parts that are due until ctx is done.
func (i *Ingester) sweep(ctx context.Context) error {
	tick := time.NewTicker(i.cfg.CheckEvery)
	defer tick.Stop()
	for {
		i.sweepOnce(i.cfg.Now())
		select {
		case <-tick.C:
		case <-i.cutter.wakeup:
		case <-ctx.Done():
			return nil
		}
	}
}

// openPart is an open part as the sweeper has seen it.
type openPart struct {
	tenant    *tenant
	part      *part
	mem       int64
	firstFile int
}

func (i *Ingester) sweepOnce(now time.Time) {
	var open []openPart
	var closing int64 // memory of parts on their way to the store
	oldestFile := -1  // that a part needs
	inUse := func(f int) {
		if f >= 0 && (oldestFile < 0 || f < oldestFile) {
			oldestFile = f
		}
	}
	for _, t := range i.allTenants() {
		i.forget(t, now)
		t.mu.RLock()
		for _, p := range t.sealed {
			closing += p.mem
			inUse(p.firstFile)
		}
		var due reason
		p := t.open
		if p != nil {
			switch {
			case i.cfg.MaxAge > 0 && now.Sub(p.opened) >= i.cfg.MaxAge:
				due = reasonAge
			case i.cfg.MaxIdle > 0 && now.Sub(p.lastPush) >= i.cfg.MaxIdle:
				due = reasonIdle
			default:
				open = append(open, openPart{t, p, p.mem, p.firstFile})
				inUse(p.firstFile)
			}
			if due != "" {
				closing += p.mem
				inUse(p.firstFile)
			}
		}
		t.mu.RUnlock()
		if due != "" {
			i.seal(t, p, due)
		}
	}
	// The log is too long, or its disk is full: the oldest parts keep it so. What cutting them frees
	// is estimated by whole files.
	over := i.walSize.Load() - i.cfg.WALTarget
	if i.needRoom.Swap(false) {
		over = max(over, 1)
	}
	if over > 0 && oldestFile >= 0 {
		files := int((over + i.cfg.WALTarget/4) / i.cfg.WALFileSize)
		for _, o := range open {
			if o.firstFile >= 0 && o.firstFile <= oldestFile+files {
				i.seal(o.tenant, o.part, reasonLog)
				closing += o.mem
			}
		}
	}
	// Memory runs short: the largest parts make room, until half of it will be free.
	if total := i.memory.Load(); total >= i.cfg.MaxHeadBytes/4*3 {
		slices.SortFunc(open, func(a, b openPart) int { return cmp.Compare(b.mem, a.mem) })
		for _, o := range open {
			if total-closing <= i.cfg.MaxHeadBytes/2 {
				break
			}
			if i.seal(o.tenant, o.part, reasonMemory) {
				closing += o.mem
			}
		}
	}
}

// seal seals a part if it is still open and hands it to the cutter.
func (i *Ingester) seal(t *tenant, p *part, why reason) bool {
	t.mu.Lock()
	if t.open != p {
		t.mu.Unlock()
		return false
	}
	t.seal(why)
	t.mu.Unlock()
	i.cutter.add(t, p)
	return true
}

// forget drops what the tenant's hand-over no longer needs, and the tenant if nothing is left.
func (i *Ingester) forget(t *tenant, now time.Time) {
	t.mu.Lock()
	n := 0
	for n < len(t.stored) && now.Sub(t.stored[n].at) > i.cfg.HandoverWindow {
		n++
	}
	t.stored = slices.Delete(t.stored, 0, n)
	t.dead = t.open == nil && len(t.sealed) == 0 && len(t.stored) == 0 && len(t.tailers) == 0
	dead := t.dead
	t.mu.Unlock()
	if dead {
		i.mu.Lock()
		if i.tenants[t.id] == t {
			delete(i.tenants, t.id)
		}
		i.mu.Unlock()
	}
}

// Flush implements Service.
func (i *Ingester) Flush(ctx context.Context, tenant string) error {
	if err := i.Ready(); err != nil {
		return err
	}
	tenants := i.allTenants()
	if tenant != "" {
		tenants = nil
		if t := i.lookup(tenant); t != nil {
			tenants = append(tenants, t)
		}
	}
	var wait []flushing
	for _, t := range tenants {
		t.mu.RLock()
		open := t.open
		t.mu.RUnlock()
		if open != nil {
			i.seal(t, open, reasonForced)
		}
		t.mu.RLock()
		for _, p := range t.sealed {
			wait = append(wait, flushing{part: p})
		}
		t.mu.RUnlock()
	}
	i.cutter.mu.Lock()
	for n := range wait {
		s := &wait[n].part.cut
		s.retry = time.Time{} // who asks for it does not want to wait for the next attempt
		wait[n].failures = s.failures
	}
	i.cutter.mu.Unlock()
	i.cutter.changed.broadcast()

	var errs []error
	for _, w := range wait {
		errs = append(errs, i.awaitCut(ctx, w))
	}
	return errors.Join(errs...)
}

type flushing struct {
	part     *part
	failures int // before the flush
}

// awaitCut waits until a part is stored or an attempt at it has failed.
func (i *Ingester) awaitCut(ctx context.Context, f flushing) error {
	for {
		changed := i.cutter.changed.wait()
		select {
		case <-f.part.done:
			return nil
		default:
		}
		i.cutter.mu.Lock()
		failures, err := f.part.cut.failures, f.part.cut.err
		i.cutter.mu.Unlock()
		if failures > f.failures {
			return fmt.Errorf("ingester: flush segment %s: %w", f.part.id, err)
		}
		select {
		case <-changed:
		case <-f.part.done:
		case <-ctx.Done():
			return fmt.Errorf("ingester: flush segment %s: %w", f.part.id, ctx.Err())
		case <-i.gate.closed:
			return i.Ready()
		}
	}
}

// flushOnStop cuts all parts within the time that the configuration gives.
func (i *Ingester) flushOnStop() {
	ctx, cancel := context.WithTimeout(context.Background(), i.cfg.FlushOnStop)
	defer cancel()
	for _, t := range i.allTenants() {
		t.mu.RLock()
		open := t.open
		t.mu.RUnlock()
		if open != nil {
			i.seal(t, open, reasonShutdown)
		}
	}
	var g errgroup.Group
	for range i.cfg.CutConcurrency {
		g.Go(func() error { return i.work(ctx, true) })
	}
	_ = g.Wait() // work returns no errors
	if n := i.cutter.len(); n > 0 {
		i.logger.Warn("not all parts became segments before the stop; the write-ahead log keeps them", "parts", n)
	}
}
