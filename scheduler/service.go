package scheduler

import (
	"context"

	"example.com/loki/logql"
)

// Service runs tasks on queriers, fairly between tenants. The context carries the tenant.
type Service interface {
	// Run waits for its turn and returns the answer of a querier. Waiting is bounded by ctx alone.
	Run(ctx context.Context, t *logql.Task) (*logql.Partial, error)
}
