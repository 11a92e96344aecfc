// Package node is what surrounds components in a process that a program has put together itself: the order in which
// they start and stop, an HTTP handler and a gRPC server that let calls in only while all of them work, connections to
// other processes, and the pages that tell how the process is. Package loki does that for whole engines; a node is for
// those who want to choose every part. Programs under examples/microservices are such.
//
//	n, err := node.New(node.Config{…})
//	conn, err := n.Dial("ingester:9095")
//	d, err := distributor.New(distributor.Config{}, ingester.NewClient(conn), limits, logger, reg)
//	n.Add("distributor", d)
//	n.Handle(routes...)                  // of distributor.Routes
//	distributor.RegisterServer(n.GRPC(), d)
//	…                                    // serve n.Handler() and n.NewServer()
//	err = n.Start(ctx)
//	err = n.Close()
//
// A node opens no port and handles no signal: that is the program's.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/gofrs/flock"
	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"example.com/loki/internal/gate"
	"example.com/loki/internal/pace"
	"example.com/loki/internal/route"
	"example.com/loki/internal/server"
	"example.com/loki/internal/wire"
)

// ErrClosed is what calls get after Close has begun, and before Start.
var ErrClosed = errors.New("node: the process does not take calls: it has not started or is stopping")

// ErrInUse means that another process uses Config.Dir.
var ErrInUse = errors.New("node: the folder is in use by another process")

// Route is an HTTP endpoint, as the Routes functions of components list them.
type Route = route.Route

// GRPC bounds what travels between processes, and holds the TLS configuration. The zero value is a good
// default, without TLS.
type GRPC = wire.Config

// Server is a gRPC server with the bounds of a GRPC, metrics, and the standard health service.
type Server = wire.Server

// Pace shares the processors of a process between pushes and other work: see the field Pace of components' Config.
type Pace = pace.Pace

// NewPace returns a pace, which all components of a process should have in common.
func NewPace() *Pace { return pace.New(0) }

// Config of a node. The zero value works: one tenant, silent, without a folder.
type Config struct {
	// Dir is a folder that no other node or engine may use at the same time. It is created if it is missing. Empty: the
	// node has none.
	Dir string
	// Tenant is who asks when AuthEnabled is false; empty means "fake". AuthEnabled makes the header X-Scope-OrgID say
	// who asks.
	Tenant      string
	AuthEnabled bool
	// Logger gets what an operator should know. nil means silence.
	Logger *slog.Logger
	// LogLevel, if set, is what /log_level shows and changes.
	LogLevel *slog.LevelVar
	// Registerer gets metrics of HTTP and gRPC, Gatherer is what /metrics serves; nil: nobody, no such endpoint.
	Registerer prometheus.Registerer
	Gatherer   prometheus.Gatherer
	// Settings and Defaults return what /config shows; nil: no such endpoint.
	Settings, Defaults func() any
	// Pprof adds /debug/pprof and /debug/fgprof.
	Pprof bool
	// Client is for connections to other processes.
	Client GRPC
}

// part is a service of a node.
type part struct {
	name string
	services.Service
}

// Node runs components. It is set up by one goroutine; from Start on its methods may be called from several.
type Node struct {
	cfg    Config
	parts  []part // in the order in which they start
	places []part // on rings
	ready  []func() error
	flush  []func() // before the parts stop
	routes []Route
	rpc    []registration
	gate   *gate.Gate
	lock   *flock.Flock

	mount   sync.Once
	handler http.Handler // set by mount

	mu      sync.Mutex
	conns   map[string]*grpc.ClientConn // guarded by mu
	started bool                        // guarded by mu
	leaving bool                        // guarded by mu: Close has begun
	closed  chan struct{}
	err     error // of Close; read after closed
}

// New returns a node without components.
func New(cfg Config) *Node {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Node{cfg: cfg, gate: gate.New(ErrClosed), closed: make(chan struct{}), conns: map[string]*grpc.ClientConn{}}
}

// Dial returns a connection to an address, to several separated by commas, or to all of a name ("dns:///host:port"):
// calls take turns among them. It connects when it is used, and ends with the node.
func (n *Node) Dial(addr string) (*grpc.ClientConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if conn, ok := n.conns[addr]; ok {
		return conn, nil
	}
	conn, err := wire.DialAll(addr, n.cfg.Client)
	if err == nil {
		n.conns[addr] = conn
	}
	return conn, err
}

// Dialer returns what makes clients of one kind for members of a ring, which come and go: each has a connection of its
// own, which whoever calls it closes. client is NewClient of a component's package.
func Dialer[S any](n *Node, client func(grpc.ClientConnInterface) S) func(addr string) (S, io.Closer, error) {
	return func(addr string) (S, io.Closer, error) {
		conn, err := wire.DialAll(addr, n.cfg.Client)
		if err != nil {
			var none S
			return none, nil, err
		}
		return client(conn), conn, nil
	}
}

// DialerAs is Dialer for addresses that were found by a name, which certificates are checked for; name may return "".
func DialerAs[S any](n *Node, client func(grpc.ClientConnInterface) S, name func(addr string) string) func(addr string) (S, io.Closer, error) {
	return func(addr string) (S, io.Closer, error) {
		var options []grpc.DialOption
		if as := name(addr); as != "" && n.cfg.Client.TLS != nil && n.cfg.Client.TLS.ServerName == "" {
			options = append(options, grpc.WithAuthority(as))
		}
		conn, err := wire.Dial(addr, n.cfg.Client, options...)
		if err != nil {
			var none S
			return none, nil, err
		}
		return client(conn), conn, nil
	}
}

// Add adds a component or something else that starts and stops: after those that were added before it, which it may
// call, and before them. What has a method Ready() error tells with it what its start is waiting for. Names are those
// of the page /services.
func (n *Node) Add(name string, s services.Service) { n.parts = append(n.parts, part{name, s}) }

// Join adds a place on a ring, such as a *ring.Lifecycler. It is taken when all components run and left first of all,
// while they still work. The node is not ready while the place's method Ready() error, if it has one, says so.
func (n *Node) Join(name string, s services.Service) { n.places = append(n.places, part{name, s}) }

// Require adds a condition for calls to be let in.
func (n *Node) Require(ready func() error) { n.ready = append(n.ready, ready) }

// BeforeStop adds what is done when no call is under way any more, and before components stop.
func (n *Node) BeforeStop(f func()) { n.flush = append(n.flush, f) }

// Handle adds endpoints of components. They answer 503 while the node is not ready; a stop ends requests under way.
func (n *Node) Handle(routes ...Route) {
	n.routes = append(n.routes, gate.HTTP(slices.Clone(routes), n.serving, n.gate.Enter)...)
}

// HandlePushes is Handle for requests that a stop lets finish.
func (n *Node) HandlePushes(routes ...Route) {
	n.routes = append(n.routes, gate.HTTP(slices.Clone(routes), n.serving, n.gate.EnterWrite)...)
}

// HandlePages adds endpoints that answer whether or not the node is ready.
func (n *Node) HandlePages(routes ...Route) { n.routes = append(n.routes, routes...) }

// registration is a gRPC service to serve.
type registration struct {
	desc *grpc.ServiceDesc
	impl any
}

// registrar keeps registrations for NewServer.
type registrar struct{ n *Node }

// RegisterService implements grpc.ServiceRegistrar.
func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	r.n.rpc = append(r.n.rpc, registration{desc, impl})
}

// GRPC is where components register what other processes may call, before NewServer. Calls are refused with Unavailable
// while the node is not ready; a stop lets pushes finish and ends all others.
func (n *Node) GRPC() grpc.ServiceRegistrar {
	return gate.GRPC(registrar{n}, n.serving, n.gate.EnterWrite, n.gate.Enter)
}

// NewServer returns a server of what was registered with GRPC. The caller runs it: Serve on a listener of its own
// before Start, Shutdown after Close.
func (n *Node) NewServer(cfg GRPC) (*Server, error) {
	n.Handler() // the metrics of HTTP are registered first: those of gRPC join them
	s, err := wire.NewServer(cfg, n.cfg.Logger, n.cfg.Registerer)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	for _, r := range n.rpc {
		s.RegisterService(r.desc, r.impl)
	}
	return s, nil
}

// Handler serves what was added, and pages that tell how the process is. It is made when everything has been added, and
// is the same handler each time.
func (n *Node) Handler() http.Handler {
	n.mount.Do(func() { n.handler = n.newHandler() })
	return n.handler
}

func (n *Node) newHandler() http.Handler {
	routes := server.StatusRoutes(server.Status{
		Ready:    func(context.Context) error { return n.Ready() },
		Gatherer: n.cfg.Gatherer,
		Config:   n.cfg.Settings,
		Defaults: n.cfg.Defaults,
		Services: n.states,
		Level:    n.cfg.LogLevel,
		Pprof:    n.cfg.Pprof,
	})
	return server.Mount(append(routes, n.routes...), server.Options{
		Tenant: n.cfg.Tenant, AuthEnabled: n.cfg.AuthEnabled, Logger: n.cfg.Logger, Registerer: n.cfg.Registerer,
	})
}

func (n *Node) states() []server.ServiceState {
	var all []server.ServiceState
	for _, p := range slices.Concat(n.parts, n.places) {
		all = append(all, server.ServiceState{Name: p.name, State: p.State().String()})
	}
	return all
}

// serving returns nil if calls can be let in.
func (n *Node) serving() error {
	if err := n.gate.Closed(); err != nil {
		return err
	}
	for _, f := range n.ready {
		if err := f(); err != nil {
			return err
		}
	}
	for _, p := range n.parts {
		if p.State() == services.Running {
			continue
		}
		if r, ok := p.Service.(interface{ Ready() error }); ok {
			if err := r.Ready(); err != nil {
				return err
			}
		}
		return fmt.Errorf("%s not ready: %s", p.name, p.State())
	}
	return nil
}

// Ready returns nil if the node works and others know it, else what it is waiting for.
func (n *Node) Ready() error {
	if err := n.serving(); err != nil {
		return err
	}
	for _, p := range n.places {
		if p.State() != services.Running {
			return fmt.Errorf("%s not ready: %s", p.name, p.State())
		}
		if r, ok := p.Service.(interface{ Ready() error }); ok {
			if err := r.Ready(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Start starts everything and waits until it runs. If that fails or ctx ends, the node is closed. A node starts once.
func (n *Node) Start(ctx context.Context) error {
	n.mu.Lock()
	if n.started || n.leaving {
		n.mu.Unlock()
		return errors.New("node: it can be started only once")
	}
	n.started = true
	n.mu.Unlock()
	if err := n.start(ctx); err != nil {
		n.Close() // what it says follows from err
		return err
	}
	return nil
}

func (n *Node) start(ctx context.Context) error {
	if n.cfg.Dir != "" {
		if err := os.MkdirAll(n.cfg.Dir, 0o750); err != nil {
			return fmt.Errorf("node: make the folder: %w", err)
		}
		lock := flock.New(filepath.Join(n.cfg.Dir, "lock"))
		if locked, err := lock.TryLock(); err != nil {
			return fmt.Errorf("node: lock the folder: %w", err)
		} else if !locked {
			return fmt.Errorf("%w: %s", ErrInUse, n.cfg.Dir)
		}
		n.lock = lock
	}
	n.gate.Open()
	for _, p := range slices.Concat(n.parts, n.places) {
		err := p.StartAsync(context.WithoutCancel(ctx)) // ctx bounds the start alone
		if err == nil {
			err = p.AwaitRunning(ctx)
		}
		if err != nil {
			if cause := p.FailureCase(); cause != nil {
				err = cause
			}
			return fmt.Errorf("node: start %s: %w", p.name, err)
		}
	}
	return nil
}

// Close stops the node: it leaves its rings, lets nobody in any more, waits for calls under way, and stops everything,
// the last that was added first. When it returns no goroutine is left. Further calls wait for the first one and return
// the same error.
func (n *Node) Close() error {
	n.mu.Lock()
	if n.leaving {
		n.mu.Unlock()
		<-n.closed
		return n.err
	}
	n.leaving = true
	n.mu.Unlock()

	var errs []error
	stop := func(all []part) {
		for _, p := range slices.Backward(all) {
			if err := services.StopAndAwaitTerminated(context.Background(), p.Service); err != nil {
				errs = append(errs, fmt.Errorf("node: stop %s: %w", p.name, err))
			}
		}
	}
	stop(n.places)
	n.gate.Shut()
	for _, f := range n.flush {
		f()
	}
	stop(n.parts)
	for _, conn := range n.conns {
		errs = append(errs, conn.Close())
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Unlock())
	}
	n.err = errors.Join(errs...)
	close(n.closed)
	return n.err
}
