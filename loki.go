package loki

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"

	kitlog "github.com/go-kit/log"
	"github.com/grafana/dskit/modules"
	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"

	"example.com/loki/compactor"
	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/ruler"
	"example.com/loki/scheduler"
	"example.com/loki/store"
)

// Collaborators are what a component is built with: the components it may call and what every
// component gets. Only those that the component needs are set.
type Collaborators struct {
	Config     Config
	Limits     limits.Provider
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	Bucket objstore.Bucket // of the store, of delete requests, of rules, and of nothing else

	Store        store.Service
	IndexGateway indexgw.Service
	Ingester     ingester.Service
	Compactor    compactor.Service
	Deletes      compactor.Deletes // what queries must not see any more
	Distributor  distributor.Service
	Querier      querier.Service
	Scheduler    scheduler.Service
	Frontend     frontend.Service
	Ruler        ruler.Service

	Rulers Rulers // of all processes

	plan     *plan
	farIndex indexgw.Service // in another process

	owns        func(tenant string) bool // whether the compactor of this process works on a tenant; nil: all
	rings       map[Component]Ring
	ownIngester ingester.Service // of this process, where Ingester stands for those of all
}

// heads is where the ingester of this process lies.
func (c *Collaborators) heads() *ingester.Service {
	if c.plan.ring {
		return &c.ownIngester
	}
	return &c.Ingester
}

// Topology is a set of components to run in this process and how to build each. The zero value is of
// no use; see NewTopology. It is used by one goroutine.
type Topology struct {
	cfg       Config
	factories map[Component]factory
	targets   []Component
}

// factory builds a component, enters it in c and returns its lifecycle, nil if it has none.
type factory func(c *Collaborators) (services.Service, error)

// NewTopology returns a topology that runs all components in this process, unless Group or Component
// says which.
func NewTopology(cfg Config) *Topology {
	return &Topology{cfg: cfg, factories: map[Component]factory{}}
}

// Group adds the components of a group to those that this process runs, and returns t.
func (t *Topology) Group(g Group) *Topology { return t.Component(g.Components()...) }

// Component adds components to those that this process runs, and returns t. What they need of others is
// reached as Config.Cluster says.
func (t *Topology) Component(names ...Component) *Topology {
	t.targets = append(t.targets, names...)
	return t
}

// Option changes a topology.
type Option func(*Topology)

// With applies options and returns t.
func (t *Topology) With(options ...Option) *Topology {
	for _, o := range options {
		o(t)
	}
	return t
}

// Factory builds a host's own implementation S of a component's Service from its collaborators. build
// makes the component that it replaces, for those who want to wrap it; it is called at most once, and
// one that is not built doesn't run. An implementation that is a dskit services.Service is started after
// what it needs and stopped before it.
type Factory[S any] func(c *Collaborators, build func() (S, error)) (S, error)

// ReplaceStore makes the topology use another store.
func ReplaceStore(f Factory[store.Service]) Option {
	return replace(Store, f, buildStore, func(c *Collaborators) *store.Service { return &c.Store })
}

// ReplaceIndexGateway makes the topology use another index gateway.
func ReplaceIndexGateway(f Factory[indexgw.Service]) Option {
	return replace(IndexGateway, f, buildIndexGateway, func(c *Collaborators) *indexgw.Service { return &c.IndexGateway })
}

// ReplaceIngester makes the topology use another ingester.
func ReplaceIngester(f Factory[ingester.Service]) Option {
	return replace(Ingester, f, buildIngester, (*Collaborators).heads)
}

// ReplaceCompactor makes the topology use another compactor.
func ReplaceCompactor(f Factory[compactor.Service]) Option {
	return replace(Compactor, f, buildCompactor, func(c *Collaborators) *compactor.Service { return &c.Compactor })
}

// ReplaceDistributor makes the topology use another distributor.
func ReplaceDistributor(f Factory[distributor.Service]) Option {
	return replace(Distributor, f, buildDistributor, func(c *Collaborators) *distributor.Service { return &c.Distributor })
}

// ReplaceQuerier makes the topology use another querier.
func ReplaceQuerier(f Factory[querier.Service]) Option {
	return replace(Querier, f, buildQuerier, func(c *Collaborators) *querier.Service { return &c.Querier })
}

// ReplaceScheduler makes the topology use another query scheduler.
func ReplaceScheduler(f Factory[scheduler.Service]) Option {
	return replace(QueryScheduler, f, buildScheduler, func(c *Collaborators) *scheduler.Service { return &c.Scheduler })
}

// ReplaceFrontend makes the topology use another query frontend.
func ReplaceFrontend(f Factory[frontend.Service]) Option {
	return replace(QueryFrontend, f, buildFrontend, func(c *Collaborators) *frontend.Service { return &c.Frontend })
}

// ReplaceRuler makes the topology use another ruler than that of Config.Ruler.
func ReplaceRuler(f Factory[ruler.Service]) Option {
	return replace(Ruler, f, buildRuler, func(c *Collaborators) *ruler.Service { return &c.Ruler })
}

// replace wraps f as a factory. field is where the component lies among the collaborators.
func replace[S any](name Component, f Factory[S], build func(*Collaborators) (S, error), field func(*Collaborators) *S) Option {
	return func(t *Topology) {
		t.factories[name] = func(c *Collaborators) (services.Service, error) {
			var inner services.Service // of the component that was replaced, if it is used
			own, err := f(c, func() (S, error) {
				s, err := build(c)
				inner, _ = any(s).(services.Service)
				return s, err
			})
			if err != nil {
				return nil, err
			}
			*field(c) = own
			outer, _ := any(own).(services.Service)
			return both(inner, outer)
		}
	}
}

// both returns a service that runs the inner and the outer one; either may be nil.
func both(inner, outer services.Service) (services.Service, error) {
	switch {
	case outer == nil || outer == inner:
		return inner, nil
	case inner == nil:
		return outer, nil
	}
	// Started inside out and stopped outside in: the outer one calls the inner one.
	return services.NewIdleService(
		func(ctx context.Context) error {
			if err := services.StartAndAwaitRunning(ctx, inner); err != nil {
				return err
			}
			if err := services.StartAndAwaitRunning(ctx, outer); err != nil {
				return errors.Join(err, services.StopAndAwaitTerminated(context.Background(), inner))
			}
			return nil
		},
		func(error) error {
			ctx := context.Background()
			return errors.Join(services.StopAndAwaitTerminated(ctx, outer), services.StopAndAwaitTerminated(ctx, inner))
		}), nil
}

// standard returns the factory of the component as this module has it.
func standard[S any](build func(*Collaborators) (S, error), field func(*Collaborators) *S) factory {
	return func(c *Collaborators) (services.Service, error) {
		s, err := build(c)
		if err != nil {
			return nil, err
		}
		*field(c) = s
		life, _ := any(s).(services.Service)
		return life, nil
	}
}

// factory returns how to build a component.
func (t *Topology) factory(name Component) factory {
	if f, ok := t.factories[name]; ok {
		return f
	}
	switch name {
	case Store:
		return standard(buildStore, func(c *Collaborators) *store.Service { return &c.Store })
	case IndexGateway:
		return standard(buildIndexGateway, func(c *Collaborators) *indexgw.Service { return &c.IndexGateway })
	case Ingester:
		return standard(buildIngester, (*Collaborators).heads)
	case Ruler:
		return standard(buildRuler, func(c *Collaborators) *ruler.Service { return &c.Ruler })
	case Compactor:
		return standard(buildCompactor, func(c *Collaborators) *compactor.Service { return &c.Compactor })
	case Distributor:
		return standard(buildDistributor, func(c *Collaborators) *distributor.Service { return &c.Distributor })
	case Querier:
		return standard(buildQuerier, func(c *Collaborators) *querier.Service { return &c.Querier })
	case QueryScheduler:
		return standard(buildScheduler, func(c *Collaborators) *scheduler.Service { return &c.Scheduler })
	default:
		return standard(buildFrontend, func(c *Collaborators) *frontend.Service { return &c.Frontend })
	}
}

// Build makes an engine of the topology. It starts nothing: see Engine.Start. An engine that is not
// started must be closed all the same if it has Config.Cluster.Addresses.
func (t *Topology) Build() (*Engine, error) {
	cfg, err := t.cfg.check()
	if err != nil {
		return nil, err
	}
	targets := t.targets
	if len(targets) == 0 {
		targets = order()
	}
	for _, c := range targets {
		if !slices.Contains(order(), c) {
			return nil, fmt.Errorf("loki: there is no component %q", c)
		}
	}
	if targets, err = t.withoutRuler(targets); err != nil {
		return nil, err
	}
	p, err := newPlan(targets, cfg.Cluster, func(c Component) bool { return t.factories[c] != nil })
	if err != nil {
		return nil, err
	}
	if cfg.Dir == "" && p.here[Store] {
		return nil, errors.New("loki: Config.Dir is empty: name a folder for the engine's data")
	}
	e := newEngine(cfg, p)
	if err := t.build(e); err != nil {
		return nil, errors.Join(err, e.conns.close())
	}
	return e, nil
}

// withoutRuler leaves the ruler out of the targets if there is no way to build one: it comes with groups, and is
// only there where a host wants it.
func (t *Topology) withoutRuler(targets []Component) ([]Component, error) {
	if t.cfg.Ruler != nil || t.factories[Ruler] != nil || !slices.Contains(targets, Ruler) {
		return targets, nil
	}
	targets = slices.DeleteFunc(slices.Clone(targets), func(c Component) bool { return c == Ruler })
	if len(targets) == 0 {
		return nil, errors.New("loki: Config.Ruler is nil: there is no ruler to run; package ruler/engine has one")
	}
	return targets, nil
}

// build makes the components of an engine and what is around them.
func (t *Topology) build(e *Engine) error {
	for c, addr := range e.plan.far {
		if err := e.reach(c, addr); err != nil {
			return err
		}
	}
	if e.plan.here[Store] || e.plan.targets[Ruler] && (e.cfg.Bucket != nil || e.cfg.Dir != "") {
		if err := e.openBucket(); err != nil {
			return err
		}
	}
	manager := modules.NewManager(kitlog.NewNopLogger())
	if e.plan.gateway && !e.cfg.Cluster.IndexGatewayRing {
		manager.RegisterModule(gatewaysModule, e.gateways)
	}
	for _, name := range order() {
		if !e.plan.here[name] {
			continue
		}
		build := t.factory(name)
		manager.RegisterModule(string(name), func() (services.Service, error) {
			s, err := build(e.parts)
			if err != nil {
				return nil, fmt.Errorf("loki: build %s: %w", name, err)
			}
			if s == nil {
				s = services.NewIdleService(nil, nil)
			}
			return s, nil
		})
	}
	top, err := e.joinModules(manager)
	if err != nil {
		return err
	}
	if e.plan.gateway {
		top = append(top, gatewaysModule)
	}
	if e.plan.here[Querier] && !e.plan.here[Compactor] {
		manager.RegisterModule(deletesModule, func() (services.Service, error) { return e.deletes() })
		top = append(top, deletesModule)
	}
	for _, name := range order() {
		if !e.plan.here[name] {
			continue
		}
		top = append(top, string(name))
		for _, other := range e.plan.needs(name) {
			if err := manager.AddDependency(string(name), other); err != nil {
				return err
			}
		}
	}
	if e.plan.worker(e.cfg.Cluster) {
		manager.RegisterModule(workersModule, e.workers)
		needs := []string{string(Querier)}
		if e.cfg.Cluster.SchedulerRing {
			needs = append(needs, schedulerRing)
		}
		if err := manager.AddDependency(workersModule, needs...); err != nil {
			return err
		}
		top = append(top, workersModule)
	}
	if e.lives, err = manager.InitModuleServices(top...); err != nil {
		return err
	}
	return e.finish()
}

// reach makes the client of a component in another process.
func (e *Engine) reach(c Component, addr string) error {
	conn, err := e.conns.dial(addr)
	if err != nil {
		return err
	}
	switch c {
	case Ingester:
		e.parts.Ingester = ingester.NewClient(conn)
	case Distributor:
		e.parts.Distributor = distributor.NewClient(conn)
	case Querier:
		e.parts.Querier = querier.NewClient(conn)
	case QueryScheduler:
		e.parts.Scheduler = scheduler.NewPatientClient(conn)
	case QueryFrontend:
		e.parts.Frontend = frontend.NewClient(conn)
	}
	return nil
}

func buildStore(c *Collaborators) (store.Service, error) {
	cfg := c.Config.Store
	if cfg.CatalogFile == "" {
		cfg.CatalogFile = filepath.Join(c.Config.Dir, "catalog.db")
	}
	if cfg.Writer == "" {
		cfg.Writer = c.Config.Cluster.instance()
	}
	cfg.Digests = cfg.Digests || c.Config.Cluster.replicated()
	if cfg.RefreshInterval == 0 && !c.plan.single() {
		cfg.RefreshInterval = store.SharedRefresh
	}
	if c.plan.targets[IndexGateway] {
		if cfg.IndexDir == "" && c.Bucket.Provider() != objstore.FILESYSTEM { // that is as near as a copy would be
			cfg.IndexDir = filepath.Join(c.Config.Dir, "indexes")
		}
		if cfg.KeepIndexes == nil && c.Config.Cluster.IndexGatewayRing {
			cfg.KeepIndexes = c.standsFor
		}
	}
	return store.New(cfg, c.Bucket, c.Logger, c.Registerer)
}

func buildIndexGateway(c *Collaborators) (indexgw.Service, error) {
	if c.plan.single() {
		return indexgw.New(c.Config.IndexGateway, c.Store, c.Registerer)
	}
	return indexgw.NewShared(c.Config.IndexGateway, c.Store, c.Registerer)
}

// logDir is the folder of the ingester's write-ahead log.
func (c *Config) logDir() string { return cmp.Or(c.Ingester.Dir, filepath.Join(c.Dir, "wal")) }

func buildIngester(c *Collaborators) (ingester.Service, error) {
	cfg := c.Config.Ingester
	cfg.Dir = c.Config.logDir()
	cfg.HandoverWindow = c.handoverWindow()
	if cfg.Name == "" {
		cfg.Name = cmp.Or(c.Config.Store.Writer, c.Config.Cluster.instance())
	}
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	if cfg.StreamShare == nil && c.plan.member {
		cfg.StreamShare = func() float64 {
			v := c.rings[Ingester].View()
			return min(float64(v.ReplicationFactor())/float64(max(v.Count(), 1)), 1)
		}
	}
	return ingester.New(cfg, c.Store, c.Limits, c.Logger, c.Registerer)
}

func buildDistributor(c *Collaborators) (distributor.Service, error) {
	cfg := c.Config.Distributor
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	if cfg.Distributors == nil && c.plan.member {
		cfg.Distributors = func() int { return c.rings[Distributor].View().Count() }
	}
	return distributor.New(cfg, c.Ingester, c.Limits, c.Logger, c.Registerer)
}

func buildQuerier(c *Collaborators) (querier.Service, error) {
	index := c.IndexGateway
	if c.farIndex != nil {
		near, err := indexgw.New(c.Config.IndexGateway, c.Store, c.Registerer)
		if err != nil {
			return nil, err
		}
		index = indexgw.NewFar(c.farIndex, near, c.Config.Store.RefreshInterval)
	}
	cfg := c.Config.Querier
	cfg.HandoverWindow = c.handoverWindow()
	deletes, next, named := c.Deletes, cfg.Filter, cfg.Generation
	if c.Compactor != nil {
		deletes = c.Compactor
	}
	cfg.Generation = func(tenant string) string {
		if named != nil {
			return named(tenant) + "/" + deletes.Generation(tenant)
		}
		return deletes.Generation(tenant)
	}
	cfg.Filter = func(ctx context.Context, src logql.Source) logql.Source {
		if next != nil {
			src = next(ctx, src)
		}
		return compactor.FilterDeleted(ctx, src, deletes)
	}
	return querier.New(cfg, c.Ingester, index, c.Store, c.Limits, c.Logger, c.Registerer)
}

func buildScheduler(c *Collaborators) (scheduler.Service, error) {
	if c.plan.pulled() {
		return scheduler.New(c.Config.Scheduler, nil, c.Logger, c.Registerer)
	}
	return scheduler.New(c.Config.Scheduler, c.Querier, c.Logger, c.Registerer)
}

func buildFrontend(c *Collaborators) (frontend.Service, error) {
	cfg := c.Config.Frontend
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	if c.plan.far[QueryScheduler] != "" || c.plan.byRing || c.plan.pulled() {
		cfg.SplitTasks = true
	}
	return frontend.New(cfg, c.Scheduler, c.Querier, c.Limits, c.Logger, c.Registerer)
}
