package scheduler

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/services"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/wire"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
)

// Dial returns the scheduler at an address. It must not block; the connection may be made at the first call. The closer
// is closed when the scheduler is no longer used and no call of it runs.
type Dial func(addr string) (Service, io.Closer, error)

// Peers is the schedulers of a ring as one Service. Tasks go to them in turns, as queriers fetch them from all. A task is
// given to the next one when the one that had it can't be reached or goes away, and again for up to five seconds
// while none is there; then the error has the gRPC status Unavailable.
//
// It is a dskit service, so that it closes its connections: it must be stopped, and needs no start.
type Peers struct {
	services.Service

	ring member.Reader
	dial Dial
	log  *slog.Logger

	mu     sync.Mutex
	turn   int
	peers  map[string]*peer // by address
	closed bool
}

var _ Service = (*Peers)(nil)

// peer is a scheduler. Its fields are guarded by Peers.mu.
type peer struct {
	service Service
	conn    io.Closer
	calls   int
	there   bool      // on the ring, when that was last looked at
	failed  time.Time // zero: the last call has reached it
}

// avoidFor is how long a scheduler that could not be reached is asked only if no other can be.
const avoidFor = 5 * time.Second

// NewPeers returns the schedulers of a ring. logger may be nil.
func NewPeers(ring member.Reader, dial Dial, logger *slog.Logger) *Peers {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p := &Peers{ring: ring, dial: dial, log: logger, peers: map[string]*peer{}}
	p.Service = services.NewIdleService(nil, func(error) error { return p.close() })
	return p
}

func (p *Peers) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for addr, one := range p.peers {
		delete(p.peers, addr)
		errs = append(errs, one.conn.Close())
	}
	return errors.Join(errs...)
}

// order returns the addresses of whom to ask, one after the other.
func (p *Peers) order() []string {
	v, now := p.ring.View(), time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.peers {
		one.there = false
	}
	var fine, avoided []string
	for _, i := range v.All() {
		one := p.peers[i.Addr]
		if one != nil {
			one.there = true
		}
		switch {
		case !v.Writable(i):
		case one != nil && now.Sub(one.failed) < avoidFor:
			avoided = append(avoided, i.Addr)
		default:
			fine = append(fine, i.Addr)
		}
	}
	for addr, one := range p.peers {
		if !one.there && one.calls == 0 {
			p.drop(addr, one)
		}
	}
	if n := len(fine); n > 1 {
		p.turn = (p.turn + 1) % n
		fine = slices.Concat(fine[p.turn:], fine[:p.turn])
	}
	return append(fine, avoided...)
}

// drop forgets a scheduler that has left the ring. It needs p.mu.
func (p *Peers) drop(addr string, one *peer) {
	delete(p.peers, addr)
	if err := one.conn.Close(); err != nil {
		p.log.Warn("closing the connection to a query-scheduler", "address", addr, "err", err)
	}
}

// take returns a scheduler for a call, and what must be called with its error.
func (p *Peers) take(addr string) (Service, func(error), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errNoScheduler
	}
	one := p.peers[addr]
	if one == nil {
		s, conn, err := p.dial(addr)
		if err != nil {
			return nil, nil, err
		}
		one = &peer{service: s, conn: conn, there: true}
		p.peers[addr] = one
	}
	one.calls++
	return one.service, func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.calls--
		switch {
		case wire.IsUnavailable(err):
			if one.failed.IsZero() && one.there {
				p.log.Warn("query-scheduler can't be reached", "address", addr, "err", err)
			}
			one.failed = time.Now()
		case err == nil:
			one.failed = time.Time{}
		}
	}, nil
}

var errNoScheduler = status.Error(codes.Unavailable, "no query-scheduler is in the ring")

// Run implements Service.
func (p *Peers) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	return patient{turns{p}}.Run(ctx, t)
}

// turns gives a task to one scheduler after the other until one answers.
type turns struct{ p *Peers }

// Run implements Service.
func (s turns) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	last := errNoScheduler
	for _, addr := range s.p.order() {
		one, done, err := s.p.take(addr)
		if err != nil {
			return nil, err
		}
		res, err := one.Run(ctx, t)
		done(err)
		if !wire.IsUnavailable(err) || ctx.Err() != nil {
			return res, err
		}
		last = err
	}
	return nil, last
}
