package logql

import "github.com/prometheus/prometheus/model/labels"

// Partial is the answer to one task. Partials of one leaf merge in any order: see Plan.Finish. It is
// read-only once it has been made, and its strings are its own, whatever the source does with its
// columns.
type Partial struct {
	Stats Stats

	// Source names what the rows were read from, if that never changes: a task run again over a source of
	// the same name gives the same. It is empty where some of it may change, or nobody has told.
	Source string

	entries []entry         // of a log selection, in the direction of the query
	series  []partialSeries // of a range aggregation, in no order
}

// entry is a log entry of a partial.
type entry struct {
	labels           labels.Labels
	time             int64
	line             string
	metadata, parsed labels.Labels // with Params.Categorize
}

// partialSeries is what a task has found of a series: its cells that are not empty, ascending, or its
// samples in no order.
type partialSeries struct {
	labels  labels.Labels
	cells   []cellAt
	samples []sample
}
