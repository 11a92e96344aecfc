package loki

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/grafana/dskit/modules"
	"github.com/grafana/dskit/services"

	"example.com/loki/ingester"
	"example.com/loki/ingester/replicas"
	"example.com/loki/internal/route"
	"example.com/loki/internal/server"
	"example.com/loki/ring/member"
)

// Membership is how the processes of a cluster know of each other. Package cluster has one that gossips. It
// serves one engine, which starts it before all else and stops it last.
type Membership interface {
	services.Service

	// Ring returns those who run a component.
	Ring(c Component) (Ring, error)
	// Join returns what makes this process known as one that runs a component. It is started after the
	// component, and stopped while that still works; flush makes an ingester's lines independent of it, and is
	// to be called before it leaves for good. If the service has the methods Keep() bool and SetKeep(bool), they
	// tell and decide whether it stays in the ring when it stops, as one that comes back.
	Join(c Component, flush func(context.Context) error) (services.Service, error)
	// Routes are pages about the members.
	Routes() []route.Route
}

// Ring is who runs a component.
type Ring interface {
	services.Service
	member.Reader
	// Routes is a page about the ring.
	Routes(path string) []route.Route
}

// Modules around the ring.
const (
	membershipModule  = "membership"
	replicasModule    = "ingesters"
	ringSuffix        = "-ring"
	joinSuffix        = "-member"
	ingesterRing      = string(Ingester) + ringSuffix
	ingesterMember    = string(Ingester) + joinSuffix
	copiesModule      = "ingester-copies" // see handover.Raise
	distributorRing   = string(Distributor) + ringSuffix
	distributorMember = string(Distributor) + joinSuffix
	compactorRing     = string(Compactor) + ringSuffix
	compactorMember   = string(Compactor) + joinSuffix
	rulerRing         = string(Ruler) + ringSuffix
	rulerMember       = string(Ruler) + joinSuffix
	gatewayRing       = string(IndexGateway) + ringSuffix
	gatewayMember     = string(IndexGateway) + joinSuffix
	schedulerRing     = string(QueryScheduler) + ringSuffix
	schedulerMember   = string(QueryScheduler) + joinSuffix
)

// joinModules registers what belongs to the membership, with its needs, and returns the names.
func (e *Engine) joinModules(manager *modules.Manager) ([]string, error) {
	m := e.cfg.Cluster.Membership
	if m == nil {
		return nil, nil
	}
	e.rings, e.members = map[Component]Ring{}, map[Component]services.Service{}
	e.parts.rings = e.rings
	type module struct {
		build func() (services.Service, error)
		needs []string
	}
	all := map[string]module{
		membershipModule: {func() (services.Service, error) { return m, nil }, nil},
		ingesterRing:     {func() (services.Service, error) { return e.ring(Ingester) }, []string{membershipModule}},
	}
	if e.plan.ring {
		all[replicasModule] = module{e.replicas, []string{ingesterRing}}
	}
	if e.plan.targets[Ingester] {
		all[ingesterMember] = module{func() (services.Service, error) {
			return e.join(Ingester, func(ctx context.Context) error { return e.retire.Flush(ctx) })
		}, []string{membershipModule, copiesModule}}
		all[copiesModule] = module{func() (services.Service, error) {
			return services.NewIdleService(func(ctx context.Context) error {
				return e.retire.Raise(ctx, e.rings[Ingester].View().ReplicationFactor())
			}, nil), nil
		}, []string{ingesterRing, string(Ingester)}}
	}
	if e.plan.targets[Distributor] {
		all[distributorRing] = module{func() (services.Service, error) { return e.ring(Distributor) }, []string{membershipModule}}
		all[distributorMember] = module{func() (services.Service, error) { return e.join(Distributor, nil) }, []string{membershipModule, string(Distributor)}}
	}
	if e.plan.here[Compactor] {
		all[compactorRing] = module{e.compactorRing, []string{membershipModule}}
		all[compactorMember] = module{func() (services.Service, error) { return m.Join(Compactor, nil) }, []string{membershipModule, string(Compactor)}}
	}
	if e.plan.targets[Ruler] {
		all[rulerRing] = module{e.rulerRing, []string{membershipModule}}
		all[rulerMember] = module{func() (services.Service, error) { return m.Join(Ruler, nil) }, []string{membershipModule, string(Ruler)}}
	}
	if e.plan.gateway && e.cfg.Cluster.IndexGatewayRing {
		all[gatewayRing] = module{func() (services.Service, error) { return e.ring(IndexGateway) }, []string{membershipModule}}
		all[gatewaysModule] = module{e.gateways, []string{gatewayRing}}
	}
	if e.plan.byRing {
		all[schedulersModule] = module{e.schedulers, []string{schedulerRing}}
	}
	if e.plan.targets[Querier] || e.plan.targets[QueryFrontend] || e.plan.byRing {
		all[schedulerRing] = module{func() (services.Service, error) { return e.ring(QueryScheduler) }, []string{membershipModule}}
	}
	for _, c := range []Component{IndexGateway, QueryScheduler} {
		if e.plan.targets[c] {
			all[string(c)+ringSuffix] = module{func() (services.Service, error) { return e.ring(c) }, []string{membershipModule}}
			all[string(c)+joinSuffix] = module{func() (services.Service, error) { return e.join(c, nil) }, []string{membershipModule, string(c)}}
		}
	}
	var names []string
	for name, mod := range all {
		names = append(names, name)
		manager.RegisterModule(name, func() (services.Service, error) {
			s, err := mod.build()
			if err != nil {
				return nil, fmt.Errorf("loki: %w", err)
			}
			return s, nil
		})
	}
	for name, mod := range all {
		if err := manager.AddDependency(name, mod.needs...); err != nil {
			return nil, err
		}
	}
	return names, nil
}

// join makes what keeps this process in a ring.
func (e *Engine) join(c Component, flush func(context.Context) error) (services.Service, error) {
	s, err := e.cfg.Cluster.Membership.Join(c, flush)
	if err != nil {
		return nil, err
	}
	e.members[c] = s
	return s, nil
}

// ring makes the reader of a ring.
func (e *Engine) ring(c Component) (services.Service, error) {
	r, err := e.cfg.Cluster.Membership.Ring(c)
	if err != nil {
		return nil, err
	}
	e.rings[c] = r
	return r, nil
}

// compactorRing makes the reader of the ring of compactors: each tenant has one that works on it, and another as
// soon as that one is gone.
func (e *Engine) compactorRing() (services.Service, error) {
	s, err := e.ring(Compactor)
	if err != nil {
		return nil, err
	}
	self, ok := e.cfg.Cluster.Membership.(interface{ Addr() string })
	if !ok {
		return s, nil // who we are among the members is not known: all work on all
	}
	ring := e.rings[Compactor]
	e.parts.owns = func(tenant string) bool {
		o := ring.View().Owner(member.Key(tenant, 0))
		return o != nil && o.Addr == self.Addr()
	}
	return s, nil
}

// replicas makes what stands for all ingesters.
func (e *Engine) replicas() (services.Service, error) {
	r, err := replicas.New(e.cfg.Replicas, e.rings[Ingester], e.dialIngester, e.cfg.Logger, e.parts.Registerer)
	if err != nil {
		return nil, err
	}
	e.parts.Ingester = r
	return r, nil
}

// dialIngester returns the ingester at an address: that of this process directly.
func (e *Engine) dialIngester(addr string) (ingester.Service, io.Closer, error) {
	if a, ok := e.cfg.Cluster.Membership.(interface{ Addr() string }); ok && e.plan.targets[Ingester] && a.Addr() == addr {
		return e.retire.Served(), nil, nil
	}
	conn, err := (&connections{cfg: e.cfg.Cluster.GRPC}).dial(addr)
	if err != nil {
		return nil, nil, err
	}
	return ingester.NewClient(conn), conn, nil
}

// heads returns the ingester of this process.
func (e *Engine) heads() ingester.Service {
	if e.plan.ring {
		return e.parts.ownIngester
	}
	return e.parts.Ingester
}

// ringRoutes are the pages about members, as Loki has them. A process without a membership has them too, for those who
// look there: they say that it needs nobody.
func (e *Engine) ringRoutes() []route.Route {
	t := e.plan.targets
	var routes []route.Route
	if m := e.cfg.Cluster.Membership; m != nil {
		routes = m.Routes()
	} else {
		routes = server.NoGossip("/memberlist")
	}
	for _, page := range []struct {
		path string
		ring Component
		here bool
	}{
		{"/ring", Ingester, t[Distributor] || t[Ingester] || t[Querier] || t[Ruler]},
		{"/distributor/ring", Distributor, t[Distributor]},
		{"/compactor/ring", Compactor, t[Compactor]},
		{"/ruler/ring", Ruler, t[Ruler]},
		{"/indexgateway/ring", IndexGateway, t[IndexGateway]},
		{"/scheduler/ring", QueryScheduler, t[QueryScheduler] || t[Querier] || t[QueryFrontend]},
	} {
		switch {
		case !page.here:
		case e.cfg.Cluster.Membership != nil:
			routes = append(routes, e.rings[page.ring].Routes(page.path)...)
		default:
			routes = append(routes, server.NoRing(page.path, server.Lone{
				Component: string(page.ring), ID: cmp.Or(e.cfg.Name, "this process"), Address: e.cfg.Cluster.Addresses[page.ring],
				State: func() string {
					if s, ok := e.lives[string(page.ring)]; ok {
						return s.State().String()
					}
					return ""
				},
			})...)
		}
	}
	return routes
}

// joined returns nil if others know of this process, as far as there are others. Calls are answered before:
// whoever joins can be asked already.
func (e *Engine) joined() error {
	for _, name := range []string{ingesterMember, distributorMember, compactorMember, rulerMember, gatewayMember, schedulerMember} {
		if s, ok := e.lives[name]; ok && s.State() != services.Running {
			return fmt.Errorf("%s not ready: %s", name, s.State())
		}
	}
	for _, s := range e.members {
		if r, ok := s.(interface{ Ready() error }); ok {
			if err := r.Ready(); err != nil {
				return err
			}
		}
	}
	return e.seen()
}

// seen returns nil if the ring, as this process knows it, has its own ingester at work. It hears of that as the
// others do, a moment after the ingester has joined; until then its distributor may find nobody to write to.
func (e *Engine) seen() error {
	self, ok := e.cfg.Cluster.Membership.(interface{ ID() string })
	if !ok || !e.plan.targets[Ingester] {
		return nil
	}
	v := e.rings[Ingester].View()
	for _, i := range v.All() {
		if i.ID == self.ID() && v.Writable(i) {
			return nil
		}
	}
	return fmt.Errorf("%s not ready: not in the ring yet as ACTIVE", Ingester)
}

// awaitSeen waits until seen returns nil, or the ingester is no longer about to be at work.
func (e *Engine) awaitSeen(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for e.seen() != nil && e.lives[ingesterMember].State() == services.Running {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := e.gate.Closed(); err != nil {
			return err
		}
	}
	return nil
}

// leave ends the membership while everything still works, so that others go elsewhere first.
func (e *Engine) leave() {
	for _, name := range []string{gatewayMember, schedulerMember, rulerMember, compactorMember, distributorMember, ingesterMember} {
		if s, ok := e.lives[name]; ok {
			// What goes wrong is reported by stop.
			_ = services.StopAndAwaitTerminated(context.Background(), s)
		}
	}
}
