package scheduler

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/services"

	"example.com/loki/internal/peers"
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
	pool *peers.Pool[Service]
	turn atomic.Uint32
}

var _ Service = (*Peers)(nil)

// avoidFor is how long a scheduler that could not be reached is asked only if no other can be.
const avoidFor = 5 * time.Second

// NewPeers returns the schedulers of a ring. logger may be nil.
func NewPeers(ring member.Reader, dial Dial, logger *slog.Logger) *Peers {
	p := &Peers{ring: ring, pool: peers.New(peers.Config[Service]{Name: "query-scheduler", Dial: dial, AvoidFor: avoidFor, Logger: logger})}
	p.Service = services.NewIdleService(nil, func(error) error { return p.pool.Close() })
	return p
}

// order returns whom to ask, one after the other.
func (p *Peers) order() []*member.Instance {
	v := p.ring.View()
	var there []*member.Instance
	for _, i := range v.All() {
		if v.Writable(i) {
			there = append(there, i)
		}
	}
	first, avoided := p.pool.Sort(v, there)
	if n := len(first); n > 1 {
		at := int(p.turn.Add(1)) % n
		first = slices.Concat(first[at:], first[:at])
	}
	return append(first, avoided...)
}

// Run implements Service.
func (p *Peers) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	return patient{turns{p}}.Run(ctx, t)
}

// turns gives a task to one scheduler after the other until one answers.
type turns struct{ p *Peers }

// Run implements Service.
func (s turns) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	last := s.p.pool.Unavailable()
	for _, i := range s.p.order() {
		one, done, err := s.p.pool.Take(i.Addr)
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
