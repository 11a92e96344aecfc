package querier

import (
	"slices"

	"google.golang.org/grpc/codes"

	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
)

// WireErrors returns the errors of this package that stay what they are when they travel between
// processes, with those of the ingester. Errors of queries and of the store travel in any case. It is for
// the clients and servers of the packages above.
func WireErrors() []wire.Kind {
	return slices.Concat([]wire.Kind{wire.Sentinel("querier.ErrStale", codes.FailedPrecondition, ErrStale)}, ingester.WireErrors())
}
