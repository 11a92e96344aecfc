package logql

import (
	"cmp"
	"context"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
)

// rowReader runs the pipeline of a log query for a sink and makes entries of rows.
type rowReader struct {
	pipeline   *pipeline.Pipeline
	categorize bool
	counted    *counters
	mem        *budget
	worker     *pipeline.Worker
	groups     int // of the worker, for which the budget has been charged
	hasher     rowHasher
	scratch    []labels.Label
}

// workerGroups is the number of label sets after which a worker is replaced: a log query keeps few
// of those it meets.
const workerGroups = 50_000

// groupSize estimates what a label set takes in a worker.
const groupSize = 512

func newRowReader(p *Plan, pl *pipeline.Pipeline, counted *counters, mem *budget) *rowReader {
	return &rowReader{pipeline: pl, categorize: p.Params.Categorize, counted: counted, mem: mem}
}

// start makes the reader ready for the rows of b.
func (r *rowReader) start(b *column.Batch) { r.hasher.reset(b) }

// read calls keep for each row of b that passes, and returns how many there were. An error of keep
// ends it.
func (r *rowReader) read(ctx context.Context, b *column.Batch, from, through int64, keep func(context.Context, *pipeline.Row) error) (int64, error) {
	r.renew()
	var kept int64
	var failed error
	err := r.worker.Run(ctx, b, from, through, func(row *pipeline.Row) bool {
		kept++
		failed = keep(ctx, row)
		return failed == nil
	})
	r.counted.rowsKept.Add(kept)
	return kept, cmp.Or(failed, err, r.charge())
}

// readRows calls keep for some rows of b, ascending, of which it is known that they pass. They are not counted again.
func (r *rowReader) readRows(ctx context.Context, b *column.Batch, rows []int32, keep func(*pipeline.Row) error) error {
	r.renew()
	var failed error
	err := r.worker.RunRows(ctx, b, rows, func(row *pipeline.Row) bool {
		failed = keep(row)
		return failed == nil
	})
	return cmp.Or(failed, err, r.charge())
}

// renew makes sure that there is a worker, and that it doesn't know too many label sets.
func (r *rowReader) renew() {
	if r.worker == nil || r.groups > workerGroups {
		r.mem.give(int64(r.groups) * groupSize)
		r.worker, r.groups = r.pipeline.Worker(), 0
	}
}

// charge takes what the worker's new label sets need.
func (r *rowReader) charge() error {
	grown := r.worker.Groups() - r.groups
	r.groups += grown
	return r.mem.take(int64(grown)*groupSize, "label sets")
}

// place notes in f where a row stands in the order of entries.
func (r *rowReader) place(row *pipeline.Row, f *found) {
	run := &row.Batch.Runs[row.Run]
	f.time = row.Time
	f.stream, f.shared = run.Stream.Labels, run.Shared
	f.part, f.page, f.row = row.Batch.Part, row.Batch.Page, row.Index
}

// entryOverhead is what an entry takes besides its strings.
const entryOverhead = 256

// take copies a row out of its batch.
func (r *rowReader) take(row *pipeline.Row) (madeEntry, error) {
	var e madeEntry
	e.time = row.Time
	e.labels = r.worker.Group(row.FindGroup())
	e.line = string(row.Line)
	e.size = int64(len(e.line)) + entryOverhead
	if r.categorize {
		e.metadata = r.own(row.AppendMetadata(r.scratch[:0]), &e.size)
		e.parsed = r.own(row.AppendParsed(r.scratch[:0]), &e.size)
	}
	return e, r.mem.take(e.size, "log entries")
}

// own makes a set of the labels of a row.
func (r *rowReader) own(ls []labels.Label, size *int64) labels.Labels {
	r.scratch = ls
	if len(ls) == 0 {
		return labels.EmptyLabels()
	}
	for i := range ls {
		*size += int64(len(ls[i].Name) + len(ls[i].Value) + 8)
	}
	return labels.New(ls...)
}
