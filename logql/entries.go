package logql

import (
	"cmp"
	"context"
	"slices"

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
	held   *heldBatch // unless nil, the entry has only its time: the rest is yet to be made of the row
	size   int64      // taken from the budget
	gone   bool       // from the list
}

// madeEntry is an entry made of a row, with what it took of the budget.
type madeEntry struct {
	entry
	size int64
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
	selectors := make([]*selector, goroutines)
	for i := range sinks {
		s := &selector{source: r, rows: newRowReader(p, lp.pipeline, r.counted, mem), list: list, from: from, through: through, passRate: 1}
		if lp.chooser != nil {
			s.chooser = newRowReader(p, lp.chooser, r.counted, mem)
		}
		defer s.release()
		sinks[i], selectors[i] = s, s
	}
	if err := r.run(ctx, sinks); err != nil {
		return nil, err
	}
	if err := r.finish(ctx, selectors); err != nil {
		return nil, err
	}
	return entriesOf(list.kept), nil
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

// selector is the sink of a log query. Where no stage looks into the rows it chooses them by their times alone, holds their
// batches, and makes entries only of those that are still on the list in the end: of rows that come page by page most are
// displaced by later ones.
type selector struct {
	source        *reader
	rows          *rowReader
	chooser       *rowReader // nil: entries are made at once
	list          *shortlist
	from, through int64
	passRate      float64  // the share of rows that passed in the last batch
	fresh         []*found // seen since they were last added to the list
	held          []*heldBatch
	heldBytes     int64 // of lines in held batches
}

// heldBatch is a batch with rows on the list that entries have yet to be made of.
type heldBatch struct {
	by    *selector
	batch *column.Batch
	used  bool // rows of it were on the list
}

// maxHeldBytes bounds the lines of the batches that a selector holds.
const maxHeldBytes = 16 << 20

// within narrows the task's time range to what can still be in the answer.
func (s *selector) within() (from, through int64) { return s.list.within(s.from, s.through) }

// direction is that of the query.
func (s *selector) direction() Direction { return s.list.direction }

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
func (s *selector) consume(ctx context.Context, b *column.Batch) (held bool, err error) {
	rows, hold := s.rows, (*heldBatch)(nil)
	if s.chooser != nil {
		rows, hold = s.chooser, &heldBatch{by: s, batch: b}
	}
	rows.start(b)
	keep := func(ctx context.Context, row *pipeline.Row) error { return s.keep(ctx, rows, row, hold) }
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
		n, err := rows.read(ctx, b, lo, hi, keep)
		if err != nil {
			return false, err
		}
		s.add()
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
	if hold == nil || !hold.used {
		return false, nil
	}
	s.held = append(s.held, hold)
	if s.heldBytes += b.RawBytes; s.heldBytes > maxHeldBytes {
		return true, s.make(ctx)
	}
	return true, nil
}

// keep puts a row among those that will be added to the list, if it may belong there.
func (s *selector) keep(ctx context.Context, rows *rowReader, row *pipeline.Row, hold *heldBatch) error {
	if s.list.beyond(row.Time) {
		return nil
	}
	f := new(found)
	rows.place(row, f)
	if f.shared {
		var err error
		if f.hash, err = rows.hasher.hash(ctx, row); err != nil {
			return err
		}
	}
	if hold != nil {
		f.held, hold.used = hold, true
	} else {
		made, err := rows.take(row)
		if err != nil {
			return err
		}
		f.entry, f.size = made.entry, made.size
	}
	s.fresh = append(s.fresh, f)
	if len(s.fresh) >= max(minFresh, s.list.limit/8) {
		s.add()
	}
	return nil
}

// minFresh is the number of entries below which adding them costs more than the list gains by it.
const minFresh = 64

// add adds what is fresh to the list.
func (s *selector) add() {
	s.list.add(s.fresh)
	clear(s.fresh)
	s.fresh = s.fresh[:0]
}

// make makes entries of the rows on the list whose batches are held, and releases these.
func (s *selector) make(ctx context.Context) error {
	defer s.release()
	chosen := s.list.heldBy(s)
	slices.SortFunc(chosen, func(a, b *found) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.page, b.page), cmp.Compare(a.row, b.row))
	})
	var rows []int32
	var entries []madeEntry
	for len(chosen) > 0 {
		h := chosen[0].held
		n := slices.IndexFunc(chosen, func(f *found) bool { return f.held != h })
		if n < 0 {
			n = len(chosen)
		}
		rows, entries = rows[:0], entries[:0]
		for _, f := range chosen[:n] {
			rows = append(rows, int32(f.row))
		}
		err := s.rows.readRows(ctx, h.batch, rows, func(row *pipeline.Row) error {
			made, err := s.rows.take(row)
			entries = append(entries, made)
			return err
		})
		if err != nil {
			return err
		}
		s.list.made(chosen[:n], entries)
		chosen = chosen[n:]
	}
	return nil
}

// release gives back the batches that are held.
func (s *selector) release() {
	for _, h := range s.held {
		s.source.done(h.batch)
	}
	clear(s.held)
	s.held, s.heldBytes = s.held[:0], 0
}
