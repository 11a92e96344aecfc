package wire

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// Config bounds what travels between components. The zero value is a good default.
type Config struct {
	// MaxReceive is the largest message in bytes that is accepted. Large requests and answers are cut
	// into messages of about PieceSize, so this bounds a single log entry, not a push. 0 means 100 MiB.
	MaxReceive int

	// MaxSend is the largest message in bytes that is sent. 0 means no bound.
	MaxSend int

	// MaxRequest is the largest request in bytes that a server puts together from its messages. A larger push to an
	// ingester is stored in parts, other requests are refused. 0 means 512 MiB.
	MaxRequest int

	// MaxStreams is how many calls of one client a server works on at once; more wait. 0 means 1000.
	MaxStreams uint32

	// Window is how many bytes of one call may be on their way before its reader has read them, and
	// ConnWindow how many of all calls of a connection. 0 means 2 MiB and 16 MiB.
	Window, ConnWindow int32

	// Compression is how messages that are sent are compressed. What is received may be compressed in
	// any way.
	Compression Compression

	// Keepalive is how long a connection may be silent before the peer is asked whether it is still
	// there, and KeepaliveTimeout how long it has to answer; then all calls fail. 0 means 10s (gRPC
	// allows no less to a client) and 5s.
	Keepalive, KeepaliveTimeout time.Duration

	// TLS, if not nil, is used for all connections. A server that sets its ClientCAs and ClientAuth
	// asks clients for certificates. See package tlsfile.
	TLS *tls.Config
}

func (c Config) check() (Config, error) {
	c.MaxReceive = cmp.Or(c.MaxReceive, 100<<20)
	c.MaxSend = cmp.Or(c.MaxSend, 1<<31-1)
	c.MaxRequest = cmp.Or(c.MaxRequest, 512<<20)
	c.MaxStreams = cmp.Or(c.MaxStreams, 1000)
	c.Window = cmp.Or(c.Window, 2<<20)
	c.ConnWindow = cmp.Or(c.ConnWindow, 16<<20)
	c.Keepalive = cmp.Or(c.Keepalive, 10*time.Second)
	c.KeepaliveTimeout = cmp.Or(c.KeepaliveTimeout, 5*time.Second)
	errs := []error{c.Compression.check()}
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxReceive", int64(c.MaxReceive)}, {"MaxSend", int64(c.MaxSend)}, {"MaxRequest", int64(c.MaxRequest)},
		{"Window", int64(c.Window)}, {"ConnWindow", int64(c.ConnWindow)},
		{"Keepalive", int64(c.Keepalive)}, {"KeepaliveTimeout", int64(c.KeepaliveTimeout)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %d; it can't be negative", f.name, f.value))
		}
	}
	return c, errors.Join(errs...)
}

// maxHeaders is how large the headers of a call may be, in bytes. The details of an error travel there.
const maxHeaders = 16 << 20

// DialOptions returns the options of a client's connections.
func DialOptions(cfg Config) ([]grpc.DialOption, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("gRPC client: %w", err)
	}
	k, err := newCodec(cfg.Compression, cfg.MaxReceive)
	if err != nil {
		return nil, fmt.Errorf("gRPC client: %w", err)
	}
	creds := insecure.NewCredentials()
	if cfg.TLS != nil {
		creds = credentials.NewTLS(cfg.TLS)
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(
			grpc.ForceCodecV2(k),
			grpc.MaxCallRecvMsgSize(cfg.MaxReceive),
			grpc.MaxCallSendMsgSize(cfg.MaxSend),
		),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithInitialWindowSize(cfg.Window),
		grpc.WithInitialConnWindowSize(cfg.ConnWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: cfg.Keepalive, Timeout: cfg.KeepaliveTimeout, PermitWithoutStream: true}),
		// A peer that comes back must not be avoided for minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A connection that nobody uses for half an hour is closed by default; then the next query pays.
		grpc.WithIdleTimeout(0),
		// No configuration from DNS records.
		grpc.WithDisableServiceConfig(),
	}, nil
}

// Dial returns a connection to a server. It connects in the background, when it is first used, and again
// whenever it breaks; calls fail at once while the peer cannot be reached. The caller closes it. More
// options come last, so that they win.
func Dial(addr string, cfg Config, more ...grpc.DialOption) (*grpc.ClientConn, error) {
	options, err := DialOptions(cfg)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(addr, append(options, more...)...)
	if err != nil {
		return nil, fmt.Errorf("gRPC client of %s: %w", addr, err)
	}
	return conn, nil
}

type maxRequestKey struct{}

// defaultMaxRequest is for servers that were not made by NewServer.
const defaultMaxRequest = 512 << 20

// MaxRequest returns how large a request of several messages may become, in the context of a call that a
// server works on.
func MaxRequest(ctx context.Context) int {
	if n, ok := ctx.Value(maxRequestKey{}).(int); ok {
		return n
	}
	return defaultMaxRequest
}

// ErrRequestSize means that a request of several messages is larger than the server allows.
var ErrRequestSize = errors.New("the request is too large")

// RequestTooLarge returns an ErrRequestSize that names the bound.
func RequestTooLarge(limit int) error {
	return fmt.Errorf("%w: more than %d bytes, the MaxRequest of the server's gRPC configuration "+
		"(server.grpc_max_request_bytes of the programs); send it in smaller parts", ErrRequestSize, limit)
}
