package logql

import (
	"context"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/syntax"
)

// aggregate executes the leaf of a range aggregation, which gives no more than limit series.
func aggregate(ctx context.Context, lp *leafPlan, r *reader, from, through int64, mem *budget, limit, goroutines int) ([]partialSeries, error) {
	seen := newSeenSet(mem)
	sinks := make([]sink, goroutines)
	for i := range sinks {
		a := newAggregator(lp, r.counted, seen, from, through, mem)
		a.table.limit = limit
		sinks[i] = a
	}
	if err := r.run(ctx, sinks); err != nil {
		return nil, err
	}
	for _, s := range sinks {
		if err := s.(*aggregator).settle(); err != nil {
			return nil, err
		}
	}
	all := sinks[0].(*aggregator).table
	for _, s := range sinks[1:] {
		if err := all.merge(s.(*aggregator).table); err != nil {
			return nil, err
		}
	}
	return all.partial(), nil
}

// aggregator is the sink of a range aggregation.
type aggregator struct {
	plan          *leafPlan
	from, through int64
	counted       *counters
	table         *table
	workers       [2]groupedWorker // for rows as they are stored, and for those that were sifted
	worker        *groupedWorker   // of the batch at hand
	seen          *seenSet
	hasher        rowHasher
	fast          *fastCounter // nil: rows must go through the pipeline

	// The cell of the last row, and the times for which it stands: mostly the next row is near.
	cell             int
	cellFrom, cellTo int64
}

func newAggregator(lp *leafPlan, counted *counters, seen *seenSet, from, through int64, mem *budget) *aggregator {
	a := &aggregator{
		plan: lp, from: from, through: through, counted: counted, seen: seen,
		table:    newTable(lp.fold, lp.windows.count(), mem),
		cellFrom: 1, cellTo: 0,
	}
	if lp.counts || lp.sifted != nil && lp.sifted.Trivial() {
		a.fast = newFastCounter(lp, a.table)
	}
	return a
}

// groupedWorker runs a pipeline.
type groupedWorker struct {
	*pipeline.Worker
	groups []int32 // the worker's groups to series of the table; -1 where not known yet
	counts int64   // rows that the worker has counted and the table has not
	known  int     // groups up to this one have a series
}

// maxCounts is the number of rows that a worker counts at most before the table does.
const maxCounts = 1 << 31

// wants skips batches that lie between windows.
func (a *aggregator) wants(b *column.Batch) (this, later bool) {
	from, through := a.within(b)
	return from < through, true
}

// within returns the times of a batch that matter.
func (a *aggregator) within(b *column.Batch) (from, through int64) {
	from, through = max(b.MinTime, a.from), min(addTime(b.MaxTime, 1), a.through)
	if from >= through {
		return from, from
	}
	return a.plan.windows.narrow(from, through)
}

func (a *aggregator) consume(ctx context.Context, b *column.Batch) (held bool, err error) {
	return false, a.aggregate(ctx, b)
}

// aggregate adds the rows of a batch.
func (a *aggregator) aggregate(ctx context.Context, b *column.Batch) error {
	from, through := a.within(b)
	sifted := b.Sifted && a.plan.sifted != nil
	if a.fast != nil && (a.plan.counts || sifted) {
		kept, rest, err := a.fast.count(ctx, b, from, through)
		a.counted.rowsKept.Add(kept)
		if err != nil || len(rest) == 0 {
			return err
		}
		own := *b
		own.Runs = rest
		b = &own
	}
	stages := a.plan.pipeline
	a.worker = &a.workers[0]
	if sifted {
		stages, a.worker = a.plan.sifted, &a.workers[1]
	}
	if a.worker.Worker == nil {
		a.worker.Worker = stages.Worker()
	}
	a.hasher.reset(b)
	for lo, hi := range a.plan.windows.visible(from, through) {
		if err := a.rows(ctx, b, lo, hi); err != nil {
			return err
		}
	}
	return nil
}

// rows takes the rows of a batch with from <= time < through through the pipeline.
func (a *aggregator) rows(ctx context.Context, b *column.Batch, from, through int64) error {
	var kept int64
	var failed error
	emit := func(row *pipeline.Row) bool {
		var ok bool
		if ok, failed = a.add(ctx, row); ok {
			kept++
		}
		return failed == nil
	}
	var counted int64
	var err error
	if a.plan.fold == foldCount && a.table.single { // all rows are of that cell
		counted, err = a.worker.Count(ctx, b, from, through, emit)
	} else {
		err = a.worker.Run(ctx, b, from, through, emit)
	}
	a.counted.rowsKept.Add(kept + counted)
	if failed != nil {
		return failed
	}
	if err != nil || counted == 0 {
		return err
	}
	return a.note(counted)
}

// note takes notice of rows that the worker has counted: their series exist from now on, so that they are
// limited as soon as those of other rows.
func (a *aggregator) note(rows int64) error {
	w := a.worker
	for ; w.known < w.Groups(); w.known++ {
		if _, err := a.series(w.known); err != nil {
			return err
		}
	}
	if w.counts += rows; w.counts >= maxCounts {
		return a.settle()
	}
	return nil
}

// settle adds what the workers have counted to the table.
func (a *aggregator) settle() error {
	for i := range a.workers {
		w := &a.workers[i]
		if w.counts == 0 {
			continue
		}
		w.counts = 0
		err := w.Counts(func(group int, rows int64) error {
			return a.table.addRows(w.groups[group], 0, rows, 0)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// add adds a row to its series and cell; ok tells that it counted.
func (a *aggregator) add(ctx context.Context, row *pipeline.Row) (ok bool, err error) {
	if row.Time < a.cellFrom || row.Time > a.cellTo {
		a.cell, a.cellFrom, a.cellTo = a.plan.windows.cell(row.Time)
	}
	if a.cell < 0 {
		return false, nil
	}
	if row.Err != "" {
		return false, errPipeline(row.Err, row.Labels())
	}
	if row.Batch.Runs[row.Run].Shared {
		h, err := a.hasher.hash(ctx, row)
		if err != nil {
			return false, err
		}
		if first, err := a.seen.add(h); err != nil || !first {
			return false, err
		}
	}
	series, err := a.series(row.Group)
	if err != nil {
		return false, err
	}
	switch a.plan.fold {
	case foldCount, foldBytes:
		err = a.table.addRows(series, a.cell, 1, int64(row.LineLen))
	default:
		err = a.table.addValue(series, a.cell, row.Time, row.Value)
	}
	return err == nil, err
}

// series returns the table's number of a group of the worker.
func (a *aggregator) series(group int) (int32, error) {
	w := a.worker
	for group >= len(w.groups) {
		w.groups = append(w.groups, -1)
	}
	if s := w.groups[group]; s >= 0 {
		return s, nil
	}
	ls := w.Group(group)
	// The worker has a table of its own, which also keeps what it was found by.
	if err := a.table.budget.take(2*seriesSize(ls), "series"); err != nil {
		return 0, err
	}
	s, err := a.table.series(ls)
	if err != nil {
		return 0, err
	}
	w.groups[group] = s
	return s, nil
}

// lineBytes tells whether the aggregation needs the lengths of lines.
func (lp *leafPlan) lineBytes() bool {
	return lp.agg.Op == syntax.RangeBytes || lp.agg.Op == syntax.RangeBytesRate
}
