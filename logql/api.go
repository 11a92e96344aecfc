package logql

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Params is a query and how to run it.
type Params struct {
	Query string

	// Start and End are in nanoseconds since 1970. A log query takes Start <= time < End. A metric
	// query has points at Start, Start+Step, … up to End; with Step 0 it is an instant query at End.
	Start, End int64
	Step       time.Duration

	// Interval, Limit and Direction concern log queries: at most Limit entries over all streams, and
	// of these with Interval > 0 only those at least so far from the one before.
	Interval  time.Duration
	Limit     int
	Direction Direction

	// Categorize asks for entries with structured metadata and parsed labels apart from the stream.
	Categorize bool
}

// Task is a piece of a query that can be run anywhere: one leaf of its plan over the rows with
// From <= time < Through. The tasks of a leaf cover its range without overlap.
type Task struct {
	Params        Params
	Leaf          int
	From, Through int64

	// Bytes is how much the task is thought to read, of lines and metadata; 0 if nobody has asked. It
	// changes no answer: it is for those who decide when and where the task runs.
	Bytes int64
}

// ResultType is the kind of a result, as the HTTP API names it.
type ResultType string

const (
	ResultStreams ResultType = "streams"
	ResultMatrix  ResultType = "matrix"
	ResultVector  ResultType = "vector"
	ResultScalar  ResultType = "scalar"
)

// Result is the answer to a query.
type Result struct {
	Type ResultType

	Streams []StreamResult // of a log query; the streams are ordered by labels
	Series  []SeriesResult // of a matrix (ordered by labels) or a vector (one point each; ordered only where the query orders)
	Scalar  Point

	Stats    Stats
	Warnings []string
}

// StreamResult is a stream and its entries in the direction of the query.
type StreamResult struct {
	Labels  labels.Labels
	Entries []EntryResult
}

// EntryResult is one log entry.
type EntryResult struct {
	Time int64 // nanoseconds since 1970
	Line string
	// Metadata and Parsed are set for Params.Categorize only.
	Metadata, Parsed labels.Labels
}

// SeriesResult is a series of a metric query.
type SeriesResult struct {
	Labels labels.Labels
	Points []Point
}

// Point is a sample.
type Point struct {
	Time  int64 // milliseconds since 1970
	Value float64
}

// Stats is what a query has cost.
type Stats struct {
	QueueTime, ExecTime time.Duration
	Tasks               int // pieces the query was split into
	Streams             int64
	PagesTotal          int64 // pages that the matchers and the time range touch
	PagesRead           int64 // of these, pages of which some column was read
	Rows                int64 // rows looked at
	RowsKept            int64 // rows that passed the pipeline
	LineBytes           int64 // bytes of the lines looked at
	MetadataBytes       int64
	HeadRows, HeadBytes int64 // the part of Rows and LineBytes that came from ingesters
	ReadBytes           int64 // compressed bytes fetched
	Returned            int64 // entries or points
}

// Add adds the costs of o.
func (s *Stats) Add(o Stats) {
	s.QueueTime += o.QueueTime
	s.Tasks += o.Tasks
	s.Streams += o.Streams
	s.PagesTotal += o.PagesTotal
	s.PagesRead += o.PagesRead
	s.Rows += o.Rows
	s.RowsKept += o.RowsKept
	s.LineBytes += o.LineBytes
	s.MetadataBytes += o.MetadataBytes
	s.HeadRows += o.HeadRows
	s.HeadBytes += o.HeadBytes
	s.ReadBytes += o.ReadBytes
}

// Options bound the execution of a task.
type Options struct {
	MaxMemory   int64 // bytes held at once; 0 means no limit
	MaxSeries   int   // series of the final result; 0 means no limit
	Parallelism int   // goroutines; 0 means GOMAXPROCS
}
