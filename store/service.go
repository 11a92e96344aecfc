package store

import (
	"context"
	"iter"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// Service is what other components may ask of the segment store. The context of each call carries
// the tenant.
type Service interface {
	// Source reads the segments. SelectRequest.Parts restricts it to some, which are read also if others
	// have replaced them meanwhile; SelectRequest.Known leaves some out.
	logql.Source

	// Segments returns what is in the catalog of the tenant with rows between start and end
	// (nanoseconds since 1970, inclusive start, exclusive end), oldest ULID first. It also returns those that have none but
	// replace one that has and that the bucket still holds, so that whoever asks ingesters for the rest can name it.
	Segments(ctx context.Context, start, end int64) ([]SegmentInfo, error)

	// Put writes a segment of the tenant and enters it in the catalog. It returns when the segment is
	// durable and visible to Segments. Writing an ID that exists already does nothing: contents are
	// immutable. rows is read once.
	Put(ctx context.Context, id ulid.ULID, rows Rows) (SegmentInfo, error)

	// Exists tells whether the tenant has a segment of this ID, asking the bucket where the catalog
	// does not know it. One that another has replaced exists, also after it was removed, for as long as
	// the other one names it.
	Exists(ctx context.Context, id ulid.ULID) (bool, error)

	// Labels, LabelValues, Series and Volumes answer from the indexes of the segments with rows in
	// the range. Answers are sorted and without repetition. If by is not nil, volumes are those of groups of streams that
	// agree in the labels of these names, and have no others: see logql.GroupVolumes. If by has no names, they say of which streams they are.
	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error)
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error)
}

// SegmentInfo describes a segment.
type SegmentInfo struct {
	ID               ulid.ULID
	MinTime, MaxTime int64 // of its rows, both inclusive, nanoseconds since 1970
	Streams, Rows    int64
	RawBytes         int64       // of lines
	MetadataBytes    int64       // of structured metadata, as column.MetadataSize counts it
	SizeBytes        int64       // of the object
	Replaces         []ulid.ULID // segments whose rows this one holds; they no longer count
	Writers          []string    // names of the stores that have put its rows (Config.Writer), ascending; none for those without a name
}

// Rows yields the rows of a new segment: each stream once, streams in the order of labels.Compare. A
// stream's rows are valid until the next step, its labels for as long as the rows are read.
type Rows = iter.Seq2[*StreamRows, error]

// StreamRows are the rows of one stream, ascending in time, equal times in the order of arrival.
type StreamRows struct {
	Labels   labels.Labels
	Times    []int64
	Lines    column.Lines
	Metadata []NamedMetadata // ascending by name
}

// NamedMetadata is a structured-metadata column.
type NamedMetadata struct {
	Name string
	column.Metadata
}
