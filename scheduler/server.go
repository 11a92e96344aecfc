package scheduler

import (
	"github.com/grafana/dskit/tenant"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// RegisterServer makes s answer the calls of clients.
func RegisterServer(reg grpc.ServiceRegistrar, s Service) {
	wirepb.RegisterSchedulerServer(reg, &server{service: s, errors: WireErrors()})
}

type server struct {
	wirepb.UnimplementedSchedulerServer
	service Service
	errors  []wire.Kind
}

// Run sends the answer to a task. What a connected querier has encoded is passed on as it is.
func (s *server) Run(m *wirepb.Task, stream grpc.ServerStreamingServer[wirepb.Piece]) error {
	sched, ok := s.service.(*Scheduler)
	if !ok || sched.querier != nil {
		return wire.SendPartial(m, stream, s.errors, s.service.Run)
	}
	ctx := wire.Incoming(stream.Context())
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	data, waited, err := sched.dispatch(ctx, id, wire.DecodeTask(m))
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	return wire.SendBytes(data, &wirepb.Piece{QueueTime: int64(waited)}, stream.Send)
}
