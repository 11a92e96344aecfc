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
// within Config.ProbeEvery, those that fail again and again. While so many are away that some entry may be
// missed, there is a gap: when it is over, TailBatch.Gap says since when there was one.
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
				if seen.filter(b); len(b.Streams) == 0 && b.Dropped == 0 && b.Gap.IsZero() {
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
	w := &watch{tail: t, tried: make(map[string]time.Time), since: time.Now()}
	begun := make(chan string, len(v.All()))
	for _, i := range v.All() {
		w.subscribe(i, func() { begun <- i.Addr })
	}
	// What is pushed after Tail has returned must not be missed; but nobody waits long for one that is away.
	late := time.NewTimer(r.cfg.SlowAfter)
	defer late.Stop()
wait:
	for range len(w.tried) {
		select {
		case addr := <-begun:
			w.tried[addr] = time.Time{} // if it fails after all, that is about to be heard
		case <-late.C:
			break wait
		case <-t.ctx.Done():
			break wait
		}
	}
	w.whole = w.complete(time.Now())
	r.calls.Go(w.keepUp)
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

// watch keeps the subscriptions of a tail complete. It belongs to one goroutine.
type watch struct {
	tail  *tail
	tried map[string]time.Time // by address: when the subscription that has not ended was begun
	whole bool                 // so many stand that no entry is missed
	since time.Time            // whole is not so, or the time does not matter
}

// subscribe subscribes to an ingester unless that has been done.
func (w *watch) subscribe(i *member.Instance, begun func()) {
	if _, ok := w.tried[i.Addr]; !ok {
		w.tried[i.Addr] = time.Now()
		w.tail.subscribe(i, begun)
	}
}

// keepUp subscribes to those that join and, some time after they failed, to those that are still there.
func (w *watch) keepUp() {
	t := w.tail
	tick := time.NewTicker(t.r.cfg.ProbeEvery)
	defer tick.Stop()
	for {
		select {
		case addr := <-t.ended:
			delete(w.tried, addr)
		case <-tick.C:
			for _, i := range t.r.ring.View().All() {
				w.subscribe(i, func() {})
			}
		case <-t.ctx.Done():
			return
		}
		if gap := w.look(time.Now()); !gap.IsZero() {
			select {
			case t.batches <- &ingester.TailBatch{At: time.Now(), Gap: gap}:
			case <-t.ctx.Done():
				return
			}
		}
	}
}

// look returns the beginning of a gap that is over.
func (w *watch) look(now time.Time) (gap time.Time) {
	whole := w.complete(now)
	switch {
	case w.whole && !whole:
		w.since = now
	case whole && !w.whole:
		gap = w.since
	}
	w.whole = whole
	return gap
}

// complete tells whether no entry is missed. A subscription counts once it has not failed for a while: that to
// one who is away fails at once.
func (w *watch) complete(now time.Time) bool {
	v := w.tail.r.ring.View()
	var missing []*member.Instance
	for _, i := range v.All() {
		if at, ok := w.tried[i.Addr]; !ok || now.Sub(at) < w.tail.r.cfg.ProbeEvery {
			missing = append(missing, i)
		}
	}
	return len(missing) < max(len(v.All()), 1) && v.Tolerates(missing)
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
