// Package replicas is an ingester.Service that stands for all ingesters of a ring. Distributors and queriers use
// it as if there were one.
//
// # What it guarantees
//
// With a replication factor N a quorum is N/2+1. Push returns nil once, for each stream, a quorum of distinct
// ingesters has acknowledged its entries, each by its own contract (usually: synced to its log). Reads ask all
// ingesters and need the answers of all but N/2 (quorum-1) of them: whatever ingesters a push has chosen, one of
// those that answer has the entry. While the ring has fewer than N ingesters, those that it lacks count as not
// answering: this process may not have heard of them yet. So with N=3:
//
//   - one ingester that is dead, stuck, partitioned, starting or stopping is noticed neither by pushes nor by
//     queries, but for the time that it takes to notice that it is stuck;
//   - two of them that are away make queries fail, and say so (ErrNoQuorum), as an entry might be on these two
//     alone. Pushes still succeed while any two are there;
//   - nothing that was acknowledged is missing from an answer, and a push that failed may be there in part:
//     sending it again does no harm, since an entry counts once.
//
// With N=1 an ingester that is away makes queries fail until it is back, or has left the ring for good, while
// pushes go to the others.
//
// # Push
//
// A stream belongs to the first N ACTIVE and healthy ingesters from its key on around the ring. Those that are
// LEAVING, JOINING, without heartbeat or that calls fail to are passed over for the next ones. If one fails
// during the push, or has not answered within Config.SlowAfter, the next one on the ring that was not tried takes
// its place. The entries are copied once, so that calls to the slower ingesters go on after Push has returned:
// for at most Config.PushTimeout, and with at most Config.MaxPending bytes under way to each.
//
// # Reads
//
// The rows that replicas hold overlap, so Select marks all runs as shared, and the executor counts equal entries
// once. An ingester that fails or gets stuck half-way is dropped, if that can be tolerated: what it has yielded
// is true, what it has not yet yielded the others have. Volumes and tails likewise: see there.
//
// # Broken connections
//
// After Config.MaxFailures calls in a row have failed, or none has come back for Config.StuckAfter, an ingester
// counts as broken: pushes pass it over, and reads don't wait for it as long as the others suffice. It is probed
// in the background until it answers.
package replicas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/ingester"
	"example.com/loki/ring/member"
)

// Config of Replicas. The zero value is good for most.
type Config struct {
	// PushTimeout bounds a push to one ingester. 0 means 10s.
	PushTimeout time.Duration
	// SlowAfter is how long a push waits for an ingester before it also takes the next one on the ring, and
	// how long a read waits for the slowest ingesters after enough others have answered. 0 means 1s.
	SlowAfter time.Duration
	// MaxPending is how many bytes of lines and metadata may be under way to one ingester; a push beyond it
	// fails there at once, and goes elsewhere. One push is always let through. 0 means 64 MiB.
	MaxPending int64

	// MaxFailures is how many calls in a row have to fail until an ingester counts as broken. 0 means 3.
	MaxFailures int
	// StuckAfter is how long no push may come back, while some are under way, until an ingester counts as
	// broken. 0 means 3s.
	StuckAfter time.Duration
	// ProbeEvery is how often a broken ingester is asked whether it is back, and how often tails look for
	// new ingesters. 0 means 500ms.
	ProbeEvery time.Duration
	// IdleAfter closes the connection to an ingester that has been out of the ring for so long. 0 means 1m.
	IdleAfter time.Duration

	// TailMemory is how many entries each tail remembers, to drop those that another replica has sent already.
	// 0 means 65536, about 2 MiB.
	TailMemory int
}

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	c.PushTimeout = cmp.Or(c.PushTimeout, 10*time.Second)
	c.SlowAfter = cmp.Or(c.SlowAfter, time.Second)
	c.MaxPending = cmp.Or(c.MaxPending, 64<<20)
	c.MaxFailures = cmp.Or(c.MaxFailures, 3)
	c.StuckAfter = cmp.Or(c.StuckAfter, 3*time.Second)
	c.ProbeEvery = cmp.Or(c.ProbeEvery, 500*time.Millisecond)
	c.IdleAfter = cmp.Or(c.IdleAfter, time.Minute)
	c.TailMemory = cmp.Or(c.TailMemory, 1<<16)
	var errs []error
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"PushTimeout", int64(c.PushTimeout)}, {"SlowAfter", int64(c.SlowAfter)}, {"MaxPending", c.MaxPending},
		{"MaxFailures", int64(c.MaxFailures)}, {"StuckAfter", int64(c.StuckAfter)}, {"ProbeEvery", int64(c.ProbeEvery)},
		{"IdleAfter", int64(c.IdleAfter)}, {"TailMemory", int64(c.TailMemory)},
	} {
		if v.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", v.name))
		}
	}
	return c, errors.Join(errs...)
}

// Dial returns the ingester at an address. It must not block; the connection may be made at the first call. The
// closer, which may be nil, is closed when the ingester is no longer used and no call of it runs. A Service that
// has a method Check(context.Context) error is probed with that, others by asking for labels of no time.
type Dial func(addr string) (ingester.Service, io.Closer, error)

// Replicas is the Service that stands for all ingesters. It is also a dskit service that watches over connections:
// before it runs and after it was stopped its methods return ingester.ErrNotReady.
type Replicas struct {
	services.Service

	cfg     Config
	ring    member.Reader
	dial    Dial
	logger  *slog.Logger
	metrics *metrics

	mu    sync.Mutex
	phase phase            // guarded by mu
	peers map[string]*peer // by address; guarded by mu

	seen       map[string]bool // IDs of the last view; guarded by mu
	departures uint64          // guarded by mu

	copies  sync.Pool      // of *copied
	sends   sync.WaitGroup // pushes, and their calls
	calls   sync.WaitGroup // all other methods and goroutines, but that of running
	ctx     context.Context
	stopAll context.CancelFunc
}

type phase uint8

const (
	isNew phase = iota
	isRunning
	isStopped
)

var _ ingester.Service = (*Replicas)(nil)

// New makes a service over the ingesters of a ring. logger and reg may be nil.
func New(cfg Config, ring member.Reader, dial Dial, logger *slog.Logger, reg prometheus.Registerer) (*Replicas, error) {
	cfg, err := cfg.check()
	if err == nil && (ring == nil || dial == nil) {
		err = errors.New("a ring and a way to dial are needed")
	}
	if err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Replicas{cfg: cfg, ring: ring, dial: dial, logger: logger, metrics: newMetrics(reg), peers: make(map[string]*peer)}
	r.Service = services.NewBasicService(r.starting, r.running, r.stopping).WithName("ingester replicas")
	return r, nil
}

func (r *Replicas) starting(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Calls end when stopping says so, not when the service is told to stop.
	r.ctx, r.stopAll = context.WithCancel(context.WithoutCancel(ctx))
	r.phase = isRunning
	return nil
}

// running looks after the connections.
func (r *Replicas) running(ctx context.Context) error {
	t := time.NewTicker(r.cfg.ProbeEvery)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			r.lookAfter(now)
		case <-ctx.Done():
			return nil
		}
	}
}

// stopping lets pushes to the slower replicas end, for at most SlowAfter, then ends all calls.
func (r *Replicas) stopping(error) error {
	r.mu.Lock()
	r.phase = isStopped
	r.mu.Unlock()
	sent := make(chan struct{})
	r.calls.Go(func() {
		r.sends.Wait()
		close(sent)
	})
	t := time.NewTimer(r.cfg.SlowAfter)
	defer t.Stop()
	select {
	case <-sent:
	case <-t.C:
	}
	r.stopAll()
	r.calls.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for addr, p := range r.peers {
		errs = append(errs, p.close())
		delete(r.peers, addr)
	}
	return errors.Join(errs...)
}

// begin is called before the goroutines of a call are started, end after the last one was.
func (r *Replicas) begin() error { return r.beginIn(&r.calls) }

func (r *Replicas) end() { r.calls.Done() }

// beginIn counts a call in a group. No group grows any more once the phase says that the service stops.
func (r *Replicas) beginIn(g *sync.WaitGroup) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.phase {
	case isNew:
		return fmt.Errorf("%w: replicas have not been started", ingester.ErrNotReady)
	case isStopped:
		return fmt.Errorf("%w: replicas were stopped", ingester.ErrNotReady)
	}
	g.Add(1)
	return nil
}

// withStop returns a context that also ends when the service is stopped.
func (r *Replicas) withStop(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(r.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// view returns the newest view. Whoever is no longer in it counts as departed from then on.
func (r *Replicas) view() member.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.ring.View() // under the lock: views must not be compared in another order
	all := v.All()
	here := 0
	for _, i := range all {
		if r.seen[i.ID] {
			here++
		}
	}
	if here == len(all) && here == len(r.seen) {
		return v
	}
	r.departures += uint64(len(r.seen) - here)
	r.seen = make(map[string]bool, len(all))
	for _, i := range all {
		r.seen[i.ID] = true
	}
	return v
}

// Departures counts ingesters that have left the ring. What such a one has stored before, nobody knows of any
// more but the catalog of segments: a list of them that was made before the number changed may lack some, and
// so may what is read with it from those that are left.
func (r *Replicas) Departures() uint64 {
	r.view()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.departures
}
