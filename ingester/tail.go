package ingester

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// maxLost is how many of the entries that a reader was too slow for are named to it, from one batch to the next.
const maxLost = 100

// tailer is a subscription to new entries.
type tailer struct {
	matchers []*labels.Matcher
	max      int           // entries that may wait
	ready    chan struct{} // capacity 1: something waits
	stop     func() bool   // the subscription no longer ends with its context

	mu      sync.Mutex // order: tenant.mu before mu
	streams []Stream
	waiting int
	dropped int
	lost    []logql.Lost // the first of those dropped
	at      time.Time
}

// Tail implements Service. Batches come in the order of the pushes. At most Config.TailBuffer entries
// wait for a reader that is slow; a push never waits for one.
func (i *Ingester) Tail(ctx context.Context, matchers []*labels.Matcher) iter.Seq2[*TailBatch, error] {
	// The subscription begins now, not when the caller comes round to reading.
	tl, t, err := i.subscribe(ctx, matchers)
	return func(yield func(*TailBatch, error) bool) {
		if err != nil {
			yield(nil, err)
			return
		}
		defer tl.stop()
		defer i.unsubscribe(t, tl)
		for {
			select {
			case <-tl.ready:
			case <-ctx.Done():
				return
			case <-i.gate.closed:
				if b := tl.take(); b != nil {
					yield(b, nil)
				}
				return
			}
			if b := tl.take(); b != nil {
				i.metrics.tailDropped.Add(float64(b.Dropped))
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}

func (i *Ingester) subscribe(ctx context.Context, matchers []*labels.Matcher) (*tailer, *tenant, error) {
	id, err := tenantID(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := i.Ready(); err != nil {
		return nil, nil, err
	}
	tl := &tailer{matchers: matchers, max: i.cfg.TailBuffer, ready: make(chan struct{}, 1)}
	for {
		t := i.tenant(id)
		t.mu.Lock()
		if !t.dead {
			t.tailers = append(t.tailers, tl)
			t.mu.Unlock()
			i.metrics.tailers.Inc()
			// A sequence that is never read must not stay for ever.
			tl.stop = context.AfterFunc(ctx, func() { i.unsubscribe(t, tl) })
			return tl, t, nil
		}
		t.mu.Unlock()
	}
}

func (i *Ingester) unsubscribe(t *tenant, tl *tailer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := slices.Index(t.tailers, tl); n >= 0 {
		t.tailers = slices.Delete(t.tailers, n, n+1)
		i.metrics.tailers.Dec()
	}
}

// offer hands the entries of a push, which were appended just now, to those who wait for them. t.mu must be
// held.
func (t *tenant) offer(p *pendingPush, now time.Time) {
	for _, ch := range p.chunks {
		from := 0
		for _, sp := range ch.entries.spans {
			rows := ch.entries.rows[from : from+sp.n]
			from += sp.n
			for _, tl := range t.tailers {
				if tl.wants(sp.stream) {
					tl.add(sp.stream, gathered{rows: rows, blocks: p.part.blocks, names: p.part.names.Load()}, now)
				}
			}
		}
	}
}

func (tl *tailer) wants(s *stream) bool {
	for _, m := range tl.matchers {
		if !m.Matches(s.Labels.Get(m.Name)) {
			return false
		}
	}
	return true
}

// add copies entries for the reader, as many as still fit.
func (tl *tailer) add(s *stream, g gathered, now time.Time) {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	room := max(tl.max-tl.waiting, 0)
	if len(g.rows) > room {
		tl.dropped += len(g.rows) - room
		for _, r := range g.rows[room:] {
			if len(tl.lost) == maxLost {
				break
			}
			tl.lost = append(tl.lost, logql.Lost{Labels: s.Labels, Time: r.time})
		}
		g.rows = g.rows[:room]
	}
	if len(g.rows) > 0 {
		if tl.waiting == 0 {
			tl.at = now
		}
		tl.waiting += len(g.rows)
		es := make([]Entry, len(g.rows))
		for n := range g.rows {
			es[n] = g.entry(n)
		}
		if n := len(tl.streams); n > 0 && tl.streams[n-1].Hash == s.Hash && labels.Equal(tl.streams[n-1].Labels, s.Labels) {
			tl.streams[n-1].Entries = append(tl.streams[n-1].Entries, es...)
		} else {
			tl.streams = append(tl.streams, Stream{Labels: s.Labels, Hash: s.Hash, Entries: es})
		}
	}
	select {
	case tl.ready <- struct{}{}:
	default:
	}
}

// take returns what waits, or nil.
func (tl *tailer) take() *TailBatch {
	tl.mu.Lock()
	defer tl.mu.Unlock()
	if tl.waiting == 0 && tl.dropped == 0 {
		return nil
	}
	b := &TailBatch{Streams: tl.streams, Dropped: tl.dropped, Lost: tl.lost, At: tl.at}
	tl.streams, tl.waiting, tl.dropped, tl.lost = nil, 0, 0, nil
	return b
}

// entry returns a copy of one row.
func (g gathered) entry(n int) Entry {
	r := g.rows[n]
	e := Entry{Time: r.time, Line: slices.Clone(line(r, g.blocks))}
	if r.meta != 0 {
		for id, value := range setFields(g.blocks[r.block][r.meta:]) {
			if name := g.names.name(id); name != "" {
				e.Metadata = append(e.Metadata, Field{Name: name, Value: slices.Clone(value)})
			}
		}
	}
	return e
}
