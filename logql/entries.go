package logql

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
)

// found is an entry that may be in the answer of a log query, and its place in the order of entries:
//
//  1. by time, in the direction of the query;
//  2. by the labels of its stream, ascending;
//  3. by arrival (part, page, row), ascending.
//
// Only time follows the direction. So the order of equal times is the same in both, and the copy of
// an entry that stands for all its doubles is the first to have arrived, however the query runs.
type found struct {
	entry
	stream    labels.Labels
	part      string
	page, row int

	shared bool
	hash   rowHash
	at     int   // in the heap
	size   int64 // taken from the budget
}

// compareArrival orders by 2 and 3.
func (f *found) compareArrival(o *found) int {
	return cmp.Or(
		labels.Compare(f.stream, o.stream),
		cmp.Compare(f.part, o.part),
		cmp.Compare(f.page, o.page),
		cmp.Compare(f.row, o.row),
	)
}

// compare orders entries in direction d.
func (f *found) compare(o *found, d Direction) int {
	if c := compareTime(f.time, o.time, d); c != 0 {
		return c
	}
	return f.compareArrival(o)
}

func compareTime(a, b int64, d Direction) int {
	if d == Backward {
		a, b = b, a
	}
	return cmp.Compare(a, b)
}

// selectEntries executes a log query without interval: the first Limit entries in its direction.
func (p *Plan) selectEntries(ctx context.Context, lp *leafPlan, r *reader, from, through int64, mem *budget, goroutines int) ([]entry, error) {
	edge := &timeEdge{direction: p.Params.Direction}
	edge.time.Store(math.MinInt64)
	if p.Params.Direction == Forward {
		edge.time.Store(math.MaxInt64)
	}
	sinks := make([]sink, goroutines)
	for i := range sinks {
		sinks[i] = &selector{
			rows:  newRowReader(p, lp, r.counted, mem),
			kept:  entryHeap{direction: p.Params.Direction},
			limit: p.Params.Limit, from: from, through: through, edge: edge,
			passRate: 1,
		}
	}
	if err := r.run(ctx, sinks); err != nil {
		return nil, err
	}
	var all []*found
	for _, s := range sinks {
		all = append(all, s.(*selector).kept.entries...)
	}
	all = firstCopies(all, p.Params.Direction)
	if p.Params.Limit > 0 && len(all) > p.Params.Limit {
		all = all[:p.Params.Limit]
	}
	return entriesOf(all), nil
}

// firstCopies sorts entries and keeps the first of each set of doubles.
func firstCopies(all []*found, d Direction) []*found {
	slices.SortFunc(all, func(a, b *found) int { return a.compare(b, d) })
	seen := map[rowHash]struct{}{}
	return slices.DeleteFunc(all, func(f *found) bool {
		if !f.shared {
			return false
		}
		_, double := seen[f.hash]
		seen[f.hash] = struct{}{}
		return double
	})
}

func entriesOf(all []*found) []entry {
	out := make([]entry, len(all))
	for i, f := range all {
		out[i] = f.entry
	}
	return out
}

// timeEdge is the time beyond which no row can be among the first Limit any more, over all goroutines
// of a task.
type timeEdge struct {
	direction Direction
	time      atomic.Int64
}

// advance moves the edge to t if that is nearer.
func (e *timeEdge) advance(t int64) {
	for {
		old := e.time.Load()
		if compareTime(t, old, e.direction) >= 0 || e.time.CompareAndSwap(old, t) {
			return
		}
	}
}

// selector is the sink of a log query. It keeps the first limit entries it has seen in a heap whose
// top is the last of them.
type selector struct {
	rows          *rowReader
	kept          entryHeap
	byHash        map[rowHash]*found // of kept entries that lie in shared runs
	limit         int                // 0: none
	from, through int64
	edge          *timeEdge
	scratch       found
	passRate      float64 // the share of rows that passed in the last batch
}

// within narrows the task's time range to what can still be in the answer.
func (s *selector) within() (from, through int64) {
	from, through = s.from, s.through
	if s.edge.direction == Backward {
		return max(from, s.edge.time.Load()), through
	}
	return from, min(through, addTime(s.edge.time.Load(), 1))
}

func (s *selector) wants(b *column.Batch) (this, later bool) {
	from, through := s.within()
	if s.edge.direction == Backward {
		later = b.MaxTime >= from
	} else {
		later = b.MinTime < through
	}
	return b.MaxTime >= from && b.MinTime < through, later
}

// consume reads a batch in slices of time, from where the query begins. Rows of a page lie stream by
// stream, ascending; taken as they come, most of those of the first page would be copied only to be
// displaced. A first slice that fills the heap spares the rest, so slices begin with about what the
// limit asks for and then grow.
func (s *selector) consume(ctx context.Context, b *column.Batch) error {
	s.rows.start(b)
	from, through := s.within()
	from, through = max(from, b.MinTime), min(through, addTime(b.MaxTime, 1))
	width := through - from
	if passing := s.passRate * float64(b.Rows()); s.limit > 0 && passing > 4*float64(s.limit) {
		width = max(1, int64(float64(width)*2*float64(s.limit)/passing))
	}
	var kept, covered int64
	span := through - from
	for from < through {
		lo, hi := from, through
		if through-from > width {
			if s.edge.direction == Backward {
				lo = through - width
			} else {
				hi = from + width
			}
		}
		n, err := s.rows.read(ctx, b, lo, hi, s.keep)
		if err != nil {
			return err
		}
		kept, covered = kept+n, covered+hi-lo
		from, through = s.within()
		if s.edge.direction == Backward {
			from, through = max(from, b.MinTime), min(through, lo)
		} else {
			from, through = max(from, hi), min(through, addTime(b.MaxTime, 1))
		}
		width *= 4
	}
	if covered > 0 && b.Rows() > 0 {
		s.passRate = float64(kept) / float64(b.Rows()) * float64(span) / float64(covered)
	}
	return nil
}

// keep puts a row among the kept entries if it belongs there.
func (s *selector) keep(ctx context.Context, row *pipeline.Row) error {
	f := &s.scratch
	s.rows.place(row, f)
	full := s.limit > 0 && len(s.kept.entries) >= s.limit
	if full && f.compare(s.kept.entries[0], s.edge.direction) >= 0 {
		return nil
	}
	if f.shared {
		var err error
		if f.hash, err = s.rows.hasher.hash(ctx, row); err != nil {
			return err
		}
		if double := s.byHash[f.hash]; double != nil {
			if f.compareArrival(double) < 0 {
				double.part, double.page, double.row = f.part, f.page, f.row
				heap.Fix(&s.kept, double.at)
			}
			return nil
		}
	}
	if full {
		last := heap.Pop(&s.kept).(*found)
		s.rows.mem.give(last.size)
		if last.shared {
			delete(s.byHash, last.hash)
		}
	}
	added, err := s.rows.take(row, f)
	if err != nil {
		return err
	}
	heap.Push(&s.kept, added)
	if f.shared {
		if s.byHash == nil {
			s.byHash = map[rowHash]*found{}
		}
		s.byHash[f.hash] = added
	}
	if s.limit > 0 && len(s.kept.entries) >= s.limit {
		s.edge.advance(s.kept.entries[0].time)
	}
	return nil
}

// entryHeap has the last of its entries on top.
type entryHeap struct {
	direction Direction
	entries   []*found
}

func (h *entryHeap) Len() int { return len(h.entries) }
func (h *entryHeap) Less(i, j int) bool {
	return h.entries[i].compare(h.entries[j], h.direction) > 0
}
func (h *entryHeap) Swap(i, j int) {
	h.entries[i], h.entries[j] = h.entries[j], h.entries[i]
	h.entries[i].at, h.entries[j].at = i, j
}
func (h *entryHeap) Push(x any) {
	f := x.(*found)
	f.at = len(h.entries)
	h.entries = append(h.entries, f)
}
func (h *entryHeap) Pop() any {
	last := h.entries[len(h.entries)-1]
	h.entries = h.entries[:len(h.entries)-1]
	return last
}
