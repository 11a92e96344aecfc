// Package pipeline executes the stages of a LogQL log query, from the stream selector to the
// aggregation, over column batches.
//
// Compile turns the stages into a Pipeline. A Worker runs it over batches, one after another, and
// hands each row that passes to a callback:
//
//	p, err := pipeline.Compile(expr.Stages, pipeline.Options{Group: syntax.Grouping{Names: []string{"app"}}})
//	w := p.Worker()
//	err = w.Run(ctx, batch, from, through, func(r *pipeline.Row) bool {
//		counts[r.Group]++
//		return true
//	})
//
// Work is done in this order, so that each step sees as few rows and columns as possible:
//
//  1. the time range and the runs give a selection of rows;
//  2. label filters that compare strings and stand before any stage that makes labels drop whole runs
//     (stream labels) or dictionary values (structured metadata);
//  3. line filters that see the line as it is stored search all selected lines at once, wherever they
//     stand in the query;
//  4. what is left goes through the remaining stages row by row.
//
// Parsers extract only the labels that somebody looks at.
package pipeline

import (
	"maps"
	"slices"
	"strings"

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

	// LazyGroup: Row.Group is not set; who wants it asks Row.FindGroup. Groups of different numbers may have equal labels.
	// For consumers that drop most rows.
	LazyGroup bool

	// SkipLength: Row.LineLen is not needed, and 0 where it would have to be read.
	SkipLength bool
}

// Pipeline is a compiled sequence of stages; it is immutable and may be used by several goroutines.
type Pipeline struct {
	opts Options

	pure  []*matchFilter // label filters on what is stored
	lines []*lineMatcher // line filters on what is stored
	rest  []stage        // the other stages
	post  []labelFilter  // of the unwrap
	need  *needs         // of the first stage

	parses   bool // a stage adds labels
	changes  bool // a stage changes or removes labels of the stream or the metadata
	reads    bool // the stored line is looked at by some stage of rest or the consumer
	measures bool // the length of the stored line is asked for

	contains []column.Needle
	metadata []*labels.Matcher
}

// stage is a compiled stage that works row by row.
type stage interface {
	// runner returns what executes the stage for one worker.
	runner(w *Worker) runner
}

// runner executes a stage on the worker's current row. It returns false to drop the row.
type runner interface {
	run(w *Worker) bool
}

// Compile prepares stages for execution. The error is what the user did wrong: a bad regular
// expression, template, pattern...; it is a *syntax.ParseError where a position is known.
func Compile(stages []syntax.Stage, opts Options) (*Pipeline, error) {
	p := &Pipeline{opts: opts}
	if err := p.compile(stages); err != nil {
		return nil, err
	}
	return p, nil
}

// OnlyFilters tells that the stages drop rows by what is stored of them, and change nothing.
func (p *Pipeline) OnlyFilters() bool { return len(p.rest) == 0 }

// SkipsLines tells that whether a row passes does not depend on its line, and that nothing is changed.
func (p *Pipeline) SkipsLines() bool {
	return len(p.lines) == 0 && len(p.rest) == 0 && p.opts.Unwrap == nil
}

// StreamLabels returns the names, ascending, of the labels of streams that decide whether a row passes, which group it is
// in, and what value it has. ok is false if any label may. Row.Labels returns others too, where the batch has them.
func (p *Pipeline) StreamLabels() (names []string, ok bool) {
	if p.need.all {
		return nil, false
	}
	names = slices.Collect(maps.Keys(p.need.names))
	for _, f := range p.pure {
		names = f.names(names)
	}
	for _, name := range names {
		// Metadata of that name goes by the longer one where the stream has it as a label.
		if base, ok := strings.CutSuffix(name, clashSuffix); ok {
			names = append(names, base)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// Trivial tells that the pipeline has no stages that could drop or change a row.
func (p *Pipeline) Trivial() bool {
	return len(p.pure) == 0 && len(p.lines) == 0 && len(p.rest) == 0 && p.opts.Unwrap == nil
}
