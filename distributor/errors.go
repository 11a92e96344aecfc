package distributor

import (
	"errors"
	"fmt"
	"strings"
)

// Push returns these.
var (
	// ErrNoStreams means that a push has no stream at all.
	ErrNoStreams = errors.New("error at least one valid stream is required for ingestion")
	// ErrLabels means that the labels of a stream cannot be understood; nothing of the push was
	// stored. Details are in *LabelsError.
	ErrLabels = errors.New("distributor: malformed labels")
	// ErrRefused means that some entries were refused and all others stored. Details are in *PushError.
	ErrRefused = errors.New("distributor: entries refused")
	// ErrRateLimited means that the tenant pushes faster than it may; nothing was stored, and the same
	// push may succeed later. Details are in *RateLimitError. A *PushError is ErrRateLimited too if any
	// of its entries was refused because its stream is too fast: all others are stored, and sending
	// everything again stores nothing twice.
	ErrRateLimited = errors.New("distributor: rate limit exceeded")
)

// Reason is why entries were refused, in Loki's words: the label "reason" of
// loki_discarded_samples_total.
type Reason string

// The reasons.
const (
	RateLimited                Reason = "rate_limited"
	PerStreamRateLimit         Reason = "per_stream_rate_limit"
	StreamLimit                Reason = "stream_limit"
	LineTooLong                Reason = "line_too_long"
	InvalidLabels              Reason = "invalid_labels"
	MissingLabels              Reason = "missing_labels"
	TooOld                     Reason = "greater_than_max_sample_age"
	TooNew                     Reason = "too_far_in_future"
	TooManyLabels              Reason = "max_label_names_per_series"
	LabelNameTooLong           Reason = "label_name_too_long"
	LabelValueTooLong          Reason = "label_value_too_long"
	DisallowedMetadata         Reason = "disallowed_structured_metadata"
	StructuredMetadataTooLarge Reason = "structured_metadata_too_large"
	StructuredMetadataTooMany  Reason = "structured_metadata_too_many"
	BodyTooLarge               Reason = "request_body_too_large" // counted in bytes only: its entries were not read
)

// Refusal is why entries of one stream were refused.
type Refusal struct {
	Reason  Reason
	Entries int    // how many of the stream for this reason; all of it for labels, 0 if it had none
	Text    string // what to tell the client, about the first of them
}

// maxRefusals is how many refusals a PushError lists.
const maxRefusals = 10

// PushError says which entries of a push were refused. All others were stored.
type PushError struct {
	Tenant   string
	Stored   int       // entries
	Refused  int       // entries
	Refusals []Refusal // the first few, at most one per stream and reason
	Unlisted int       // refused entries that Refusals does not cover
}

func (e *PushError) Error() string {
	var b strings.Builder
	for i, r := range e.Refusals {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(r.Text)
		if r.Entries > 1 {
			fmt.Fprintf(&b, " (and %d more entries of this stream)", r.Entries-1)
		}
	}
	if e.Unlisted > 0 {
		fmt.Fprintf(&b, "\nand %d more entries were refused", e.Unlisted)
	}
	return b.String()
}

// Is makes a PushError an ErrRefused, and also an ErrRateLimited if it may help to push again.
func (e *PushError) Is(target error) bool {
	return target == ErrRefused || target == ErrRateLimited && e.tooFast()
}

func (e *PushError) tooFast() bool {
	for _, r := range e.Refusals {
		if r.Reason == PerStreamRateLimit {
			return true
		}
	}
	return false
}

// add counts n entries that were refused, and lists them if there is room. text is called at most once.
func (e *PushError) add(reason Reason, n int, text func() string) {
	e.Refused += n
	if len(e.Refusals) < maxRefusals {
		e.Refusals = append(e.Refusals, Refusal{Reason: reason, Entries: n, Text: text()})
		return
	}
	if reason == PerStreamRateLimit && !e.tooFast() {
		// That pushing again may help must not get lost.
		last := &e.Refusals[len(e.Refusals)-1]
		e.Unlisted += last.Entries
		*last = Refusal{Reason: reason, Entries: n, Text: text()}
		return
	}
	e.Unlisted += n
}

// LabelsError says which labels cannot be understood.
type LabelsError struct {
	Stream int    // the number of the stream in the push, from 0
	Text   string // the labels as they were sent, or their beginning
	Err    error
}

func (e *LabelsError) Error() string {
	return fmt.Sprintf("couldn't parse labels: stream %d, %s: %v", e.Stream+1, e.Text, e.Err)
}

// Is makes a LabelsError an ErrLabels.
func (e *LabelsError) Is(target error) bool { return target == ErrLabels }

func (e *LabelsError) Unwrap() error { return e.Err }

// RateLimitError says by how much a push goes beyond the ingestion rate of its tenant.
type RateLimitError struct {
	Tenant       string
	Limit, Burst int // bytes a second; bytes
	Lines, Bytes int // what the push holds
}

func (e *RateLimitError) Error() string {
	s := fmt.Sprintf("Ingestion rate limit exceeded for user %s (limit: %d bytes/sec) while attempting to ingest '%d' lines totaling '%d' bytes, "+
		"reduce log volume or contact your Loki administrator to see if the limit can be increased", e.Tenant, e.Limit, e.Lines, e.Bytes)
	if e.Bytes > e.Burst {
		s += fmt.Sprintf(". This push can never succeed, because it is larger than the burst of %d bytes that the limit allows: send it in smaller parts", e.Burst)
	}
	return s
}

// Is makes a RateLimitError an ErrRateLimited.
func (e *RateLimitError) Is(target error) bool { return target == ErrRateLimited }
