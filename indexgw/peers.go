package indexgw

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/wire"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
	"example.com/loki/store"
)

// PeersConfig is how gateways of other processes are asked. The zero value is a good default.
type PeersConfig struct {
	// SlowAfter is how long a gateway may take before the next one is asked the same; the first answer counts.
	// 0 means 2s.
	SlowAfter time.Duration
	// AvoidFor is how long a gateway that could not be reached is asked only if no other can be. 0 means 5s.
	AvoidFor time.Duration
	// IdleAfter closes the connection to a gateway that has not been there for so long. 0 means 1m.
	IdleAfter time.Duration
}

func (c PeersConfig) check() (PeersConfig, error) {
	c.SlowAfter = cmp.Or(c.SlowAfter, 2*time.Second)
	c.AvoidFor = cmp.Or(c.AvoidFor, 5*time.Second)
	c.IdleAfter = cmp.Or(c.IdleAfter, time.Minute)
	if c.SlowAfter < 0 || c.AvoidFor < 0 || c.IdleAfter < 0 {
		return c, errors.New("SlowAfter, AvoidFor or IdleAfter is negative")
	}
	return c, nil
}

// Peers is the gateways of other processes as one Service. Each tenant has its place on their ring and is asked about
// at the gateways that stand there, in turns, so that these have its indexes at hand. Any other one can answer too:
// those that follow on the ring are asked when the first fail. An error with the gRPC status Unavailable means that
// none could be reached.
//
// It is a dskit service, so that it closes its connections: it must be stopped, and needs no start.
type Peers struct {
	services.Service

	cfg  PeersConfig
	ring member.Reader
	dial Dial
	log  *slog.Logger
	turn atomic.Uint32

	mu     sync.Mutex
	peers  map[string]*peer // by address; nil when stopped
	swept  time.Time        // when idle connections were last looked for
	closed bool
}

// Dial returns the gateway at an address. It must not block; the connection may be made at the first call. The closer,
// which may be nil, is closed when the gateway is no longer used and no call of it runs.
type Dial func(addr string) (Service, io.Closer, error)

var _ Service = (*Peers)(nil)

// peer is a gateway. Its fields are guarded by Peers.mu.
type peer struct {
	service Service
	conn    io.Closer
	calls   int
	seen    time.Time // on the ring
	failed  time.Time // zero: the last call has reached it
}

// NewPeers returns the gateways of a ring, whose replication factor is how many of them take turns for a tenant. logger
// may be nil.
func NewPeers(cfg PeersConfig, ring member.Reader, dial Dial, logger *slog.Logger) (*Peers, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("index gateways: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	p := &Peers{cfg: cfg, ring: ring, dial: dial, log: logger, peers: map[string]*peer{}}
	p.Service = services.NewIdleService(nil, func(error) error { return p.close() })
	return p, nil
}

func (p *Peers) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	var errs []error
	for addr, one := range p.peers {
		errs = append(errs, p.drop(addr, one))
	}
	return errors.Join(errs...)
}

// drop forgets a gateway. It needs p.mu.
func (p *Peers) drop(addr string, one *peer) error {
	delete(p.peers, addr)
	if one.conn == nil {
		return nil
	}
	return one.conn.Close()
}

// mostTries bounds how many gateways are asked the same.
const mostTries = 4

// order returns whom to ask about a tenant, one after the other.
func (p *Peers) order(id string) []*member.Instance {
	v := p.ring.View()
	key := member.Key(id, 0)
	owners := v.Replicas(key, nil, nil)
	if n := len(owners); n > 1 {
		at := int(p.turn.Add(1)) % n
		owners = append(append(make([]*member.Instance, 0, mostTries), owners[at:]...), owners[:at]...)
	}
	for len(owners) < mostTries {
		next := v.Next(key, nil, func(i *member.Instance) bool {
			for _, o := range owners {
				if o == i {
					return true
				}
			}
			return false
		})
		if next == nil {
			break
		}
		owners = append(owners, next)
	}
	// Those that were away a moment ago come last.
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.sweep(v, now)
	var order, avoided []*member.Instance
	for _, i := range owners {
		if one := p.peers[i.Addr]; one != nil && !one.failed.IsZero() && now.Sub(one.failed) < p.cfg.AvoidFor {
			avoided = append(avoided, i)
		} else {
			order = append(order, i)
		}
	}
	order = append(order, avoided...)
	return order[:min(len(order), mostTries)]
}

// sweep closes connections to gateways that are gone. It needs p.mu.
func (p *Peers) sweep(v member.View, now time.Time) {
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
		if one.calls == 0 && now.Sub(one.seen) >= p.cfg.IdleAfter {
			if err := p.drop(addr, one); err != nil {
				p.log.Warn("closing the connection to an index gateway", "address", addr, "err", err)
			}
		}
	}
}

// take returns a gateway for a call, and what must be called with its error.
func (p *Peers) take(addr string) (Service, func(error), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errNoGateway
	}
	one := p.peers[addr]
	if one == nil {
		s, conn, err := p.dial(addr)
		if err != nil {
			return nil, nil, err
		}
		one = &peer{service: s, conn: conn, seen: time.Now()}
		p.peers[addr] = one
	}
	one.calls++
	return one.service, func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.calls--
		switch {
		case wire.IsUnavailable(err):
			if one.failed.IsZero() {
				p.log.Warn("index gateway can't be reached", "address", addr, "err", err)
			}
			one.failed = time.Now()
		case err == nil:
			one.failed = time.Time{}
		}
	}, nil
}

var errNoGateway = status.Error(codes.Unavailable, "no index gateway is there")

// ask asks one gateway after the other until one answers: the next one when the last one can't be reached, or is slow.
func ask[T any](ctx context.Context, p *Peers, call func(ctx context.Context, s Service) (T, error)) (T, error) {
	var none T
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return none, err
	}
	type answer struct {
		value T
		err   error
	}
	// All calls have ended, or are about to since ctx is done, when ask returns.
	ctx, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer func() {
		cancel()
		calls.Wait()
	}()
	order := p.order(id)
	answers := make(chan answer, len(order))
	slow := time.NewTimer(p.cfg.SlowAfter)
	defer slow.Stop()
	begun, pending := 0, 0
	next := func() {
		addr := order[begun].Addr
		begun++
		pending++
		calls.Go(func() {
			s, done, err := p.take(addr)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			v, err := call(ctx, s)
			done(err)
			answers <- answer{v, err}
		})
		slow.Reset(p.cfg.SlowAfter)
	}
	last := error(errNoGateway)
	for {
		if pending == 0 {
			if begun == len(order) || ctx.Err() != nil {
				return none, last
			}
			next()
		}
		select {
		case a := <-answers:
			pending--
			if a.err == nil || !wire.IsUnavailable(a.err) {
				return a.value, a.err
			}
			last = a.err
		case <-slow.C:
			if begun < len(order) {
				next()
			}
		}
	}
}

// Labels implements Service.
func (p *Peers) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return ask(ctx, p, func(ctx context.Context, s Service) ([]string, error) { return s.Labels(ctx, start, end, matchers) })
}

// LabelValues implements Service.
func (p *Peers) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return ask(ctx, p, func(ctx context.Context, s Service) ([]string, error) {
		return s.LabelValues(ctx, name, start, end, matchers)
	})
}

// Series implements Service.
func (p *Peers) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	return ask(ctx, p, func(ctx context.Context, s Service) ([]labels.Labels, error) {
		return s.Series(ctx, start, end, matchers)
	})
}

// Volumes implements Service.
func (p *Peers) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	return ask(ctx, p, func(ctx context.Context, s Service) ([]logql.StreamVolume, error) {
		return s.Volumes(ctx, start, end, matchers, by, parts)
	})
}

// Segments implements Service.
func (p *Peers) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	return ask(ctx, p, func(ctx context.Context, s Service) ([]store.SegmentInfo, error) { return s.Segments(ctx, start, end) })
}
