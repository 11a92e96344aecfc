// Package pipeline executes the stages of a LogQL log query, from the stream selector to the
// aggregation, over column batches.
package pipeline

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
)

// Options say what the consumer of the rows needs. Everything that isn't needed is not computed.
type Options struct {
	// Unwrap, if not nil, turns a label into Row.Value; rows without that label are dropped.
	Unwrap *syntax.Unwrap

	// Group decides Row.Group: rows whose labels agree after grouping have equal numbers. The zero
	// value, grouping by no label, gives all rows one group; {Without: true} groups by all labels.
	Group syntax.Grouping

	// KeepLine: Row.Line is needed. (Row.LineLen is always right.)
	KeepLine bool

	// Categorize: groups are formed from stream labels only, and Row.AppendMetadata and
	// Row.AppendParsed are used.
	Categorize bool
}

// Row is one row that has passed all stages. It and all it refers to are valid until the callback
// returns.
type Row struct {
	Batch *column.Batch
	Run   int // index into Batch.Runs
	Index int // row number in Batch

	Time    int64
	Line    []byte // as the stages left it; nil unless Options.KeepLine
	LineLen int    // its length
	Value   float64
	Group   int    // see Worker.Group
	Err     string // value of __error__, empty for none

	w *Worker
}

// api of the rest of the package, implemented in the other files:
//
//	// Compile prepares stages for execution. The error is what the user did wrong: a bad regular
//	// expression, template, pattern...; it is a *syntax.ParseError where a position is known.
//	func Compile(stages []syntax.Stage, opts Options) (*Pipeline, error)
//
//	// Hints returns what each row that passes must hold, for SelectRequest.Contains and Metadata:
//	// needles of the line filters that stand before any stage that changes the line, literals of
//	// regular expressions, string equality of label filters that stand before any parser.
//	func (p *Pipeline) Hints() (contains []column.Needle, metadata []*labels.Matcher)
//
//	// Trivial tells that the pipeline has no stages that could drop or change a row.
//	func (p *Pipeline) Trivial() bool
//
//	// Worker returns an executor; one goroutine uses it at a time. Group numbers are its own.
//	func (p *Pipeline) Worker() *Worker
//
//	// Run calls emit for each row of b with from <= time < through that passes, in row order (run by
//	// run, ascending time in each). emit returns false to stop.
//	func (w *Worker) Run(ctx context.Context, b *column.Batch, from, through int64, emit func(*Row) bool) error
//
//	// Group returns the labels of a group number; Groups is how many there are.
//	func (w *Worker) Group(n int) labels.Labels
//	func (w *Worker) Groups() int
//
//	// AppendMetadata and AppendParsed append the labels of a row by where they come from, as the
//	// categorize-labels answers need them.
//	func (r *Row) AppendMetadata(dst []labels.Label) []labels.Label
//	func (r *Row) AppendParsed(dst []labels.Label) []labels.Label
//	// Labels returns all labels of the row after the pipeline.
//	func (r *Row) Labels() labels.Labels

// Pipeline is a compiled sequence of stages; it is immutable.
type Pipeline struct{}

// Worker executes a pipeline.
type Worker struct{}

var (
	_ context.Context
	_ labels.Labels
)
