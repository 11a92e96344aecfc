// Package gate lets calls into a process while it works, and waits for those under way when it stops.
package gate

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/route"
)

// Gate counts calls. Its methods may be called from several goroutines.
type Gate struct {
	closed error // what calls get that are not let in

	ctx    context.Context // done when Shut begins
	cancel context.CancelFunc

	mu    sync.Mutex // guards open and shut
	open  bool
	shut  bool
	calls sync.WaitGroup // calls under way; added to under mu while not shut
}

// New returns a gate that lets nobody in before Open. closed is the error of calls that are not let in.
func New(closed error) *Gate {
	g := &Gate{closed: closed}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g
}

// Open lets calls in, unless the gate was shut.
func (g *Gate) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = true
}

// Shut lets no call in any more, cancels those that were let in by Enter, and returns when all have ended.
func (g *Gate) Shut() {
	g.mu.Lock()
	g.shut = true
	g.mu.Unlock()
	g.cancel()
	g.calls.Wait()
}

// Closed returns the error of New once Shut has begun.
func (g *Gate) Closed() error {
	if g.ctx.Err() != nil {
		return g.closed
	}
	return nil
}

// Way is Enter or EnterWrite: how a call is let in. The function that it returns must be called at the end.
type Way func(ctx context.Context) (context.Context, func(), error)

// EnterWrite lets in a call that Shut lets finish.
func (g *Gate) EnterWrite(ctx context.Context) (context.Context, func(), error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut || !g.open {
		return nil, nil, g.closed
	}
	g.calls.Add(1)
	return ctx, g.calls.Done, nil
}

// Enter lets in a call whose context ends when Shut begins.
func (g *Gate) Enter(ctx context.Context) (context.Context, func(), error) {
	return g.Bound(g.EnterWrite)(ctx)
}

// Bound returns a way whose contexts end when Shut begins.
func (g *Gate) Bound(enter Way) Way {
	return func(ctx context.Context) (context.Context, func(), error) {
		ctx, done, err := enter(ctx)
		if err != nil {
			return nil, nil, err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		stop := context.AfterFunc(g.ctx, func() { cancel(g.closed) })
		return ctx, func() {
			stop()
			cancel(nil)
			done()
		}, nil
	}
}

// HTTP makes routes refuse requests with 503 while ready returns an error or they are not let in.
func HTTP(routes []route.Route, ready func() error, enter Way) []route.Route {
	for i := range routes {
		next := routes[i].Handler
		routes[i].Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			err := ready()
			if err == nil {
				var ctx context.Context
				var done func()
				if ctx, done, err = enter(r.Context()); err == nil {
					defer done()
					next.ServeHTTP(w, r.WithContext(ctx))
					return
				}
			}
			w.Header().Set("Retry-After", "1")
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		})
	}
	return routes
}

// GRPC returns a registrar of services whose calls are refused with Unavailable while ready returns an error or they
// are not let in: pushes by write, all others by call. Those that fail because the gate has ended their context end so too.
func GRPC(next grpc.ServiceRegistrar, ready func() error, write, call Way) grpc.ServiceRegistrar {
	return &guarded{next: next, ready: ready, write: write, call: call}
}

type guarded struct {
	next        grpc.ServiceRegistrar
	ready       func() error
	write, call Way
}

// RegisterService implements grpc.ServiceRegistrar.
func (g *guarded) RegisterService(desc *grpc.ServiceDesc, impl any) {
	d := *desc
	d.Methods = slices.Clone(desc.Methods)
	for i := range d.Methods {
		next, enter := d.Methods[i].Handler, g.way(d.Methods[i].MethodName)
		d.Methods[i].Handler = func(srv any, caller context.Context, decode func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			ctx, done, err := g.begin(caller, enter)
			if err != nil {
				return nil, err
			}
			defer done()
			answer, err := next(srv, ctx, decode, i)
			return answer, cutShort(caller, ctx, err)
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
			return cutShort(stream.Context(), ctx, next(srv, &boundStream{ServerStream: stream, ctx: ctx}))
		}
	}
	g.next.RegisterService(&d, impl)
}

// way returns how calls of a method are let in.
func (g *guarded) way(method string) Way {
	if strings.HasPrefix(method, "Push") {
		return g.write
	}
	return g.call
}

// begin lets a call in, or says that another process should be asked.
func (g *guarded) begin(ctx context.Context, enter Way) (context.Context, func(), error) {
	err := g.ready()
	if err == nil {
		var done func()
		if ctx, done, err = enter(ctx); err == nil {
			return ctx, done, nil
		}
	}
	return nil, nil, status.Error(codes.Unavailable, err.Error())
}

// cutShort returns what a call in ctx ends with that has failed with err: what calls get that are not let in, if it was
// the gate that ended it and not the caller. Whatever the service makes of that, another process should be asked.
func cutShort(caller, ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || caller.Err() != nil {
		return err
	}
	return status.Error(codes.Unavailable, context.Cause(ctx).Error())
}

// boundStream is a stream with another context.
type boundStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s *boundStream) Context() context.Context { return s.ctx }
