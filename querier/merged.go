package querier

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"example.com/loki/indexgw"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// merged is the rows of the ingester and of the store as one source.
type merged struct {
	heads logql.Source
	index indexgw.Service
	store logql.Source

	// Of the last Select: the segments that it read, and whether the ingester had nothing to add.
	parts   []string
	settled bool
}

var _ logql.Source = (*merged)(nil)

func (q *Querier) source() *merged {
	return &merged{heads: q.heads, index: q.index, store: q.store}
}

// filtered returns what may be seen of a source.
func (q *Querier) filtered(ctx context.Context, src logql.Source) logql.Source {
	if q.cfg.Filter == nil {
		return src
	}
	return q.cfg.Filter(ctx, src)
}

// snapshot is the segments that a read has seen.
type snapshot struct {
	parts            []string // read from the store
	known            []string // parts, and those that they replace: the ingester leaves these out
	minTime, maxTime int64    // of all parts, inclusive; min > max if there are none
}

func takeSnapshot(ctx context.Context, index indexgw.Service, start, end int64) (snapshot, error) {
	segments, err := index.Segments(ctx, start, end)
	if err != nil {
		return snapshot{}, err
	}
	return snapshotOf(segments), nil
}

func snapshotOf(segments []store.SegmentInfo) snapshot {
	// Not nil when empty: an empty list of parts is a restriction, nil is none.
	s := snapshot{parts: make([]string, 0, len(segments)), minTime: math.MaxInt64, maxTime: math.MinInt64}
	for _, g := range segments {
		s.parts = append(s.parts, g.ID.String())
		s.minTime = min(s.minTime, g.MinTime)
		s.maxTime = max(s.maxTime, g.MaxTime)
	}
	s.known = s.parts
	for _, g := range segments {
		for _, id := range g.Replaces {
			s.known = append(s.known, id.String())
		}
	}
	return s
}

// Select implements logql.Source. The batches of the heads are few and lie in memory, so they are
// collected first; those of the store are asked for only when they are next.
func (m *merged) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		snap, err := takeSnapshot(ctx, m.index, req.Start, req.End)
		if err != nil {
			yield(nil, fmt.Errorf("select: %w", err))
			return
		}
		heads := &pending{}
		defer heads.release()
		headReq := *req
		headReq.Known = snap.known
		for b, err := range m.heads.Select(ctx, &headReq) {
			if err != nil {
				yield(nil, fmt.Errorf("select from ingester: %w", err))
				return
			}
			heads.batches = append(heads.batches, b)
		}
		m.parts, m.settled = snap.parts, len(heads.batches) == 0
		overlaps := markHeads(heads.batches, snap)

		before := comesBefore(req.Direction)
		// What lies beyond all segments needs no look at the store.
		for heads.more() && before(heads.edges(), edges{snap.minTime, snap.maxTime}) {
			if !yield(heads.take(), nil) {
				return
			}
		}
		if len(snap.parts) > 0 {
			storeReq := *req
			storeReq.Parts = snap.parts
			for b, err := range m.store.Select(ctx, &storeReq) {
				if err != nil {
					yield(nil, fmt.Errorf("select from store: %w", err))
					return
				}
				for heads.more() && before(heads.edges(), edges{b.MinTime, b.MaxTime}) {
					if !yield(heads.take(), nil) {
						b.Release()
						return
					}
				}
				if !yield(overlaps.mark(b), nil) {
					return
				}
			}
		}
		for heads.more() {
			if !yield(heads.take(), nil) {
				return
			}
		}
	}
}

// edges are the first and the last time of a batch.
type edges struct{ min, max int64 }

// comesBefore returns the order of batches in a direction.
func comesBefore(d logql.Direction) func(a, b edges) bool {
	if d == logql.Forward {
		return func(a, b edges) bool { return a.min < b.min }
	}
	return func(a, b edges) bool { return a.max > b.max }
}

// pending is batches that are still to be handed out.
type pending struct {
	batches []*column.Batch
}

func (p *pending) more() bool { return len(p.batches) > 0 }

func (p *pending) edges() edges { return edges{p.batches[0].MinTime, p.batches[0].MaxTime} }

func (p *pending) take() *column.Batch {
	b := p.batches[0]
	p.batches[0] = nil
	p.batches = p.batches[1:]
	return b
}

// release gives up what nobody took.
func (p *pending) release() {
	for _, b := range p.batches {
		b.Release()
	}
}

// overlaps is where heads hold rows that segments may hold too: per stream hash the time ranges.
type overlaps map[uint64][]edges

// markHeads marks the runs of head batches that may share entries with segments, and returns what
// stored runs must be compared with.
func markHeads(batches []*column.Batch, snap snapshot) overlaps {
	var found overlaps
	for i, b := range batches {
		if b.MaxTime < snap.minTime || b.MinTime > snap.maxTime {
			continue
		}
		copied := false
		for j := range b.Runs {
			r := &b.Runs[j]
			if r.MaxTime < snap.minTime || r.MinTime > snap.maxTime {
				continue
			}
			if found == nil {
				found = overlaps{}
			}
			found[r.Stream.Hash] = append(found[r.Stream.Hash], edges{r.MinTime, r.MaxTime})
			if r.Shared {
				continue
			}
			if !copied {
				// The runs belong to whoever made the batch, who may hand them to others too.
				b = withOwnRuns(b)
				batches[i], copied = b, true
			}
			b.Runs[j].Shared = true
		}
	}
	return found
}

// mark returns the stored batch with those runs marked that the heads may share entries with.
func (o overlaps) mark(b *column.Batch) *column.Batch {
	if len(o) == 0 {
		return b
	}
	copied := false
	for i := range b.Runs {
		r := &b.Runs[i]
		if r.Shared || !slices.ContainsFunc(o[r.Stream.Hash], func(e edges) bool {
			return r.MinTime <= e.max && e.min <= r.MaxTime
		}) {
			continue
		}
		if !copied {
			b, copied = withOwnRuns(b), true
		}
		b.Runs[i].Shared = true
	}
	return b
}

// withOwnRuns returns a batch of the same columns whose runs may be changed. It is released instead of b.
func withOwnRuns(b *column.Batch) *column.Batch {
	c := *b
	c.Runs = slices.Clone(b.Runs)
	return &c
}
