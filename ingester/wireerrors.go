package ingester

import (
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc/codes"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// WireErrors returns the errors of this package that stay what they are when they travel between
// processes. It is for the clients and servers of the packages above.
func WireErrors() []wire.Kind {
	return []wire.Kind{
		wire.Typed("ingester.StreamLimitError", codes.ResourceExhausted, streamLimitDetail, streamLimitError),
		wire.Sentinel("ingester.ErrStreamLimit", codes.ResourceExhausted, ErrStreamLimit),
		wire.Sentinel("ingester.ErrDiskFull", codes.ResourceExhausted, ErrDiskFull),
		wire.Sentinel("ingester.ErrWriteLog", codes.Unavailable, ErrWriteLog),
		wire.Sentinel("ingester.ErrTooLarge", codes.InvalidArgument, ErrTooLarge),
		wire.Sentinel("ingester.ErrNotReady", codes.Unavailable, ErrNotReady),
		wire.Sentinel("ingester.ErrLocked", codes.FailedPrecondition, ErrLocked),
	}
}

func streamLimitDetail(e *StreamLimitError) *wirepb.StreamLimitDetail {
	m := &wirepb.StreamLimitDetail{Tenant: []byte(e.Tenant), Limit: int64(e.Limit)}
	for _, ls := range e.Streams {
		m.Streams = append(m.Streams, wire.EncodeLabels(ls))
	}
	return m
}

func streamLimitError(m *wirepb.StreamLimitDetail) *StreamLimitError {
	e := &StreamLimitError{Tenant: string(m.Tenant), Limit: int(m.Limit)}
	var d wire.LabelDecoder
	for _, b := range m.Streams {
		ls, err := d.Decode(b)
		if err != nil {
			ls = labels.EmptyLabels() // that there was a stream still counts
		}
		e.Streams = append(e.Streams, ls)
	}
	return e
}
