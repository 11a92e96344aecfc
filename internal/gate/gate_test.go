package gate

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// registrar keeps the description of a service.
type registrar struct{ desc *grpc.ServiceDesc }

func (r *registrar) RegisterService(d *grpc.ServiceDesc, _ any) { r.desc = d }

type stream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

// TestShutDuringCall ends calls by shutting the gate and by cancelling them: only in the first case another process is to
// be asked, whatever the service says.
func TestShutDuringCall(t *testing.T) {
	for _, shut := range []bool{true, false} {
		g := New(errors.New("closed"))
		g.Open()
		inside := make(chan struct{}, 2)
		wait := func(ctx context.Context) error {
			inside <- struct{}{}
			<-ctx.Done()
			return errors.New("the service's own words")
		}
		var r registrar
		GRPC(&r, func() error { return nil }, g.EnterWrite, g.Enter).RegisterService(&grpc.ServiceDesc{
			Methods: []grpc.MethodDesc{{MethodName: "Ask", Handler: func(_ any, ctx context.Context, _ func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				return nil, wait(ctx)
			}}},
			Streams: []grpc.StreamDesc{{StreamName: "Run", Handler: func(_ any, s grpc.ServerStream) error { return wait(s.Context()) }}},
		}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		go func() {
			_, err := r.desc.Methods[0].Handler(nil, ctx, nil, nil)
			ended <- err
		}()
		go func() { ended <- r.desc.Streams[0].Handler(nil, stream{ctx: ctx}) }()
		<-inside
		<-inside
		want := codes.Unknown
		if shut {
			g.Shut()
			want = codes.Unavailable
		}
		cancel()
		for range 2 {
			if err := <-ended; status.Code(err) != want {
				t.Errorf("shut=%v: a call ends with %v, want the code %s", shut, err, want)
			}
		}
		g.Shut()
	}
}
