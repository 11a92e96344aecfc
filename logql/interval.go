package logql

import (
	"context"
	"slices"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
)

// An interval keeps the first entry and then each next one that is at least so far from the last one
// kept. What a task keeps thus depends on what was kept before its time range, which it cannot know,
// unless it is the first in the direction of the query. So the others return all entries that could
// be kept, whatever came before, and spaced makes the choice when the partials are merged. Of entries
// with equal times only the first can ever be kept.

// selectSpaced executes a log query with an interval. Entries must be seen in order, so one goroutine
// does it: rows wait until no later batch can hold an earlier one.
func (p *Plan) selectSpaced(ctx context.Context, lp *leafPlan, r *reader, from, through int64, mem *budget) ([]entry, error) {
	q := p.Params
	s := &spacer{
		rows: newRowReader(p, lp.pipeline, r.counted, mem),
		from: from, through: through,
		direction: q.Direction,
		reach:     reach{interval: int64(q.Interval), limit: q.Limit, origin: from},
	}
	if q.Direction == Forward {
		s.reach.first = from == q.Start
	} else {
		s.reach.first = through == q.End
		s.reach.origin = 1 - through // times are negated for Backward
	}
	if err := r.run(ctx, []sink{s}); err != nil {
		return nil, err
	}
	s.settle(nil)
	return entriesOf(s.kept), nil
}

// minSettle is the number of new entries below which it is too early to decide on them.
const minSettle = 1000

// spacer is the sink of a log query with an interval.
type spacer struct {
	rows          *rowReader
	from, through int64
	direction     Direction
	pending       []*found // seen, but an earlier one may come
	unsettled     int      // of pending, after the last settle
	kept          []*found
	reach         reach
}

func (s *spacer) wants(b *column.Batch) (this, later bool) {
	s.settle(b)
	if s.reach.done {
		return false, false
	}
	return b.MaxTime >= s.from && b.MinTime < s.through, true
}

func (s *spacer) consume(ctx context.Context, b *column.Batch) (held bool, err error) {
	s.rows.start(b)
	_, err = s.rows.read(ctx, b, s.from, s.through, func(ctx context.Context, row *pipeline.Row) error {
		f := new(found)
		s.rows.place(row, f)
		if f.shared {
			var err error
			if f.hash, err = s.rows.hasher.hash(ctx, row); err != nil {
				return err
			}
		}
		made, err := s.rows.take(row)
		f.entry, f.size = made.entry, made.size
		s.pending = append(s.pending, f)
		return err
	})
	return false, err
}

// settle decides on the pending entries that stand before all rows of the next batch, which is nil at
// the end.
func (s *spacer) settle(next *column.Batch) {
	if next != nil && len(s.pending) < 2*s.unsettled+minSettle {
		return // sorting each time would cost more than waiting
	}
	s.pending = firstCopies(s.pending, s.direction)
	n := len(s.pending)
	if next != nil {
		edge := next.MaxTime
		if s.direction == Forward {
			edge = next.MinTime
		}
		n, _ = slices.BinarySearchFunc(s.pending, edge, func(f *found, t int64) int {
			return compareTime(f.time, t, s.direction)
		})
	}
	for _, f := range s.pending[:n] {
		t := f.time
		if s.direction == Backward {
			t = -t
		}
		if s.reach.keep(t) {
			s.kept = append(s.kept, f)
		} else {
			s.rows.mem.give(f.size)
		}
	}
	s.pending = slices.Delete(s.pending, 0, n)
	s.unsettled = len(s.pending)
}

// reach decides which of a sequence of ascending times could be kept.
type reach struct {
	interval int64
	limit    int   // 0: none
	origin   int64 // the last time kept before the sequence is less than this
	first    bool  // nothing came before

	seen  bool // some time has been
	last  int64
	chain []link // kept times from which the next one may be reached, ascending
	done  bool   // no later time can be among the first limit
}

// link is a kept time, and the least number of kept times that lead to it.
type link struct {
	time  int64
	depth int
}

// keep tells whether t, not less than any time before, could be kept.
func (r *reach) keep(t int64) bool {
	before, seen := r.last, r.seen
	if r.done || seen && t == before {
		return false
	}
	r.last, r.seen = t, true

	// The first time at or after x is t if before < x <= t. What x can be: the time of a link plus
	// the interval, or, with an unknown one before the sequence, all of [origin, origin+interval).
	depth := 0
	switch {
	case r.first:
		if !seen {
			depth = 1
		}
	case !seen || addTime(before, 1) < addTime(r.origin, r.interval):
		depth = 1
	}
	rest := 0 // links that t is the next of, or earlier ones
	for rest < len(r.chain) && addTime(r.chain[rest].time, r.interval) <= t {
		l := r.chain[rest]
		if depth == 0 || l.depth+1 < depth {
			depth = l.depth + 1
		}
		rest++
	}
	r.chain = r.chain[rest:]
	if depth == 0 || r.limit > 0 && depth > r.limit {
		// With no chain left to go on, nothing further can be among the first limit.
		r.done = r.limit > 0 && len(r.chain) == 0
		return false
	}
	r.chain = append(r.chain, link{t, depth})
	return true
}

// spaced returns those of entries, sorted in the direction of the query, that the interval keeps.
func spaced(entries []entry, interval int64) []entry {
	kept := entries[:0:0]
	for _, e := range entries {
		if len(kept) == 0 || distance(kept[len(kept)-1].time, e.time) >= uint64(interval) {
			kept = append(kept, e)
		}
	}
	return kept
}

func distance(a, b int64) uint64 {
	if a > b {
		a, b = b, a
	}
	return uint64(b) - uint64(a)
}
