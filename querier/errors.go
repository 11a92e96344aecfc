package querier

import "errors"

// ErrTailMetric is returned by Tail for a metric query: only log queries can be followed.
var ErrTailMetric = errors.New("only log queries can be tailed; remove the aggregation from the query")
