package ingester

import (
	"context"
	"iter"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// Service is what other components may ask of an ingester. The context of each call carries the
// tenant (dskit's user.InjectOrgID). *Ingester answers in process; both it and a remote one pass
// ingestertest.Contract.
type Service interface {
	logql.Source

	// Push stores the entries of one tenant. It returns once they are in the write-ahead log (as
	// durable as Config.Sync says) and readable. It may keep label sets, which must not change; of the rest of
	// req it keeps nothing after it returns.
	//
	// Errors: ErrStreamLimit (as *StreamLimitError: some streams were refused, all others are
	// stored), ErrDiskFull and ErrNotReady (nothing is stored; try again later or elsewhere).
	Push(ctx context.Context, req *PushRequest) error

	// Labels, LabelValues and Series answer from the rows that the ingester holds between start and
	// end (nanoseconds since 1970, inclusive start, exclusive end), of streams that match all
	// matchers. Answers are sorted and without repetition.
	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error)

	// Volumes returns per matching stream how much the ingester holds between start and end, except in
	// the parts named in known. Volumes of different writers come apart: see logql.MergeVolumes.
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) ([]logql.StreamVolume, error)

	// Oldest returns a time before which Volumes would count nothing: that of the oldest row that the
	// ingester holds between start and end of a matching stream, except in the parts named in known, or
	// where that is not known at once an earlier time, at least start. Without such a row it is
	// math.MaxInt64. It looks at no row, so it costs little.
	Oldest(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) (int64, error)

	// Tail yields entries of matching streams from the moment of the call on, in batches, as they are
	// pushed. A reader that is too slow loses entries; TailBatch.Dropped counts them. The sequence
	// ends when ctx is done or the ingester stops.
	Tail(ctx context.Context, matchers []*labels.Matcher) iter.Seq2[*TailBatch, error]

	// Flush cuts all parts of the tenant, or with an empty tenant those of all, and returns when they
	// are segments in the catalog.
	Flush(ctx context.Context, tenant string) error
}

// PushRequest holds entries of one tenant.
type PushRequest struct {
	Streams []Stream
}

// Stream is a set of labels and entries to append to it.
type Stream struct {
	Labels  labels.Labels
	Hash    uint64 // labels.StableHash(Labels)
	Entries []Entry
}

// Entry is one log line.
type Entry struct {
	Time     int64 // nanoseconds since 1970
	Line     []byte
	Metadata []Field // structured metadata; names are unique and valid label names
}

// Field is a name and a value of structured metadata.
type Field struct {
	Name  string
	Value []byte
}

// TailBatch is a sequence of new entries.
type TailBatch struct {
	Streams []Stream     // owned by the receiver
	Dropped int          // entries that were lost before this batch because the reader was slow
	Lost    []logql.Lost // the first of these, a hundred at most from each ingester
	At      time.Time

	// Gap, unless zero, says that entries which came since then may have been missed, because ingesters
	// were away, and that none are missed from now on: whoever wants them all reads them.
	Gap time.Time
}
