package loki

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/indexgw"
	"example.com/loki/ingester"
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
	calls := &guarded{next: reg, e: e}
	t := e.plan.targets
	if t[Ingester] {
		ingester.RegisterServer(calls, e.handedOver())
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

// guarded registers services whose calls the engine counts.
type guarded struct {
	next grpc.ServiceRegistrar
	e    *Engine
}

// RegisterService implements grpc.ServiceRegistrar.
func (g *guarded) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = slices.Clone(desc.Methods)
	for i := range d.Methods {
		next, enter := d.Methods[i].Handler, g.way(d.Methods[i].MethodName)
		d.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			ctx, done, err := g.begin(ctx, enter)
			if err != nil {
				return nil, err
			}
			defer done()
			return next(srv, ctx, decode, i)
		}
	}
	d.Streams = slices.Clone(desc.Streams)
	for i := range d.Streams {
		next, enter := d.Streams[i].Handler, g.way(d.Streams[i].StreamName)
		d.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			ctx, done, err := g.begin(stream.Context(), enter)
			if err != nil {
				return err
			}
			defer done()
			return next(srv, &boundStream{ServerStream: stream, ctx: ctx})
		}
	}
	g.next.RegisterService(&d, impl)
}

// way returns how calls of a method are let in: Close waits for pushes and ends all others.
func (g *guarded) way(method string) wayIn {
	if strings.HasPrefix(method, "Push") {
		return g.e.enterWrite
	}
	return g.e.enterCall
}

// wayIn is Engine.enterCall or the like.
type wayIn func(context.Context) (context.Context, func(), error)

// begin lets a call in, or says that another process should be asked.
func (g *guarded) begin(ctx context.Context, enter wayIn) (context.Context, func(), error) {
	err := g.e.Ready()
	if err == nil {
		var done func()
		if ctx, done, err = enter(ctx); err == nil {
			return ctx, done, nil
		}
	}
	return nil, nil, status.Error(codes.Unavailable, err.Error())
}

// boundStream is a stream whose context ends with the engine.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *boundStream) Context() context.Context { return s.ctx }
