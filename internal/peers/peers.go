// Package peers keeps the connections to processes of a ring of which any can answer.
package peers

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/wire"
	"example.com/loki/ring/member"
)

// Config describes a Pool of services of type S.
type Config[S any] struct {
	// Name says what the peers are, for messages.
	Name string
	// Dial returns the peer at an address. It must not block. The closer, which may be nil, is closed when the peer is no
	// longer used and no call of it runs.
	Dial func(addr string) (S, io.Closer, error)
	// AvoidFor is how long a peer that could not be reached is asked only if no other can be.
	AvoidFor time.Duration
	// IdleAfter closes the connection to a peer that has not been on the ring for so long.
	IdleAfter time.Duration
	// Logger may be nil.
	Logger *slog.Logger
}

// Pool is the connections to peers. It is safe for concurrent use. Close it after use.
type Pool[S any] struct {
	cfg Config[S]

	mu     sync.Mutex
	peers  map[string]*peer[S] // by address
	swept  time.Time           // when the ring was last looked at
	closed bool
}

// peer is one of a pool. Its fields are guarded by Pool.mu.
type peer[S any] struct {
	service S
	conn    io.Closer
	calls   int
	seen    time.Time // on the ring
	failed  time.Time // zero: the last call has reached it
}

// New returns a pool without connections.
func New[S any](cfg Config[S]) *Pool[S] {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Pool[S]{cfg: cfg, peers: map[string]*peer[S]{}}
}

// Close closes all connections. No peer can be taken afterwards.
func (p *Pool[S]) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for addr, one := range p.peers {
		errs = append(errs, p.drop(addr, one))
	}
	return errors.Join(errs...)
}

// drop forgets a peer. It needs p.mu.
func (p *Pool[S]) drop(addr string, one *peer[S]) error {
	delete(p.peers, addr)
	if one.conn == nil {
		return nil
	}
	return one.conn.Close()
}

// Sort returns those of the instances that should be asked first, and those that could not be reached a moment ago, both in the
// order given. It closes connections to peers that are no longer in view.
func (p *Pool[S]) Sort(v member.View, instances []*member.Instance) (first, avoided []*member.Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.sweep(v, now)
	first = make([]*member.Instance, 0, len(instances))
	for _, i := range instances {
		if one := p.peers[i.Addr]; one != nil && !one.failed.IsZero() && now.Sub(one.failed) < p.cfg.AvoidFor {
			avoided = append(avoided, i)
		} else {
			first = append(first, i)
		}
	}
	return first, avoided
}

// sweep closes connections to peers that are gone. It needs p.mu.
func (p *Pool[S]) sweep(v member.View, now time.Time) {
	if now.Sub(p.swept) < p.cfg.IdleAfter {
		return
	}
	p.swept = now
	for _, i := range v.All() {
		if one := p.peers[i.Addr]; one != nil {
			one.seen = now
		}
	}
	for addr, one := range p.peers {
		if one.calls > 0 || one.seen.Equal(now) || now.Sub(one.seen) < p.cfg.IdleAfter {
			continue
		}
		if err := p.drop(addr, one); err != nil {
			p.cfg.Logger.Warn("closing the connection to "+p.cfg.Name, "address", addr, "err", err)
		}
	}
}

// Unavailable is the error, with the gRPC status of that name, of which nobody can be asked.
func (p *Pool[S]) Unavailable() error {
	return status.Error(codes.Unavailable, fmt.Sprintf("no %s is there", p.cfg.Name))
}

// Take returns the peer at an address for a call, and what must be called with the error of that.
func (p *Pool[S]) Take(addr string) (S, func(error), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var none S
	if p.closed {
		return none, nil, p.Unavailable()
	}
	one := p.peers[addr]
	if one == nil {
		s, conn, err := p.cfg.Dial(addr)
		if err != nil {
			return none, nil, err
		}
		one = &peer[S]{service: s, conn: conn, seen: time.Now()}
		p.peers[addr] = one
	}
	one.calls++
	return one.service, func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.calls--
		switch {
		case wire.IsUnavailable(err):
			if one.failed.IsZero() && !one.seen.Before(p.swept) { // one that has left is no news
				p.cfg.Logger.Warn(p.cfg.Name+" can't be reached", "address", addr, "err", err)
			}
			one.failed = time.Now()
		case err == nil:
			one.failed = time.Time{}
		}
	}, nil
}
