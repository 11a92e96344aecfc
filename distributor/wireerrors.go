package distributor

import (
	"errors"
	"slices"

	"google.golang.org/grpc/codes"

	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// WireErrors returns the errors of Push that stay what they are when they travel between processes. It
// is for the clients and servers of the packages above.
func WireErrors() []wire.Kind {
	return slices.Concat([]wire.Kind{
		wire.Typed("distributor.PushError", codes.InvalidArgument, pushErrorDetail, pushError),
		wire.Typed("distributor.LabelsError", codes.InvalidArgument,
			func(e *LabelsError) *wirepb.LabelsErrorDetail {
				m := &wirepb.LabelsErrorDetail{Stream: int64(e.Stream), Text: []byte(e.Text)}
				if e.Err != nil {
					m.Error = []byte(e.Err.Error())
				}
				return m
			},
			func(m *wirepb.LabelsErrorDetail) *LabelsError {
				return &LabelsError{Stream: int(m.Stream), Text: string(m.Text), Err: errors.New(string(m.Error))}
			}),
		wire.Typed("distributor.RateLimitError", codes.ResourceExhausted,
			func(e *RateLimitError) *wirepb.RateLimitDetail {
				return &wirepb.RateLimitDetail{Tenant: []byte(e.Tenant), Limit: int64(e.Limit), Burst: int64(e.Burst), Lines: int64(e.Lines), Bytes: int64(e.Bytes)}
			},
			func(m *wirepb.RateLimitDetail) *RateLimitError {
				return &RateLimitError{Tenant: string(m.Tenant), Limit: int(m.Limit), Burst: int(m.Burst), Lines: int(m.Lines), Bytes: int(m.Bytes)}
			}),
		wire.Sentinel("distributor.ErrNoStreams", codes.InvalidArgument, ErrNoStreams),
		wire.Sentinel("distributor.ErrLabels", codes.InvalidArgument, ErrLabels),
		wire.Sentinel("distributor.ErrRefused", codes.InvalidArgument, ErrRefused),
		wire.Sentinel("distributor.ErrRateLimited", codes.ResourceExhausted, ErrRateLimited),
	}, ingester.WireErrors())
}

func pushErrorDetail(e *PushError) *wirepb.PushErrorDetail {
	m := &wirepb.PushErrorDetail{Tenant: []byte(e.Tenant), Stored: int64(e.Stored), Refused: int64(e.Refused), Unlisted: int64(e.Unlisted)}
	for _, r := range e.Refusals {
		m.Refusals = append(m.Refusals, &wirepb.RefusalDetail{Reason: []byte(r.Reason), Entries: int64(r.Entries), Text: []byte(r.Text)})
	}
	return m
}

func pushError(m *wirepb.PushErrorDetail) *PushError {
	e := &PushError{Tenant: string(m.Tenant), Stored: int(m.Stored), Refused: int(m.Refused), Unlisted: int(m.Unlisted)}
	for _, r := range m.Refusals {
		e.Refusals = append(e.Refusals, Refusal{Reason: Reason(r.Reason), Entries: int(r.Entries), Text: string(r.Text)})
	}
	return e
}
