package logql

import (
	"context"
	"iter"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// Direction is the order of the entries of a log query.
type Direction uint8

const (
	Backward Direction = iota // newest first, the default
	Forward                   // oldest first
)

// String returns "backward" or "forward", as the HTTP API spells them.
func (d Direction) String() string {
	if d == Forward {
		return "forward"
	}
	return "backward"
}

// Source is where a query reads its rows: a store, an ingester's head, or several of them merged. It
// belongs to one tenant.
type Source interface {
	// Select yields all rows of streams that match req.Matchers and whose time is in
	// [req.Start, req.End); it may yield others too where it cannot tell cheaply (a page reaches
	// beyond the range, a hint could not be used), so the executor checks time and filters again,
	// but it never needs to check the matchers.
	//
	// Batches come in the order of req.Direction: descending MaxTime for Backward, ascending MinTime
	// for Forward. Thus a caller that has what it needs up to some time can stop. Yielding is cheap,
	// columns are read when they are asked for, and several goroutines may work on different batches
	// at once. The caller releases each batch it was given. An error ends the sequence.
	Select(ctx context.Context, req *SelectRequest) iter.Seq2[*column.Batch, error]
}

// SelectRequest says which rows a query wants. Hints only allow a source to leave out rows that the
// query would drop anyway.
type SelectRequest struct {
	Matchers   []*labels.Matcher
	Start, End int64 // nanoseconds since 1970; rows with Start <= time < End
	Direction  Direction

	// Hints, all of which hold for each row of interest.
	Contains []Needle          // the line as stored contains each of these
	Metadata []*labels.Matcher // MatchEqual only: the metadata column of that name, or the stream label where no such column exists, has that value

	// Query, unless empty, is the log query whose stages the reader runs over the rows: rows that do not pass
	// them don't matter. A batch says in Sifted whether they have been left out.
	Query string

	// Wants, unless nil, says what of the rows the reader asks for. Batches may lack all else.
	Wants *Wants

	// Project, unless nil, says that the reader need not tell all streams apart.
	Project *Projection

	// All tells that the reader is going to read all batches, whatever the first ones hold: a source may look at what is
	// to come in order to yield less of what there are copies of.
	All bool

	// Overlaps, unless nil, is called once before the first batch with the times of what is going to be
	// yielded, as far as they overlap the times from Since to Until (both inclusive). Sources that don't
	// know them don't call it.
	Overlaps     func([]Overlap)
	Since, Until int64

	// Parts, unless nil, restricts the source to rows of these parts (ULIDs of segments).
	Parts []string

	// Known names parts that another source of the same query reads; a source skips what it holds of
	// them.
	Known []string
}

// Needle is a substring that a line must contain.
type Needle = column.Needle

// Wants says what of the rows, besides their times, a reader asks for.
type Wants struct {
	// Lines: the lines, and all else. Unless it is set, what follows is enough for rows that were sifted.
	Lines    bool
	Lengths  bool     // the lengths of lines
	Metadata bool     // all structured metadata
	Names    []string // of structured metadata, if not all is asked for
	Hashes   bool     // of rows (see column.Hashed) also where no run is shared: another source may have copies
}

// Projection says which labels of streams a reader looks at. A source may yield runs whose streams have no others, and join
// runs that touch and don't differ in these: column.Run.Mixed. The rows of a page stay in their order. Runs that are Shared
// are of one stream with all its labels, and those are too that have rows from ApartFrom on, but before ApartThrough: there
// another source of the same query may have copies.
type Projection struct {
	Names                   []string // ascending
	ApartFrom, ApartThrough int64
}

// Overlap is the times, both inclusive, of which a source yields rows of a stream.
type Overlap struct {
	Stream           uint64 // hash of its labels
	Any              bool   // of any stream, rather
	MinTime, MaxTime int64
}
