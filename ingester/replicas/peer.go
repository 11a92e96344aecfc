package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/user"

	"example.com/loki/ingester"
	"example.com/loki/ring/member"
)

// peer is the connection to an ingester.
type peer struct {
	addr    string
	service ingester.Service
	closer  io.Closer

	broken atomic.Bool // passed over until a probe succeeds

	users    int       // guarded by Replicas.mu; no close while it is used
	lastSeen time.Time // in the ring; guarded by Replicas.mu

	mu        sync.Mutex
	failures  int       // in a row
	pushes    int       // under way
	pending   int64     // their bytes
	waitSince time.Time // of pushes: when the first began, or one came back last
	probing   bool
}

func (p *peer) close() error {
	if p.closer == nil {
		return nil
	}
	return p.closer.Close()
}

// peer returns the connection to an instance, for use until release.
func (r *Replicas) peer(i *member.Instance) (*peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[i.Addr]
	if p == nil {
		s, c, err := r.dial(i.Addr)
		if err != nil {
			return nil, fmt.Errorf("connect to %s: %w", i.Addr, err)
		}
		p = &peer{addr: i.Addr, service: s, closer: c}
		r.peers[i.Addr] = p
		r.metrics.peers.Inc()
	}
	p.users++
	p.lastSeen = time.Now()
	return p, nil
}

func (r *Replicas) release(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.users--
}

// call does one call of an ingester and keeps its record. A failure after the caller's context has ended is not the
// ingester's.
func (r *Replicas) call(caller context.Context, i *member.Instance, operation string, f func(ingester.Service) error) error {
	p, err := r.peer(i)
	if err != nil {
		return err
	}
	defer r.release(p)
	began := time.Now()
	err = f(p.service)
	if caller.Err() == nil {
		r.metrics.observe(p.addr, operation, began, err)
		r.judge(p, err)
	}
	if err != nil {
		return fmt.Errorf("ingester %s at %s: %w", i.ID, i.Addr, err)
	}
	return nil
}

// judge counts failures in a row.
func (r *Replicas) judge(p *peer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !blames(err) {
		if err == nil {
			p.failures = 0
		}
		return
	}
	if p.failures++; p.failures >= r.cfg.MaxFailures {
		r.breakOff(p, err)
	}
}

// wasSlow counts it as a failure that an ingester was not waited for.
func (r *Replicas) wasSlow(i *member.Instance) {
	r.mu.Lock()
	p := r.peers[i.Addr]
	r.mu.Unlock()
	if p != nil {
		r.judge(p, errSlow)
	}
}

// breakOff marks a peer as broken.
func (r *Replicas) breakOff(p *peer, why error) {
	if p.broken.CompareAndSwap(false, true) {
		r.metrics.broken.WithLabelValues(p.addr).Set(1)
		r.logger.Warn("ingester does not answer, passing it over", "address", p.addr, "err", why)
	}
}

// startPush counts a push that is under way, unless there are too many.
func (p *peer) startPush(size, most int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pushes > 0 && p.pending+size > most {
		return errBusy
	}
	if p.pushes == 0 {
		p.waitSince = time.Now()
	}
	p.pushes++
	p.pending += size
	return nil
}

func (p *peer) endPush(size int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pushes--
	p.pending -= size
	p.waitSince = time.Now()
}

// lookAfter finds peers that are stuck, probes broken ones and closes those that left.
func (r *Replicas) lookAfter(now time.Time) {
	here := make(map[string]bool)
	for _, i := range r.ring.View().All() {
		here[i.Addr] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != isRunning {
		return
	}
	for addr, p := range r.peers {
		if here[addr] {
			p.lastSeen = now
		} else if p.users == 0 && now.Sub(p.lastSeen) > r.cfg.IdleAfter {
			if err := p.close(); err != nil {
				r.logger.Warn("closing the connection to an ingester", "address", addr, "err", err)
			}
			delete(r.peers, addr)
			r.metrics.peers.Dec()
			r.metrics.forget(addr)
			continue
		}
		p.mu.Lock()
		if p.pushes > 0 && now.Sub(p.waitSince) > r.cfg.StuckAfter {
			r.breakOff(p, errSlow)
		}
		probe := p.broken.Load() && !p.probing && here[addr]
		if probe {
			p.probing = true
		}
		p.mu.Unlock()
		if probe {
			p.users++
			r.calls.Go(func() { r.probe(p) })
		}
	}
}

// probe asks a broken peer whether it is back.
func (r *Replicas) probe(p *peer) {
	defer r.release(p)
	ctx, cancel := context.WithTimeout(r.ctx, r.cfg.StuckAfter)
	defer cancel()
	var err error
	if c, ok := p.service.(interface{ Check(context.Context) error }); ok {
		err = c.Check(ctx)
	} else {
		_, err = p.service.Labels(user.InjectOrgID(ctx, "probe"), 0, 0, nil)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.probing = false
	if err == nil && !(p.pushes > 0 && time.Since(p.waitSince) > r.cfg.StuckAfter) {
		p.failures = 0
		p.broken.Store(false)
		r.metrics.broken.WithLabelValues(p.addr).Set(0)
		r.logger.Info("ingester answers again", "address", p.addr)
	} else if !errors.Is(err, context.Canceled) {
		r.metrics.failures.WithLabelValues(p.addr, "probe").Inc()
	}
}
