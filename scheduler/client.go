package scheduler

import (
	"context"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// NewClient returns the scheduler behind a connection. Its errors are those of the Service; if the
// process cannot be reached they have the gRPC status Unavailable.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewSchedulerClient(conn), errors: WireErrors()}
}

type client struct {
	rpc    wirepb.SchedulerClient
	errors []wire.Kind
}

var _ Service = (*client)(nil)

// Run implements Service.
func (c *client) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	return wire.AskPartial(ctx, t, c.errors, c.rpc.Run)
}
