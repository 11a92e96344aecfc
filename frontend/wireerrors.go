package frontend

import (
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
)

// WireErrors returns the errors of this package that stay what they are when they travel between
// processes.
func WireErrors() []wire.Kind {
	return slices.Concat([]wire.Kind{
		wire.Typed("frontend.LimitError", codes.ResourceExhausted,
			func(e *LimitError) *wirepb.LimitErrorDetail {
				return &wirepb.LimitErrorDetail{Limit: []byte(e.Limit), Message: []byte(e.Message)}
			},
			func(m *wirepb.LimitErrorDetail) *LimitError {
				return &LimitError{Limit: string(m.Limit), Message: string(m.Message)}
			}),
		wire.Typed("frontend.TimeoutError", codes.DeadlineExceeded,
			func(e *TimeoutError) *wirepb.TimeoutErrorDetail {
				return &wirepb.TimeoutErrorDetail{After: int64(e.After)}
			},
			func(m *wirepb.TimeoutErrorDetail) *TimeoutError {
				return &TimeoutError{After: time.Duration(m.After)}
			}),
		wire.Sentinel("frontend.ErrLimit", codes.ResourceExhausted, ErrLimit),
	}, scheduler.WireErrors(), querier.WireErrors())
}
