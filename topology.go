package loki

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	kitlog "github.com/go-kit/log"
	"github.com/grafana/dskit/modules"
	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/limits"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
	"example.com/loki/store"
)

// Component names a part of an engine.
type Component string

// The components, in the order in which they build on each other.
const (
	Store          Component = "store"
	IndexGateway   Component = "index-gateway"
	Ingester       Component = "ingester"
	Distributor    Component = "distributor"
	Querier        Component = "querier"
	QueryScheduler Component = "query-scheduler"
	QueryFrontend  Component = "query-frontend"
)

// order returns all components so that each comes after those that it needs.
func order() []Component {
	return []Component{Store, IndexGateway, Ingester, Distributor, Querier, QueryScheduler, QueryFrontend}
}

// needs says which others a component calls. Start and stop order follow from it: a component starts
// after those it needs and stops before them.
func needs(c Component) []Component {
	switch c {
	case IndexGateway, Ingester:
		return []Component{Store}
	case Distributor:
		return []Component{Ingester}
	case Querier:
		return []Component{Ingester, IndexGateway, Store}
	case QueryScheduler:
		return []Component{Querier}
	case QueryFrontend:
		return []Component{QueryScheduler, Querier}
	}
	return nil
}

// Collaborators are what a component is built with: the components it may call and what every
// component gets. Only those that the component needs are set.
type Collaborators struct {
	Config     Config
	Limits     limits.Provider
	Logger     *slog.Logger
	Registerer prometheus.Registerer

	Store        store.Service
	IndexGateway indexgw.Service
	Ingester     ingester.Service
	Distributor  distributor.Service
	Querier      querier.Service
	Scheduler    scheduler.Service
	Frontend     frontend.Service
}

// Topology is a set of components to run in this process and how to build each. The zero value is of
// no use; see NewTopology. It is used by one goroutine.
type Topology struct {
	cfg       Config
	factories map[Component]factory
}

// factory builds a component, enters it in c and returns its lifecycle, nil if it has none.
type factory func(c *Collaborators) (services.Service, error)

// NewTopology returns a topology that runs all components in this process.
func NewTopology(cfg Config) *Topology {
	return &Topology{cfg: cfg, factories: map[Component]factory{}}
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
	return replace(Ingester, f, buildIngester, func(c *Collaborators) *ingester.Service { return &c.Ingester })
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
		return standard(buildIngester, func(c *Collaborators) *ingester.Service { return &c.Ingester })
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

// Build makes an engine of the topology. It opens nothing and starts nothing: see Engine.Start.
func (t *Topology) Build() (*Engine, error) {
	cfg, err := t.cfg.check()
	if err != nil {
		return nil, err
	}
	own := prometheus.NewRegistry()
	parts := &Collaborators{Config: cfg, Limits: cfg.Limits, Logger: cfg.Logger, Registerer: own}
	manager := modules.NewManager(kitlog.NewNopLogger())
	for _, name := range order() {
		build := t.factory(name)
		manager.RegisterModule(string(name), func() (services.Service, error) {
			s, err := build(parts)
			if err != nil {
				return nil, fmt.Errorf("loki: build %s: %w", name, err)
			}
			if s == nil {
				s = services.NewIdleService(nil, nil)
			}
			return s, nil
		})
	}
	for _, name := range order() {
		for _, other := range needs(name) {
			if err := manager.AddDependency(string(name), string(other)); err != nil {
				return nil, err
			}
		}
	}
	lives, err := manager.InitModuleServices(string(Distributor), string(QueryFrontend))
	if err != nil {
		return nil, err
	}
	return newEngine(cfg, parts, own, lives)
}

func buildStore(c *Collaborators) (store.Service, error) {
	cfg := c.Config.Store
	if cfg.CatalogFile == "" {
		cfg.CatalogFile = filepath.Join(c.Config.Dir, "catalog.db")
	}
	bucket := c.Config.Bucket
	if bucket == nil {
		var err error
		if bucket, err = store.NewFilesystemBucket(filepath.Join(c.Config.Dir, "store")); err != nil {
			return nil, err
		}
	}
	return store.New(cfg, bucket, c.Logger, c.Registerer)
}

func buildIndexGateway(c *Collaborators) (indexgw.Service, error) {
	return indexgw.New(c.Store), nil
}

func buildIngester(c *Collaborators) (ingester.Service, error) {
	cfg := c.Config.Ingester
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(c.Config.Dir, "wal")
	}
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	return ingester.New(cfg, c.Store, c.Limits, c.Logger, c.Registerer)
}

func buildDistributor(c *Collaborators) (distributor.Service, error) {
	cfg := c.Config.Distributor
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	return distributor.New(cfg, c.Ingester, c.Limits, c.Logger, c.Registerer)
}

func buildQuerier(c *Collaborators) (querier.Service, error) {
	return querier.New(c.Config.Querier, c.Ingester, c.IndexGateway, c.Store, c.Limits, c.Logger, c.Registerer)
}

func buildScheduler(c *Collaborators) (scheduler.Service, error) {
	return scheduler.New(c.Config.Scheduler, c.Querier, c.Logger, c.Registerer)
}

func buildFrontend(c *Collaborators) (frontend.Service, error) {
	cfg := c.Config.Frontend
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	return frontend.New(cfg, c.Scheduler, c.Querier, c.Limits, c.Logger, c.Registerer)
}
