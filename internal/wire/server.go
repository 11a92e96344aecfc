package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
)

// Server serves the components of a process to others. Components are registered before Serve.
type Server struct {
	*grpc.Server
	health *health.Server
}

// NewServer returns a server that counts and times its calls, turns panics into errors, and has the
// standard health service. logger and reg may be nil.
func NewServer(cfg Config, logger *slog.Logger, reg prometheus.Registerer, more ...grpc.ServerOption) (*Server, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("gRPC server: %w", err)
	}
	k, err := newCodec(cfg.Compression, cfg.MaxReceive)
	if err != nil {
		return nil, fmt.Errorf("gRPC server: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m, err := newMetrics(reg)
	if err != nil {
		return nil, fmt.Errorf("gRPC server: %w", err)
	}
	w := &watcher{log: logger, metrics: m, maxRequest: cfg.MaxRequest}
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(k),
		grpc.MaxRecvMsgSize(cfg.MaxReceive),
		grpc.MaxSendMsgSize(cfg.MaxSend),
		grpc.MaxConcurrentStreams(cfg.MaxStreams),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.InitialWindowSize(cfg.Window),
		grpc.InitialConnWindowSize(cfg.ConnWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: cfg.Keepalive, Timeout: cfg.KeepaliveTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(w.unary),
		grpc.ChainStreamInterceptor(w.stream),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	s := &Server{Server: grpc.NewServer(append(options, more...)...), health: health.NewServer()}
	grpc_health_v1.RegisterHealthServer(s.Server, s.health)
	return s, nil
}

// SetServing tells the health service whether a component is ready for calls; "" is the process as a whole.
func (s *Server) SetServing(component string, ready bool) {
	state := grpc_health_v1.HealthCheckResponse_NOT_SERVING
	if ready {
		state = grpc_health_v1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus(component, state)
}

// Serve serves connections until Shutdown. It closes l.
func (s *Server) Serve(l net.Listener) error {
	if err := s.Server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("gRPC server: %w", err)
	}
	return nil
}

// Shutdown takes no new calls, waits for those that run until ctx ends, and cancels the rest. When it
// returns no handler runs any more.
func (s *Server) Shutdown(ctx context.Context) {
	s.health.Shutdown()
	stop := context.AfterFunc(ctx, s.Server.Stop)
	defer stop()
	s.Server.GracefulStop()
	// GracefulStop may return while the handlers that Stop has cancelled are on their way out.
	s.Server.Stop()
}

// metrics have Loki's names and labels. The HTTP server has them too: whoever comes second uses what is
// there.
type metrics struct {
	duration *prometheus.HistogramVec
	panics   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "loki_request_duration_seconds",
			Help:    "Time in seconds spent serving HTTP requests.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100},
		}, []string{"method", "route", "status_code", "ws"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "loki_panic_total",
			Help: "Panics in HTTP handlers that were turned into an answer.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	var err error
	if m.duration, err = register(reg, m.duration); err != nil {
		return nil, err
	}
	m.panics, err = register(reg, m.panics)
	return m, err
}

// register registers c or returns the equal collector that is registered already.
func register[C prometheus.Collector](reg prometheus.Registerer, c C) (C, error) {
	err := reg.Register(c)
	var exists prometheus.AlreadyRegisteredError
	if errors.As(err, &exists) {
		if same, ok := exists.ExistingCollector.(C); ok {
			return same, nil
		}
	}
	return c, err
}

// watcher looks after the calls of a server.
type watcher struct {
	log        *slog.Logger
	metrics    *metrics
	maxRequest int
}

func (w *watcher) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer w.done(info.FullMethod, time.Now(), &err)
	return next(ctx, req)
}

func (w *watcher) stream(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	defer w.done(info.FullMethod, time.Now(), &err)
	if info.IsClientStream {
		s = &boundedStream{ServerStream: s, ctx: context.WithValue(s.Context(), maxRequestKey{}, w.maxRequest)}
	}
	return next(srv, s)
}

// boundedStream is a stream whose context has the bound of requests.
type boundedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *boundedStream) Context() context.Context { return s.ctx }

// done is deferred by the interceptors: it recovers, counts and times.
func (w *watcher) done(method string, begin time.Time, err *error) {
	if p := recover(); p != nil {
		w.metrics.panics.Inc()
		w.log.Error("panic in a gRPC call", "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "panic in %s: %v", method, p)
	}
	code := "success"
	if *err != nil && !errors.Is(*err, io.EOF) {
		code = statusCode(status.Code(*err))
	}
	w.metrics.duration.WithLabelValues("gRPC", method, code, "false").Observe(time.Since(begin).Seconds())
}

// statusCode names a code as the metrics of Loki do: success, error, cancel, or the code's name.
func statusCode(c codes.Code) string {
	switch c {
	case codes.OK:
		return "success"
	case codes.Canceled:
		return "cancel"
	case codes.Unknown:
		return "error"
	}
	return strings.ToLower(c.String())
}
