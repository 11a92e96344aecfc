package logql

import (
	"errors"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
)

// Kind says what is wrong with a query. Each kind is an error to test for:
//
//	errors.Is(err, logql.KindSeriesLimit)
//
// Kinds are plain strings, so that an error that has travelled can be rebuilt.
type Kind string

const (
	KindQuery       Kind = "query"        // a stage of the pipeline cannot be made
	KindParams      Kind = "parameters"   // Params contradict themselves or the query
	KindInstantLog  Kind = "instant log"  // a log query where only a metric query is possible
	KindPoints      Kind = "points"       // more points per series than MaxPoints
	KindPipeline    Kind = "pipeline"     // a row of a metric query has an __error__
	KindSeriesLimit Kind = "series limit" // more series than Options.MaxSeries or than a task may collect
	KindMemoryLimit Kind = "memory limit" // more memory than Options.MaxMemory
	KindMatching    Kind = "matching"     // series of a binary operation don't find each other uniquely
	KindLabels      Kind = "labels"       // label_replace makes bad or equal label sets
)

// Error returns the kind's name.
func (k Kind) Error() string { return string(k) }

// QueryError means that the query cannot be answered as it stands; the user can correct it. Every
// QueryError is the caller's mistake, never a fault of the engine or of the data.
type QueryError struct {
	Kind    Kind
	Message string // says what is wrong and what to do
}

// Error returns the message.
func (e *QueryError) Error() string { return e.Message }

// Unwrap returns the kind.
func (e *QueryError) Unwrap() error { return e.Kind }

func queryErrorf(kind Kind, format string, args ...any) *QueryError {
	return &QueryError{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

func errPipeline(name string, series labels.Labels) *QueryError {
	return queryErrorf(KindPipeline, "pipeline error: '%s' for series: '%s'.\n"+
		"Use a label filter to intentionally skip this error. (e.g | __error__!=\"%s\").\n"+
		"To skip all potential errors you can match empty errors. (e.g __error__=\"\")\n"+
		"The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )",
		name, series.String(), name)
}

func isPipelineError(err error) bool {
	var q *QueryError
	return errors.As(err, &q) && q.Kind == KindPipeline
}

func errSeriesLimit(limit int) *QueryError {
	return queryErrorf(KindSeriesLimit, "maximum number of series (%d) reached for a single query; "+
		"select fewer streams, take a shorter time range, or aggregate by fewer labels with sum(), count() or topk()", limit)
}

func errMemoryLimit(limit int64, what string) *QueryError {
	return queryErrorf(KindMemoryLimit, "the query needs more than the %d bytes of memory that a query may use, for %s; "+
		"select fewer streams, take a shorter time range, a smaller limit or a larger step, or aggregate by fewer labels", limit, what)
}
