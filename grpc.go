package loki

import (
	"fmt"

	"google.golang.org/grpc"

	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/internal/gate"
	"example.com/loki/internal/wire"
	"example.com/loki/querier"
	"example.com/loki/ruler"
	"example.com/loki/scheduler"
)

// NewServer returns a gRPC server of what other processes may call of this engine; see RegisterGRPC. Its
// metrics are among those of the engine. The caller runs it: Serve on a listener of its own before Start,
// Shutdown after Close.
func (e *Engine) NewServer(cfg GRPC) (*Server, error) {
	s, err := wire.NewServer(cfg, e.cfg.Logger, e.own)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	e.RegisterGRPC(s)
	return s, nil
}

// RegisterGRPC registers what other processes may call of this engine: the services of its targets. It is
// called once, before the server serves. Calls are refused with Unavailable until Start has finished and
// after Close has begun; Close waits for those under way.
func (e *Engine) RegisterGRPC(reg grpc.ServiceRegistrar) {
	calls := gate.GRPC(reg, e.Ready, e.enterWrite, e.enterCall)
	t := e.plan.targets
	if t[Ingester] {
		ingester.RegisterServer(calls, e.retire.Served())
	}
	if t[Distributor] {
		distributor.RegisterServer(calls, e.parts.Distributor)
	}
	if t[IndexGateway] {
		indexgw.RegisterServer(calls, e.parts.IndexGateway)
	}
	if t[Querier] {
		querier.RegisterServer(calls, e.parts.Querier)
	}
	if t[QueryScheduler] {
		scheduler.RegisterServer(calls, e.parts.Scheduler)
		if s, ok := e.parts.Scheduler.(*scheduler.Scheduler); ok && e.plan.pulled() {
			scheduler.RegisterDispatcher(calls, s)
		}
	}
	if t[QueryFrontend] {
		frontend.RegisterServer(calls, e.parts.Frontend)
	}
	if t[Ruler] {
		ruler.RegisterServer(calls, e.parts.Ruler)
	}
}
