package scheduler

import (
	"slices"

	"google.golang.org/grpc/codes"

	"example.com/loki/internal/wire"
	"example.com/loki/querier"
)

// WireErrors returns the errors of Run that stay what they are when they travel between processes. It is
// for the clients and servers of the packages above.
func WireErrors() []wire.Kind {
	return slices.Concat([]wire.Kind{
		wire.Sentinel("scheduler.ErrStopped", codes.Unavailable, ErrStopped),
		wire.Sentinel("scheduler.ErrLost", codes.Unavailable, ErrLost),
	}, querier.WireErrors())
}
