// Package wiretest connects a client and a server in memory.
package wiretest

import (
	"context"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"example.com/loki/internal/wire"
)

// Connect returns a connection to a server of what register registers, both with the default
// configuration. Both end with the test.
func Connect(t testing.TB, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	t.Helper()
	return ConnectWith(t, wire.Config{}, wire.Config{}, register)
}

// ConnectWith is Connect with configurations.
func ConnectWith(t testing.TB, client, server wire.Config, register func(grpc.ServiceRegistrar)) *grpc.ClientConn {
	t.Helper()
	p := Serve(t, server, register)
	return p.Dial(t, client)
}

// Peer is a server in memory.
type Peer struct {
	*wire.Server // nil if it was made by ServePlain
	listener     *bufconn.Listener
}

// ServePlain starts a server with the settings of gRPC. It ends with the test.
func ServePlain(t testing.TB, register func(grpc.ServiceRegistrar)) *Peer {
	t.Helper()
	s := grpc.NewServer(grpc.WaitForHandlers(true))
	register(s)
	p := &Peer{listener: bufconn.Listen(1 << 20)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(p.listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// Serve starts a server that ends with the test, if not before.
func Serve(t testing.TB, cfg wire.Config, register func(grpc.ServiceRegistrar)) *Peer {
	t.Helper()
	return ServeWith(t, cfg, nil, register)
}

// ServeWith is Serve with a registry for metrics.
func ServeWith(t testing.TB, cfg wire.Config, reg prometheus.Registerer, register func(grpc.ServiceRegistrar)) *Peer {
	t.Helper()
	s, err := wire.NewServer(cfg, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	register(s)
	p := &Peer{Server: s, listener: bufconn.Listen(1 << 20)}
	done := make(chan error, 1)
	go func() { done <- s.Serve(p.listener) }()
	t.Cleanup(func() {
		now, cancel := context.WithCancel(context.Background())
		cancel()
		s.Shutdown(now)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

// Dial connects to the server. The connection ends with the test, if not before.
func (p *Peer) Dial(t testing.TB, cfg wire.Config) *grpc.ClientConn {
	t.Helper()
	options, err := wire.DialOptions(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p.DialWith(t, options...)
}

// DialWith is Dial with options of gRPC.
func (p *Peer) DialWith(t testing.TB, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///memory", append(options, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		return p.listener.DialContext(ctx)
	}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil && status.Code(err) != codes.Canceled { // closed by the test
			t.Error(err)
		}
	})
	return conn
}
