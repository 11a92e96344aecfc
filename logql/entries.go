package logql

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"
	"sync"
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
	list := newShortlist(p.Params.Direction, p.Params.Limit, mem)
	sinks := make([]sink, goroutines)
	for i := range sinks {
		sinks[i] = &selector{rows: newRowReader(p, lp, r.counted, mem), list: list, from: from, through: through, passRate: 1}
	}
	if err := r.run(ctx, sinks); err != nil {
		return nil, err
	}
	return entriesOf(firstCopies(list.kept.entries, p.Params.Direction)), nil
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

// shortlist holds the first limit entries that the goroutines of a task have seen, each of which may use it.
type shortlist struct {
	limit int // 0: none
	mem   *budget

	// edge is the time of the last entry of a full list: no row beyond it can be among the first limit any more.
	edge atomic.Int64

	mu     sync.Mutex
	kept   entryHeap          // guarded by mu
	byHash map[rowHash]*found // of kept entries that lie in shared runs; guarded by mu
}

func newShortlist(d Direction, limit int, mem *budget) *shortlist {
	l := &shortlist{limit: limit, mem: mem, kept: entryHeap{direction: d}, byHash: map[rowHash]*found{}}
	l.edge.Store(math.MinInt64)
	if d == Forward {
		l.edge.Store(math.MaxInt64)
	}
	return l
}

// within narrows a range of times to what can still be in the list.
func (l *shortlist) within(from, through int64) (int64, int64) {
	if l.kept.direction == Backward {
		return max(from, l.edge.Load()), through
	}
	return from, min(through, addTime(l.edge.Load(), 1))
}

// beyond tells that no entry of that time belongs into the list.
func (l *shortlist) beyond(time int64) bool {
	return compareTime(time, l.edge.Load(), l.kept.direction) > 0
}

// wants tells whether an entry belongs into the list. A double of one that is there does not, but where it arrived
// earlier the other takes its place.
func (l *shortlist) wants(f *found) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lacks(f)
}

// lacks needs l.mu.
func (l *shortlist) lacks(f *found) bool {
	if l.full() && f.compare(l.kept.entries[0], l.kept.direction) >= 0 {
		return false
	}
	if !f.shared {
		return true
	}
	double := l.byHash[f.hash]
	if double == nil {
		return true
	}
	if f.compareArrival(double) < 0 {
		double.part, double.page, double.row = f.part, f.page, f.row
		heap.Fix(&l.kept, double.at)
	}
	return false
}

func (l *shortlist) full() bool { return l.limit > 0 && len(l.kept.entries) >= l.limit }

// add enters an entry that was wanted, unless others have come in between.
func (l *shortlist) add(f *found) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lacks(f) {
		l.mem.give(f.size)
		return
	}
	if l.full() {
		last := heap.Pop(&l.kept).(*found)
		l.mem.give(last.size)
		if last.shared {
			delete(l.byHash, last.hash)
		}
	}
	heap.Push(&l.kept, f)
	if f.shared {
		l.byHash[f.hash] = f
	}
	if l.full() {
		l.edge.Store(l.kept.entries[0].time)
	}
}

// selector is the sink of a log query.
type selector struct {
	rows          *rowReader
	list          *shortlist
	from, through int64
	scratch       found
	passRate      float64 // the share of rows that passed in the last batch
}

// within narrows the task's time range to what can still be in the answer.
func (s *selector) within() (from, through int64) { return s.list.within(s.from, s.through) }

// direction is that of the query.
func (s *selector) direction() Direction { return s.list.kept.direction }

func (s *selector) wants(b *column.Batch) (this, later bool) {
	from, through := s.within()
	if s.direction() == Backward {
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
	if passing := s.passRate * float64(b.Rows()); s.list.limit > 0 && passing > 4*float64(s.list.limit) {
		width = max(1, int64(float64(width)*2*float64(s.list.limit)/passing))
	}
	var kept, covered int64
	span := through - from
	for from < through {
		lo, hi := from, through
		if through-from > width {
			if s.direction() == Backward {
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
		if s.direction() == Backward {
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

// keep puts a row among the kept entries if it belongs there. It is copied outside of the lock.
func (s *selector) keep(ctx context.Context, row *pipeline.Row) error {
	f := &s.scratch
	s.rows.place(row, f)
	if s.list.beyond(f.time) {
		return nil
	}
	if f.shared {
		var err error
		if f.hash, err = s.rows.hasher.hash(ctx, row); err != nil {
			return err
		}
	}
	if !s.list.wants(f) {
		return nil
	}
	added, err := s.rows.take(row, f)
	if err != nil {
		return err
	}
	s.list.add(added)
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
