package ingester

import (
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// Errors of Push.
var (
	// ErrStreamLimit means that some streams of a push were refused because the tenant has as many
	// as it may have; all others are stored. Details are in *StreamLimitError. The sender should not
	// repeat the push as it is.
	ErrStreamLimit = errors.New("ingester: maximum active stream limit exceeded")

	// ErrDiskFull means that the write-ahead log has no room. Nothing of the push counts as stored;
	// the sender should try again. Pushes succeed again as soon as there is room.
	ErrDiskFull = errors.New("ingester: the disk of the write-ahead log is full")

	// ErrWriteLog means that the write-ahead log could not be written for a reason other than a full
	// disk. Nothing of the push counts as stored; the sender should try again.
	ErrWriteLog = errors.New("ingester: the write-ahead log cannot be written")

	// ErrTooLarge means that an entry is larger than the write-ahead log can hold (128 MiB), or than a message
	// to a remote ingester may be: then the text says which setting to raise. The push does not count as stored, and to
	// repeat it is of no use.
	ErrTooLarge = errors.New("ingester: entry too large")
)

// ErrNotReady is returned by all methods while the ingester replays its log, and after it was stopped.
// Its text says which, and how far the replay is. The caller may try again, or ask another ingester.
var ErrNotReady = errors.New("ingester not ready")

// ErrLocked is returned at the start if another ingester, in this or another process, has the folder
// of the write-ahead log open.
var ErrLocked = errors.New("ingester: the folder is in use by another ingester")

// StreamLimitError tells which streams of a push were refused. It is an ErrStreamLimit.
type StreamLimitError struct {
	Tenant  string
	Limit   int
	Streams []labels.Labels
}

// Error names the first refused stream and how many more there are.
func (e *StreamLimitError) Error() string {
	var b strings.Builder
	b.WriteString("maximum active stream limit exceeded when trying to create stream ")
	if len(e.Streams) > 0 {
		b.WriteString(e.Streams[0].String())
	}
	if n := len(e.Streams) - 1; n > 0 {
		fmt.Fprintf(&b, " and %d more", n)
	}
	b.WriteString(", reduce the number of active streams (reduce labels or reduce label values), or contact your Loki " +
		"administrator to see if the limit can be increased")
	return b.String()
}

// Is tells that e is an ErrStreamLimit.
func (e *StreamLimitError) Is(target error) bool { return target == ErrStreamLimit }
