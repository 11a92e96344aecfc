package querier

import (
	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
)

// WireErrors returns the errors of this package that stay what they are when they travel between
// processes: those of the ingester. Errors of queries and of the store travel in any case. It is for
// the clients and servers of the packages above.
func WireErrors() []wire.Kind { return ingester.WireErrors() }
