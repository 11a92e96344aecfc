package replicas

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/internal/pace"
	"example.com/loki/ring/member"
)

// Push implements ingester.Service; see the package's comment. It returns as soon as each stream has its quorum
// or can't reach it any more.
//
// Errors: an *ingester.StreamLimitError, if so many ingesters have refused some streams that these have no quorum
// and all others have theirs; ErrNoQuorum, if some stream has none for other reasons: then some entries may be
// stored, and the push should be sent again as it was.
func (r *Replicas) Push(ctx context.Context, req *ingester.PushRequest) error {
	id, err := user.ExtractOrgID(ctx)
	if err != nil {
		return fmt.Errorf("replicas: %w", err)
	}
	if err := r.beginIn(&r.sends); err != nil {
		return err
	}
	defer r.sends.Done()
	if !slices.ContainsFunc(req.Streams, func(s ingester.Stream) bool { return len(s.Entries) > 0 }) {
		return nil
	}
	view := r.ring.View()
	if only := r.onlyOne(view); only != nil {
		ctx, cancel := r.withStop(ctx)
		defer cancel()
		size := int64(0)
		for n := range req.Streams {
			size += sizeOf(&req.Streams[n])
		}
		return r.send(ctx, only, req, size)
	}
	defer pace.Idle(ctx)() // others store it; the ingester of this process counts for itself
	p := &push{r: r, ctx: ctx, view: view, own: copyRequest(&r.copies, req), results: make(chan result), returned: make(chan struct{})}
	defer p.own.done()
	defer close(p.returned)
	if err := p.prepare(id); err != nil {
		return err
	}
	return p.run()
}

// onlyOne returns the instance that gets everything, if there is no choice: no need then to copy the request.
func (r *Replicas) onlyOne(v member.View) *member.Instance {
	if all := v.All(); v.ReplicationFactor() == 1 && len(all) == 1 && v.Writable(all[0]) {
		return all[0]
	}
	return nil
}

// push is a push under way. It belongs to the goroutine of Push, but for what is said of the channels.
type push struct {
	r        *Replicas
	ctx      context.Context
	view     member.View
	own      *copied            // the request
	broken   []*member.Instance // passed over while there are others
	streams  []pushed
	open     int           // streams that may still get their quorum and have it not
	results  chan result   // calls send on it, unless returned is closed
	returned chan struct{} // closed when nobody receives any more
}

// pushed is one stream of a push.
type pushed struct {
	ingester.Stream // a copy
	size            int64
	key             uint32
	tried           []*member.Instance
	holders         []*member.Instance // of these, those that have it or may still take it
	acks, refusals  int
	waiting         int // calls under way
	done            bool
	failed          bool // done, without quorum and without being refused
}

// drop notes that an instance has not taken the stream.
func (s *pushed) drop(i *member.Instance) {
	s.holders = slices.DeleteFunc(s.holders, func(o *member.Instance) bool { return o == i })
}

type result struct {
	streams []int
	to      *member.Instance
	err     error
}

// prepare decides where each stream goes, and sends it there.
func (p *push) prepare(tenant string) error {
	p.broken = p.r.brokenOnes(p.view)
	own := p.own.streams
	p.streams = make([]pushed, 0, len(own))
	want := p.view.Quorum()
	targets := newTargets()
	replicas := make([]*member.Instance, 0, len(own)*p.view.ReplicationFactor())
	for _, s := range own {
		st := pushed{Stream: s, size: sizeOf(&s), key: member.Key(tenant, s.Hash)}
		from := len(replicas)
		replicas = p.view.Replicas(st.key, p.skip(), replicas)
		if len(replicas)-from < want { // better those that seem broken than none
			replicas = p.view.Replicas(st.key, nil, replicas[:from])
		}
		if len(replicas)-from < want {
			return newNoQuorum("push", fmt.Errorf("%w; how many there must be follows from common.replication_factor", p.view.Shortage(want)))
		}
		st.tried = replicas[from:len(replicas):len(replicas)]
		for _, i := range st.tried {
			targets.add(i, len(p.streams))
		}
		st.holders = slices.Clone(st.tried)
		st.waiting = len(st.tried)
		p.streams = append(p.streams, st)
	}
	p.open = len(p.streams)
	p.sendAll(targets)
	return nil
}

// skip returns what passes over broken instances, nil if there are none.
func (p *push) skip() func(*member.Instance) bool {
	if len(p.broken) == 0 {
		return nil
	}
	return func(i *member.Instance) bool { return slices.Contains(p.broken, i) }
}

// run waits until each stream is done.
func (p *push) run() error {
	slow := time.NewTimer(p.r.cfg.SlowAfter)
	defer slow.Stop()
	var causes []error
	var permanent error
	limit := &ingester.StreamLimitError{}
	for p.open > 0 {
		more := newTargets()
		select {
		case res := <-p.results:
			var over *ingester.StreamLimitError
			switch {
			case errors.As(res.err, &over):
				limit.Tenant, limit.Limit = over.Tenant, over.Limit
			case errors.Is(res.err, ingester.ErrTooLarge):
				permanent = res.err
			case res.err != nil:
				causes = append(causes, res.err)
			}
			refused := refusedIn(over)
			for _, n := range res.streams {
				s := &p.streams[n]
				s.waiting--
				switch {
				case res.err == nil || over != nil && !refused(s.Stream):
					s.acks++
				case over != nil || errors.Is(res.err, ingester.ErrTooLarge):
					s.refusals++
					s.drop(res.to)
				default:
					s.drop(res.to)
				}
				if !s.done {
					p.settle(n, more)
				}
			}
		case <-slow.C:
			for n := range p.streams {
				s := &p.streams[n]
				for k := s.acks; !s.done && k < p.view.Quorum(); k++ {
					p.extend(n, more)
				}
			}
			slow.Reset(p.r.cfg.SlowAfter)
		case <-p.ctx.Done():
			return fmt.Errorf("replicas: push may or may not be stored: %w", p.ctx.Err())
		case <-p.r.ctx.Done():
			return fmt.Errorf("%w: replicas were stopped, the push may or may not be stored", ingester.ErrNotReady)
		}
		p.sendAll(more)
	}
	return p.outcome(causes, permanent, limit)
}

// settle decides whether a stream is done, and where else it should go if not.
func (p *push) settle(n int, more *targets) {
	s, v := &p.streams[n], p.view
	switch {
	case s.acks >= v.Quorum():
		s.done = true
	case s.refusals > v.ReplicationFactor()-v.Quorum():
		s.done = true
	case s.acks+s.waiting < v.Quorum() && !p.extend(n, more):
		s.done, s.failed = true, true
	}
	if s.done {
		p.open--
	}
}

// extend sends a stream to the next instance on the ring that it was not sent to, if there is one.
func (p *push) extend(n int, more *targets) bool {
	s := &p.streams[n]
	skip := func(broken bool) func(*member.Instance) bool {
		return func(i *member.Instance) bool {
			return slices.Contains(s.tried, i) || !broken && slices.Contains(p.broken, i)
		}
	}
	next := p.view.Next(s.key, s.holders, skip(false))
	if next == nil {
		next = p.view.Next(s.key, s.holders, skip(true))
	}
	if next == nil {
		return false
	}
	s.tried = append(s.tried, next)
	s.holders = append(s.holders, next)
	s.waiting++
	more.add(next, n)
	p.r.metrics.retried.Inc()
	return true
}

// sendAll starts a call for each instance that is to get something.
func (p *push) sendAll(t *targets) {
	for _, to := range t.list {
		req := &ingester.PushRequest{Streams: make([]ingester.Stream, len(to.streams))}
		size := int64(0)
		for k, n := range to.streams {
			req.Streams[k] = p.streams[n].Stream
			size += p.streams[n].size
		}
		p.own.use()
		p.r.sends.Go(func() {
			defer p.own.done()
			// The caller's end is not that of the slower replicas; his tenant and trace are.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(p.ctx), p.r.cfg.PushTimeout)
			defer cancel()
			ctx, stop := p.r.withStop(ctx)
			defer stop()
			res := result{to.streams, to.instance, p.r.send(ctx, to.instance, req, size)}
			select {
			case p.results <- res:
			case <-p.returned:
			}
		})
	}
}

// outcome is what Push returns when all streams are done.
func (p *push) outcome(causes []error, permanent error, limit *ingester.StreamLimitError) error {
	failed := 0
	for n := range p.streams {
		s := &p.streams[n]
		switch {
		case s.failed:
			failed++
		case s.acks < p.view.Quorum():
			limit.Streams = append(limit.Streams, s.Labels)
		}
	}
	switch {
	case failed > 0:
		return newNoQuorum(fmt.Sprintf("%d of %d streams of the push are not stored on %d ingesters", failed, len(p.streams), p.view.Quorum()), causes...)
	case len(limit.Streams) == 0:
		return nil
	case permanent != nil:
		return permanent
	}
	return limit
}

// send does one call.
func (r *Replicas) send(ctx context.Context, i *member.Instance, req *ingester.PushRequest, size int64) error {
	p, err := r.peer(i)
	if err != nil {
		return err
	}
	defer r.release(p)
	if err := p.startPush(size, r.cfg.MaxPending); err != nil {
		return fmt.Errorf("ingester %s at %s: %w", i.ID, i.Addr, err)
	}
	defer p.endPush(size)
	return r.call(context.Background(), i, "push", func(s ingester.Service) error { return s.Push(ctx, req) })
}

// brokenOnes returns the instances that are known not to answer.
func (r *Replicas) brokenOnes(v member.View) []*member.Instance {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*member.Instance
	for _, i := range v.All() {
		if p := r.peers[i.Addr]; p != nil && p.broken.Load() {
			out = append(out, i)
		}
	}
	return out
}

// refusedIn returns what tells whether a stream is among the refused ones.
func refusedIn(e *ingester.StreamLimitError) func(ingester.Stream) bool {
	if e == nil {
		return nil
	}
	hashes := make(map[uint64]bool, len(e.Streams))
	for _, ls := range e.Streams {
		hashes[labels.StableHash(ls)] = true
	}
	return func(s ingester.Stream) bool { return hashes[labels.StableHash(s.Labels)] }
}

// targets is which streams go to which instance.
type targets struct {
	list []target
}

type target struct {
	instance *member.Instance
	streams  []int
}

func newTargets() *targets { return &targets{} }

func (t *targets) add(i *member.Instance, stream int) {
	for n := range t.list {
		if t.list[n].instance == i {
			t.list[n].streams = append(t.list[n].streams, stream)
			return
		}
	}
	t.list = append(t.list, target{i, []int{stream}})
}
