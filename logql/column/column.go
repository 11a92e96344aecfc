// Package column holds the rows that queries run over: batches of log entries of one tenant, stored
// column by column.
//
// A batch is a page of a stored segment or a slice of an ingester's head; whoever executes a query
// cannot tell which. Columns are decoded when they are first asked for, so a query pays only for
// what it reads: a count asks for no line, a label filter for no line it has already dropped.
//
// Nothing in here is copied on the way to the result. Slices that a batch hands out belong to the
// batch and are valid until its Release.
package column

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Stream is a label set that rows refer to. It is immutable and shared: two rows of one stream in
// one batch have the same *Stream, rows of different batches may have different pointers and must
// be compared by Hash and Labels.
type Stream struct {
	Labels labels.Labels
	Hash   uint64 // labels.StableHash(Labels)
}

// NewStream returns the stream of a label set.
func NewStream(ls labels.Labels) *Stream {
	return &Stream{Labels: ls, Hash: labels.StableHash(ls)}
}

// Run is a sequence of rows of one stream in a batch, in the order of their times; rows of equal
// time are in the order of their arrival.
type Run struct {
	Stream   *Stream
	From, To int // the rows [From, To) of the batch

	// MinTime and MaxTime bound the times of these rows, in nanoseconds since 1970. Both are the time of
	// some row of the run, unless the source has left rows out of it that can't contain what is asked for.
	MinTime, MaxTime int64

	// Mixed tells that the rows are of several streams which don't differ in what the reader asked for
	// (logql.Projection). Stream stands for all of them, and has the labels that they have alike of those asked for. The
	// rows are in no order of time.
	Mixed bool

	// Shared tells that other batches of the same sequence may hold some of the same entries (same
	// stream, time, line and metadata). The reader then counts each such entry once.
	Shared bool
}

// Batch is a set of rows to execute on. Only rows that lie in one of its runs count.
type Batch struct {
	// Runs are in ascending row order and don't overlap.
	Runs []Run

	// MinTime and MaxTime bound the times of all runs, in nanoseconds since 1970.
	MinTime, MaxTime int64

	// Part orders batches by arrival where times are equal: rows of the lower Part came first. It is
	// the ULID of the segment that the rows are stored in or will be stored in.
	Part string

	// Page is the place of the batch within its part; ties of Part are broken by it.
	Page int

	// RawBytes is the number of line bytes in the runs; an estimate where runs cover the page partly.
	RawBytes int64

	// MetadataBytes is what the structured metadata in the runs counts (see MetadataSize), as far as it
	// is known without a look at the columns; an estimate where runs cover the page partly.
	MetadataBytes int64

	// Sifted tells that all rows of the runs pass the stages of the query that they were asked for with
	// (logql.SelectRequest.Query), and that others were left out.
	Sifted bool

	// Head tells that the rows lie in the memory of an ingester.
	Head bool

	// Totals, unless nil, tells what is known of runs without a look at their rows. It is valid for as
	// long as Columns.
	Totals Totals

	// Fetched, unless nil, returns how many stored bytes have been read for this batch so far, in the
	// form in which they are stored. What a cache had doesn't count.
	Fetched func() int64

	Columns
}

// Columns are the values of a batch's rows. Methods may be called from several goroutines; the first
// call of each reads and decodes the column, so it can block and fail. An error names the object and
// the place in it. Row numbers are those of the page: a batch whose runs cover only some rows still
// hands out whole columns.
type Columns interface {
	// Rows is the number of rows of each column.
	Rows() int

	// Times returns the time of each row in nanoseconds since 1970.
	Times(ctx context.Context) ([]int64, error)

	// LineLengths returns the number of bytes of each line without reading the lines.
	LineLengths(ctx context.Context) ([]uint32, error)

	// Lines returns the lines.
	Lines(ctx context.Context) (Lines, error)

	// MetadataNames returns the names of all structured metadata that occur in the page, ascending.
	MetadataNames(ctx context.Context) ([]string, error)

	// Metadata returns one structured-metadata column; of a name that does not occur, the zero
	// Metadata.
	Metadata(ctx context.Context, name string) (Metadata, error)

	// Release says that the caller needs the columns no longer; slices from it are invalid from now
	// on. It is called once.
	Release()
}

// Searcher is implemented by Columns that can find lines without making all of them. Methods may be called
// from several goroutines; like Columns' they can block and fail.
type Searcher interface {
	// Search returns the rows, ascending, whose lines may have one of the texts, and a column of lines in
	// which these are set; others may be empty. All is valid until Release. ok is false where a look at Lines
	// is as cheap; then there is no more to know.
	Search(ctx context.Context, texts *Texts) (rows []int32, lines Lines, ok bool, err error)
}

// Picker is implemented by Columns that can read the metadata of few rows without making a column of it.
type Picker interface {
	// Pick returns what Metadata does, but other rows than those given, which ascend, may seem to have no
	// value.
	Pick(ctx context.Context, name string, rows []int32) (Metadata, error)

	// PickTimes returns what Times does, but of other rows than those given, which ascend, anything.
	PickTimes(ctx context.Context, rows []int32) ([]int64, error)
}

// LinePicker is implemented by Columns that can make few lines without making all of them.
type LinePicker interface {
	// PickLines returns what Lines does, but other rows than those given, which ascend, may be empty. It is
	// valid until Release.
	PickLines(ctx context.Context, rows []int32) (Lines, error)
}

// Texts are byte strings to search for; case counts. They are recognised by their address and must not be
// changed.
type Texts struct{ Any [][]byte }

// Totals are what a source knows of runs without reading their rows. It knows runs as it has yielded
// them: of other rows, as of what is left of a run when some are taken away, it knows nothing. Methods
// may be called from several goroutines.
type Totals interface {
	// LineBytes returns the number of bytes of the lines [from, to), if it is known.
	LineBytes(from, to int) (n int64, ok bool)

	// Minutes returns how many of the rows [from, to) lie in each minute, if it is known. The first call
	// reads it, so it can block and fail. It may also be known of rows of a run of one stream that begin and end where
	// minutes do.
	Minutes(ctx context.Context, from, to int) (m Minutes, ok bool, err error)
}

// Minute is the length of a minute of Minutes.
const Minute = int64(time.Minute)

// MinuteOf returns the number of the minute that a time lies in. Minute m has the times t with
// m·Minute < t ≤ (m+1)·Minute, as the windows of LogQL are open where they begin.
func MinuteOf(t int64) int64 {
	m := t / Minute
	if t%Minute <= 0 {
		m--
	}
	return m
}

// Minutes says how many rows and line bytes of a run lie in each minute. The slices belong to the batch.
type Minutes struct {
	First int64    // the minute of the first row, of a Mixed run of the earliest one
	Rows  []uint32 // rows up to the end of minute First+i
	Bytes []uint32 // bytes of their lines
}

// Until returns how many of the minutes have rows up to time t, inclusive, and no later ones. ok is false
// where t lies within a minute that has rows.
func (m Minutes) Until(t int64) (n int, ok bool) {
	at := MinuteOf(t) - m.First
	switch {
	case at < 0:
		return 0, true
	case at >= int64(len(m.Rows)):
		return len(m.Rows), true
	case t%Minute == 0:
		return int(at) + 1, true
	}
	before := uint32(0)
	if at > 0 {
		before = m.Rows[at-1]
	}
	return int(at), m.Rows[at] == before
}

// Lines is a column of byte strings: row i is Data[Offsets[i]:Offsets[i+1]]. Nothing lies between
// rows, so a search over Data may find hits that straddle rows; the searcher must drop those.
type Lines struct {
	Data    []byte
	Offsets []uint32 // one more than there are rows
}

// Row returns line i, with its capacity cut so that an append can't overwrite the next one.
func (l Lines) Row(i int) []byte {
	return l.Data[l.Offsets[i]:l.Offsets[i+1]:l.Offsets[i+1]]
}

// Metadata is a sparse column of strings, coded by a dictionary. The zero value is a column without
// any value.
type Metadata struct {
	Values [][]byte // the dictionary; values may repeat
	Index  []uint32 // per row: 0 means that the row has no value, else Values[Index-1] is it. nil: none has
}

// MetadataSize is what a value of structured metadata counts in volumes and statistics, in bytes: its own
// length and 3 for its name, which is stored once for many values. Loki counts so, within a few percent.
func MetadataSize(value []byte) int { return len(value) + 3 }

// Row returns the value of row i and whether it has one.
func (m Metadata) Row(i int) ([]byte, bool) {
	if m.Index == nil || m.Index[i] == 0 {
		return nil, false
	}
	return m.Values[m.Index[i]-1], true
}

// Needle is a substring that a line must contain.
type Needle struct {
	Text     string
	FoldCase bool // upper and lower case don't count
}
