package replicas

import (
	"context"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/ring/member"
)

// Tail implements ingester.Service: the tails of all ingesters as one, where each entry comes once, as soon as the
// first of its replicas has it. It goes on whatever ingesters come and go: those that join are subscribed to
// within Config.ProbeEvery, those that fail again and again. Entries that only ingesters which are away have
// got don't come.
//
// TailBatch.Dropped counts what any of the ingesters has dropped; another replica may have sent it.
func (r *Replicas) Tail(ctx context.Context, matchers []*labels.Matcher) iter.Seq2[*ingester.TailBatch, error] {
	// The subscription begins now, not when the caller comes round to reading.
	t, err := r.newTail(ctx, matchers)
	return func(yield func(*ingester.TailBatch, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		defer t.cancel()
		seen := newRecent(r.cfg.TailMemory)
		for {
			select {
			case b := <-t.batches:
				if seen.filter(b); len(b.Streams) == 0 && b.Dropped == 0 {
					continue
				}
				if !yield(b, nil) {
					return
				}
			case <-t.ctx.Done():
				return
			}
		}
	}
}

// tail is subscriptions to all ingesters. They end with ctx.
type tail struct {
	r        *Replicas
	ctx      context.Context
	cancel   context.CancelFunc
	matchers []*labels.Matcher
	batches  chan *ingester.TailBatch
	ended    chan string // addresses
}

func (r *Replicas) newTail(ctx context.Context, matchers []*labels.Matcher) (*tail, error) {
	if _, err := user.ExtractOrgID(ctx); err != nil {
		return nil, fmt.Errorf("replicas: %w", err)
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	defer r.end()
	v := r.ring.View()
	if len(v.All()) == 0 {
		return nil, newNoQuorum("tail", v.Shortage(1))
	}
	t := &tail{r: r, matchers: matchers, batches: make(chan *ingester.TailBatch), ended: make(chan string)}
	t.ctx, t.cancel = r.withStop(ctx)
	subscribed := make(map[string]bool)
	begun := make(chan struct{}, len(v.All()))
	for _, i := range v.All() {
		if !subscribed[i.Addr] {
			subscribed[i.Addr] = true
			t.subscribe(i, func() { begun <- struct{}{} })
		}
	}
	// What is pushed after Tail has returned must not be missed; but nobody waits long for one that is away.
	late := time.NewTimer(r.cfg.SlowAfter)
	defer late.Stop()
wait:
	for range len(subscribed) {
		select {
		case <-begun:
		case <-late.C:
			break wait
		case <-t.ctx.Done():
			break wait
		}
	}
	r.calls.Go(func() { t.keepUp(subscribed) })
	return t, nil
}

// subscribe reads the tail of one ingester until it ends.
func (t *tail) subscribe(i *member.Instance, begun func()) {
	t.r.calls.Go(func() {
		begun := sync.OnceFunc(begun)
		defer begun() // also if it did not come to that
		err := t.r.call(t.ctx, i, "tail", func(s ingester.Service) error {
			batches := s.Tail(t.ctx, t.matchers)
			begun()
			for b, err := range batches {
				if err != nil {
					return err
				}
				select {
				case t.batches <- b:
				case <-t.ctx.Done():
					return t.ctx.Err()
				}
			}
			return nil
		})
		if err != nil && t.ctx.Err() == nil {
			t.r.logger.Debug("tail of an ingester has ended", "address", i.Addr, "err", err)
		}
		select {
		case t.ended <- i.Addr:
		case <-t.ctx.Done():
		}
	})
}

// keepUp subscribes to those that join and, some time after they failed, to those that are still there.
func (t *tail) keepUp(subscribed map[string]bool) {
	tick := time.NewTicker(t.r.cfg.ProbeEvery)
	defer tick.Stop()
	for {
		select {
		case addr := <-t.ended:
			delete(subscribed, addr)
		case <-tick.C:
			for _, i := range t.r.ring.View().All() {
				if !subscribed[i.Addr] {
					subscribed[i.Addr] = true
					t.subscribe(i, func() {})
				}
			}
		case <-t.ctx.Done():
			return
		}
	}
}

// recent remembers between half as many entries as it may and all of them.
type recent struct {
	most     int // in each
	new, old map[uint64]struct{}
}

func newRecent(entries int) *recent {
	return &recent{most: max(entries/2, 1), new: make(map[uint64]struct{})}
}

// filter removes the entries that were seen already.
func (r *recent) filter(b *ingester.TailBatch) {
	streams := b.Streams[:0]
	for _, s := range b.Streams {
		hash := labels.StableHash(s.Labels)
		kept := s.Entries[:0]
		for n := range s.Entries {
			if r.add(hashOf(hash, &s.Entries[n])) {
				kept = append(kept, s.Entries[n])
			}
		}
		if s.Entries = kept; len(kept) > 0 {
			streams = append(streams, s)
		}
	}
	b.Streams = streams
}

// add tells whether h is new.
func (r *recent) add(h uint64) bool {
	if _, ok := r.new[h]; ok {
		return false
	}
	_, ok := r.old[h]
	if len(r.new) >= r.most {
		r.old, r.new = r.new, make(map[uint64]struct{}, r.most)
	}
	r.new[h] = struct{}{} // also what was old: it stays remembered
	return !ok
}

// hashOf tells entries apart. The order of metadata does not count: ingesters may have their own.
func hashOf(stream uint64, e *ingester.Entry) uint64 {
	metadata := uint64(0)
	for _, f := range e.Metadata {
		metadata += mix(xxhash.Sum64String(f.Name), xxhash.Sum64(f.Value))
	}
	return mix(mix(mix(stream, uint64(e.Time)), xxhash.Sum64(e.Line)), metadata)
}

// mix makes one hash of two.
func mix(a, b uint64) uint64 {
	a = (a ^ b) * 0x9e3779b97f4a7c15
	return a ^ a>>32
}
