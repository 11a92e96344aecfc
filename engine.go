package loki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"

	"github.com/gofrs/flock"
	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/tenant"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/ingester/handover"
	"example.com/loki/internal/gate"
	"example.com/loki/internal/pace"
)

// Engine is a running log engine. Its methods may be called from several goroutines.
type Engine struct {
	cfg      Config
	plan     *plan
	parts    *Collaborators
	write    distributor.Service // never nil
	read     frontend.Service    // never nil
	conns    *connections
	rings    map[Component]Ring
	members  map[Component]services.Service // this process in these rings
	retire   *handover.Handover             // of the ingester of this process; nil without one
	own      *prometheus.Registry
	host     prometheus.Registerer // where own is registered, nil before Start and without Config.Registerer
	lives    map[string]services.Service
	lock     *flock.Flock // of Config.Dir, held from Start to Close; nil without a folder
	handler  http.Handler
	slog     *slogSink
	slogDone sync.WaitGroup

	gate *gate.Gate

	mu      sync.Mutex // guards started, leaving and host
	started bool
	leaving bool          // Close has begun
	closed  chan struct{} // closed when Close has finished
	err     error         // of Close; read after closed
}

// Open opens an engine on a folder, replays what its write-ahead log holds and returns when it is ready.
// An error says what to do; nothing is left open then.
func Open(cfg Config) (*Engine, error) {
	e, err := NewTopology(cfg).Build()
	if err != nil {
		return nil, err
	}
	if err := e.Start(context.Background()); err != nil {
		return nil, err
	}
	return e, nil
}

func newEngine(cfg Config, p *plan) *Engine {
	own := prometheus.NewRegistry()
	shared := pace.New(0)
	for _, p := range []**pace.Pace{&cfg.Distributor.Pace, &cfg.Ingester.Pace, &cfg.Querier.Pace, &cfg.Compactor.Pace} {
		if *p == nil {
			*p = shared
		}
	}
	e := &Engine{
		cfg: cfg, plan: p, own: own, closed: make(chan struct{}),
		parts: &Collaborators{Config: cfg, Limits: cfg.Limits, Logger: cfg.Logger, Registerer: own, plan: p},
		conns: &connections{cfg: cfg.Cluster.GRPC},
		write: absent{}, read: absent{}, gate: gate.New(ErrClosed),
	}
	return e
}

// finish is called when the components are built.
func (e *Engine) finish() error {
	if e.parts.Distributor != nil {
		e.write = e.parts.Distributor
	}
	if e.cfg.Dir != "" {
		e.lock = flock.New(filepath.Join(e.cfg.Dir, "lock"))
	}
	e.slog = newSlogSink(e.cfg, e.write.Push, e.own)
	var err error
	switch {
	case e.parts.Frontend != nil:
		e.read = e.parts.Frontend
	case e.parts.Querier != nil: // its own tasks alone: no splitting, no queue
		e.read, err = frontend.New(e.cfg.Frontend, e.parts.Querier, e.parts.Querier, e.cfg.Limits, e.cfg.Logger, nil)
	}
	if err != nil {
		return err
	}
	e.newHandover()
	e.handler, err = e.newHandler()
	return err
}

// Start starts an engine made by Topology.Build and waits until it is ready. Until then its handler
// answers /ready with what is going on, and refuses everything else with 503. If Start fails or ctx
// ends, the engine is closed. An engine starts once.
func (e *Engine) Start(ctx context.Context) error {
	e.mu.Lock()
	if e.started || e.leaving {
		e.mu.Unlock()
		return errors.New("loki: an engine can be started only once; open another one")
	}
	e.started = true
	e.gate.Open()
	e.mu.Unlock()

	if err := e.start(ctx); err != nil {
		e.Close() // what it says follows from err
		return err
	}
	return nil
}

func (e *Engine) start(ctx context.Context) error {
	if err := e.lockDir(); err != nil {
		return err
	}
	if e.cfg.Registerer != nil {
		host := e.cfg.Registerer
		if e.cfg.Name != "" {
			host = prometheus.WrapRegistererWith(prometheus.Labels{"engine": e.cfg.Name}, host)
		}
		if err := host.Register(e.own); err != nil {
			return fmt.Errorf("loki: the metrics of this engine clash with others of Config.Registerer; give each engine a Name of its own: %w", err)
		}
		e.mu.Lock()
		e.host = host
		e.mu.Unlock()
	}
	e.slogDone.Go(e.slog.run)
	if e.retire != nil {
		e.retire.Resume()
	}

	// Modules wait for what they need by themselves, so all are started at once. ctx bounds the start alone.
	for _, s := range e.lives {
		if err := s.StartAsync(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
	for _, name := range e.names() {
		if err := e.lives[name].AwaitRunning(ctx); err != nil {
			return e.cause(err)
		}
	}
	return e.awaitSeen(ctx)
}

// lockDir makes sure that no other engine uses the folder.
func (e *Engine) lockDir() error {
	if e.lock == nil {
		return nil
	}
	if err := os.MkdirAll(e.cfg.Dir, 0o750); err != nil {
		return fmt.Errorf("loki: make the engine's folder: %w", err)
	}
	if locked, err := e.lock.TryLock(); err != nil {
		return fmt.Errorf("loki: lock the engine's folder: %w", err)
	} else if !locked {
		return fmt.Errorf("%w: %s", ErrInUse, e.cfg.Dir)
	}
	return nil
}

// cause returns why the engine failed to start: the error of the component that failed itself rather than
// of those that waited for it.
func (e *Engine) cause(err error) error {
	if err := e.gate.Closed(); err != nil {
		return err
	}
	for _, name := range order() {
		if s, ok := e.lives[string(name)]; ok && s.State() == services.Failed {
			return fmt.Errorf("loki: start %s: %w", name, s.FailureCase())
		}
	}
	return fmt.Errorf("loki: start: %w", err)
}

func (e *Engine) names() []string {
	names := make([]string, 0, len(e.lives))
	for name := range e.lives {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Ready returns nil if the engine can take pushes and queries, else what it is waiting for.
func (e *Engine) Ready() error {
	if err := e.gate.Closed(); err != nil {
		return err
	}
	if e.retire != nil {
		if err := e.retire.Gone(); err != nil {
			return err
		}
	}
	for _, name := range order() {
		s, ok := e.lives[string(name)]
		if !ok || s.State() == services.Running {
			continue
		}
		if r, ok := e.parts.Ingester.(interface{ Ready() error }); ok && name == Ingester {
			if err := r.Ready(); err != nil {
				return err // how far the replay of the log is
			}
		}
		return fmt.Errorf("%s not ready: %s", name, s.State())
	}
	return nil
}

// Close stops the engine: queries and tails under way end with an error, pushes under way are
// finished, slog records that are buffered are written, all files are closed and all goroutines have
// ended when it returns. What has not been cut into segments stays in the write-ahead log for the next
// Open. Further calls wait for the first one and return the same error.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.leaving {
		e.mu.Unlock()
		<-e.closed
		return e.err
	}
	e.leaving = true
	started, host := e.started, e.host
	e.mu.Unlock()

	if started {
		e.leave()
	}
	e.gate.Shut()
	e.slog.stop()
	e.slogDone.Wait()
	if started {
		if e.retire != nil {
			e.retire.LastFlush()
		}
		e.err = e.stop()
	}
	if host != nil {
		host.Unregister(e.own)
	}
	if e.lock != nil {
		e.err = errors.Join(e.err, e.lock.Unlock())
	}
	e.err = errors.Join(e.err, e.conns.close())
	close(e.closed)
	return e.err
}

func (e *Engine) stop() error {
	for _, s := range e.lives {
		s.StopAsync()
	}
	var errs []error
	for _, name := range e.names() {
		s := e.lives[name]
		if err := s.AwaitTerminated(context.Background()); err != nil && s.State() == services.Failed {
			errs = append(errs, fmt.Errorf("loki: stop %s: %w", name, s.FailureCase()))
		}
	}
	return errors.Join(errs...)
}

// enter begins a call: it returns a context that carries a tenant and ends with the engine, and a
// function that must be called at the end.
func (e *Engine) enter(ctx context.Context) (context.Context, func(), error) {
	ctx, err := e.withTenant(ctx)
	if err != nil {
		return nil, nil, err
	}
	return e.enterCall(ctx)
}

// enterPush is enter for calls that Close lets finish.
func (e *Engine) enterPush(ctx context.Context) (context.Context, func(), error) {
	ctx, err := e.withTenant(ctx)
	if err != nil {
		return nil, nil, err
	}
	return e.enterWrite(ctx)
}

// enterCall is enter for calls of other processes, which carry their tenant elsewhere.
func (e *Engine) enterCall(ctx context.Context) (context.Context, func(), error) {
	return e.gate.Bound(e.enterWrite)(ctx)
}

// enterWrite is enterCall for calls that Close lets finish.
func (e *Engine) enterWrite(ctx context.Context) (context.Context, func(), error) {
	if e.retire != nil && e.retire.Gone() != nil {
		return nil, nil, ErrClosed
	}
	return e.gate.EnterWrite(ctx)
}

// withTenant makes sure that a context carries a valid tenant.
func (e *Engine) withTenant(ctx context.Context) (context.Context, error) {
	id, err := user.ExtractOrgID(ctx)
	if err != nil {
		return user.InjectOrgID(ctx, e.cfg.Tenant), nil
	}
	ids := []string{id}
	if e.cfg.Frontend.MultiTenant {
		ids = strings.Split(id, "|")
	}
	for _, id := range ids {
		if err := tenant.ValidTenantID(id); err != nil {
			return nil, fmt.Errorf("loki: %w", err)
		}
	}
	return ctx, nil
}

// WithTenant returns a context whose calls belong to a tenant: 1 to 150 letters, digits and any of
// ! - _ . * ' ( ) but neither "." nor "..".
func WithTenant(ctx context.Context, id string) context.Context {
	return user.InjectOrgID(ctx, id)
}
