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
	fresh *fresh

	// Of the last Select: the segments that it read, and whether the ingester had nothing to add.
	parts   []string
	settled bool
}

var _ logql.Source = (*merged)(nil)

func (q *Querier) source() *merged {
	return &merged{heads: q.heads, index: q.index, store: q.store, fresh: q.fresh}
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
	return snapshotOf(segments, start, end), nil
}

// snapshotOf returns the snapshot of a read from start to end.
func snapshotOf(segments []store.SegmentInfo, start, end int64) snapshot {
	// Not nil when empty: an empty list of parts is a restriction, nil is none.
	s := snapshot{parts: make([]string, 0, len(segments)), minTime: math.MaxInt64, maxTime: math.MinInt64}
	for _, g := range segments {
		for _, id := range g.Replaces { // also those of segments without rows in the range: what they replace may have had some
			s.known = append(s.known, id.String())
		}
		if g.Rows == 0 || g.MinTime >= end || g.MaxTime < start {
			continue
		}
		s.parts = append(s.parts, g.ID.String())
		s.minTime = min(s.minTime, g.MinTime)
		s.maxTime = max(s.maxTime, g.MaxTime)
	}
	s.known = append(s.known, s.parts...)
	return s
}

// Select implements logql.Source. Neither the batches of the heads nor those of the store are asked for before
// they are next, but for one of each.
func (m *merged) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		var snap snapshot
		var common *overlaps
		var heads *headBatches
		err := m.fresh.read(ctx, func() (err error) {
			if heads != nil {
				heads.close()
				heads = nil
			}
			if snap, err = takeSnapshot(ctx, m.index, req.Start, req.End); err != nil {
				return fmt.Errorf("select: %w", err)
			}
			common = &overlaps{}
			heads = pullHeads(m.heads.Select(ctx, headRequest(req, snap, common)), snap)
			return heads.err
		})
		if heads != nil {
			defer heads.close()
		}
		if err != nil {
			yield(nil, err)
			return
		}
		m.parts, m.settled = snap.parts, !heads.more()
		if m.settled {
			common.all = false
		}

		before := comesBefore(req.Direction)
		// What lies beyond all segments needs no look at the store.
		for heads.more() && before(heads.edges(), edges{snap.minTime, snap.maxTime}) {
			if !heads.yield(yield) {
				return
			}
		}
		if len(snap.parts) > 0 {
			storeReq := *req
			storeReq.Parts = snap.parts
			storeReq.Project = common.project(req.Project)
			for b, err := range m.store.Select(ctx, &storeReq) {
				if err != nil {
					yield(nil, fmt.Errorf("select from store: %w", err))
					return
				}
				for heads.more() && before(heads.edges(), edges{b.MinTime, b.MaxTime}) {
					if !heads.yield(yield) {
						b.Release()
						return
					}
				}
				if !yield(common.mark(b), nil) {
					return
				}
			}
		}
		for heads.more() {
			if !heads.yield(yield) {
				return
			}
		}
	}
}

// headRequest returns what the heads are asked. What overlaps the segments of the snapshot is entered in o.
func headRequest(req *logql.SelectRequest, snap snapshot, o *overlaps) *logql.SelectRequest {
	r := *req
	r.Known = snap.known
	r.Project = nil // what they share with segments, and with each other, is told by streams
	if len(snap.parts) == 0 {
		return &r
	}
	o.all = true // unless the heads say more
	r.Since, r.Until = snap.minTime, snap.maxTime
	r.Overlaps = o.learn
	if req.Wants != nil {
		w := *req.Wants
		w.Hashes = true
		r.Wants = &w
	}
	return &r
}

// headBatches are the batches of the heads. One is there before it is asked for.
type headBatches struct {
	snap  snapshot
	pull  func() (*column.Batch, error, bool)
	stop  func()
	ahead *column.Batch // nil after the last one
	err   error         // the heads have failed, unless nil; ahead is nil then
}

func pullHeads(seq iter.Seq2[*column.Batch, error], snap snapshot) *headBatches {
	h := &headBatches{snap: snap}
	h.pull, h.stop = iter.Pull2(seq)
	h.next()
	return h
}

func (h *headBatches) next() {
	b, err, ok := h.pull()
	if h.ahead = nil; err != nil {
		h.err = fmt.Errorf("select from ingester: %w", err)
	} else if ok {
		h.ahead = h.snap.mark(b)
	}
}

// more tells that there is a batch, or an error to yield.
func (h *headBatches) more() bool { return h.ahead != nil || h.err != nil }

// edges are those of the batch that is next. An error comes before all batches.
func (h *headBatches) edges() edges {
	if h.ahead == nil {
		return edges{math.MinInt64, math.MaxInt64}
	}
	return edges{h.ahead.MinTime, h.ahead.MaxTime}
}

// yield hands the batch that is next to f. It returns false after the last call of f.
func (h *headBatches) yield(f func(*column.Batch, error) bool) bool {
	if h.err != nil {
		f(nil, h.err)
		return false
	}
	b := h.ahead
	h.ahead = nil
	if !f(b, nil) {
		return false
	}
	h.next()
	return true
}

// close gives up what nobody took.
func (h *headBatches) close() {
	if h.ahead != nil {
		h.ahead.Release()
	}
	h.stop()
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

// overlaps is where heads hold rows that segments may hold too.
type overlaps struct {
	all      bool               // anywhere
	any      []edges            // of any stream
	byStream map[uint64][]edges // by hash
}

// learn is called by the heads before their first batch.
func (o *overlaps) learn(all []logql.Overlap) {
	o.all = false
	for _, l := range all {
		e := edges{l.MinTime, l.MaxTime}
		if l.Any {
			o.any = append(o.any, e)
			continue
		}
		if o.byStream == nil {
			o.byStream = make(map[uint64][]edges, len(all))
		}
		o.byStream[l.Stream] = append(o.byStream[l.Stream], e)
	}
}

// project returns what the store may leave out: runs that the heads may share entries with must be whole.
func (o *overlaps) project(p *logql.Projection) *logql.Projection {
	if p == nil || o.all {
		return nil
	}
	times := edges{math.MaxInt64, math.MinInt64}
	add := func(e edges) { times = edges{min(times.min, e.min), max(times.max, e.max)} }
	for _, e := range o.any {
		add(e)
	}
	for _, all := range o.byStream {
		for _, e := range all {
			add(e)
		}
	}
	if times.min > times.max {
		return p
	}
	if times.max == math.MaxInt64 {
		return nil
	}
	return &logql.Projection{Names: p.Names, ApartFrom: times.min, ApartThrough: times.max + 1}
}

// mark returns the stored batch with those runs marked that the heads may share entries with.
func (o *overlaps) mark(b *column.Batch) *column.Batch {
	if !o.all && len(o.any) == 0 && len(o.byStream) == 0 {
		return b
	}
	return markRuns(b, func(r *column.Run) bool {
		shared := func(e edges) bool { return r.MinTime <= e.max && e.min <= r.MaxTime }
		return o.all || slices.ContainsFunc(o.any, shared) || slices.ContainsFunc(o.byStream[r.Stream.Hash], shared)
	})
}

// mark returns the head's batch with those runs marked that may share entries with segments.
func (s snapshot) mark(b *column.Batch) *column.Batch {
	return markRuns(b, func(r *column.Run) bool { return r.MinTime <= s.maxTime && s.minTime <= r.MaxTime })
}

// markRuns returns the batch with those runs marked that shared says.
func markRuns(b *column.Batch, shared func(*column.Run) bool) *column.Batch {
	copied := false
	for i := range b.Runs {
		if r := &b.Runs[i]; r.Shared || !shared(r) {
			continue
		}
		if !copied {
			// The runs belong to whoever made the batch, who may hand them to others too.
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
