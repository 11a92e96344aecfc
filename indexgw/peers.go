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

	"example.com/loki/internal/peers"
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

	slowAfter time.Duration
	ring      member.Reader
	pool      *peers.Pool[Service]
	turn      atomic.Uint32
}

// Dial returns the gateway at an address. It must not block; the connection may be made at the first call. The closer,
// which may be nil, is closed when the gateway is no longer used and no call of it runs.
type Dial func(addr string) (Service, io.Closer, error)

var _ Service = (*Peers)(nil)

// NewPeers returns the gateways of a ring, whose replication factor is how many of them take turns for a tenant. logger
// may be nil.
func NewPeers(cfg PeersConfig, ring member.Reader, dial Dial, logger *slog.Logger) (*Peers, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("index gateways: %w", err)
	}
	p := &Peers{slowAfter: cfg.SlowAfter, ring: ring, pool: peers.New(peers.Config[Service]{
		Name: "index gateway", Dial: dial, AvoidFor: cfg.AvoidFor, IdleAfter: cfg.IdleAfter, Logger: logger,
	})}
	p.Service = services.NewIdleService(nil, func(error) error { return p.pool.Close() })
	return p, nil
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
	order, avoided := p.pool.Sort(v, owners)
	order = append(order, avoided...)
	return order[:min(len(order), mostTries)]
}

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
	slow := time.NewTimer(p.slowAfter)
	defer slow.Stop()
	begun, pending := 0, 0
	next := func() {
		addr := order[begun].Addr
		begun++
		pending++
		calls.Go(func() {
			s, done, err := p.pool.Take(addr)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			v, err := call(ctx, s)
			done(err)
			answers <- answer{v, err}
		})
		slow.Reset(p.slowAfter)
	}
	last := p.pool.Unavailable()
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
