package loki

import (
	"fmt"
	"slices"
	"strings"
)

// Component names a part of an engine.
type Component string

// The components, in the order in which they build on each other. Each process that needs the store
// has one of its own over the common bucket.
const (
	Store          Component = "store"
	IndexGateway   Component = "index-gateway"
	Ingester       Component = "ingester"
	Compactor      Component = "compactor"
	Distributor    Component = "distributor"
	Querier        Component = "querier"
	QueryScheduler Component = "query-scheduler"
	QueryFrontend  Component = "query-frontend"
	Ruler          Component = "ruler" // runs where Config.Ruler says how to build it
)

// Group names components that often run together in one process.
type Group string

// The groups.
const (
	All     Group = "all"     // everything: one process needs no other
	Write   Group = "write"   // takes and keeps new lines: distributor, ingester
	Read    Group = "read"    // answers queries: query-frontend, querier
	Backend Group = "backend" // serves the others: query-scheduler, index-gateway, compactor, ruler
)

// Components returns what a group consists of, nil if there is no such group.
func (g Group) Components() []Component {
	switch g {
	case All:
		return order()
	case Write:
		return []Component{Distributor, Ingester}
	case Read:
		return []Component{QueryFrontend, Querier}
	case Backend:
		return []Component{QueryScheduler, IndexGateway, Compactor, Ruler}
	}
	return nil
}

// Targets returns the names that ParseTargets understands: groups first, then components.
func Targets() []string {
	names := []string{string(All), string(Write), string(Read), string(Backend)}
	for _, c := range order() {
		if c != Store {
			names = append(names, string(c))
		}
	}
	return names
}

// ParseTargets returns the components that names of groups and components stand for. An error names those
// that don't exist.
func ParseTargets(names ...string) ([]Component, error) {
	var found []Component
	var unknown []string
	for _, name := range names {
		switch {
		case !slices.Contains(Targets(), name):
			unknown = append(unknown, name)
		case Group(name).Components() != nil:
			found = append(found, Group(name).Components()...)
		default:
			found = append(found, Component(name))
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("loki: target %s does not exist; there are: %s", strings.Join(unknown, ", "), strings.Join(Targets(), ", "))
	}
	return found, nil
}

// order returns all components so that each comes after those that it needs.
func order() []Component {
	return []Component{Store, IndexGateway, Ingester, Compactor, Distributor, Querier, QueryScheduler, QueryFrontend, Ruler}
}

// needs says which others a component calls. Start and stop order follow from it: a component starts
// after those it needs and stops before them.
func needs(c Component) []Component {
	switch c {
	case IndexGateway, Ingester, Compactor:
		return []Component{Store}
	case Distributor:
		return []Component{Ingester}
	case Querier:
		return []Component{Ingester, IndexGateway, Store}
	case QueryScheduler:
		return []Component{Querier}
	case QueryFrontend:
		return []Component{QueryScheduler, Querier}
	case Ruler: // one of them: see plan.asks
		return []Component{QueryFrontend, Querier}
	}
	return nil
}

// plan is what a process runs, and what it reaches elsewhere.
type plan struct {
	targets map[Component]bool   // those whose endpoints it serves
	here    map[Component]bool   // those it builds: the targets and what they need
	far     map[Component]string // addresses of those it calls in other processes
	member  bool                 // of a cluster
	ring    bool                 // calls all ingesters of a ring rather than one
	gateway bool                 // calls index gateways of other processes
	byRing  bool                 // gives its tasks to the schedulers of a ring
}

// newPlan follows the needs of the targets. What is needed and no target is reached at its address;
// without an address it runs here too, except for ingesters: nobody else would find lines that are kept
// by an ingester that only this process knows.
func newPlan(targets []Component, cfg Cluster, replaced func(Component) bool) (*plan, error) {
	p := &plan{targets: map[Component]bool{}, here: map[Component]bool{}, far: map[Component]string{}}
	for _, c := range targets {
		p.targets[c] = true
	}
	var err error
	var visit func(c Component)
	visit = func(c Component) {
		if p.here[c] || p.far[c] != "" {
			return
		}
		if c == Ingester && cfg.Membership != nil && !p.targets[c] {
			return
		}
		if c == IndexGateway && !p.targets[c] && !replaced(c) && (cfg.IndexGatewayRing || cfg.Addresses[c] != "") {
			p.gateway = true
			return
		}
		if c == QueryScheduler && cfg.SchedulerRing && !p.targets[c] && !replaced(c) {
			p.byRing = true
			return
		}
		if !p.targets[c] && c != Store && !replaced(c) {
			if addr := cfg.Addresses[c]; addr != "" {
				p.far[c] = addr
				return
			}
			if c == Ingester {
				err = fmt.Errorf("loki: %s runs elsewhere: set Config.Cluster.Membership, or give Config.Cluster.Addresses an entry for it", c)
				return
			}
		}
		p.here[c] = true
		if c == QueryScheduler && p.pulled() {
			return // queriers fetch their tasks
		}
		for _, other := range needs(c) {
			if c != Ruler || other == p.asks(cfg) {
				visit(other)
			}
		}
	}
	for _, c := range order() {
		if p.targets[c] {
			visit(c)
		}
	}
	if err != nil {
		return nil, err
	}
	p.ring = cfg.Membership != nil && (p.here[Distributor] || p.here[Querier] || p.here[Compactor])
	p.member = cfg.Membership != nil
	return p, nil
}

// pulled tells that the scheduler of this process gives its tasks to queriers of other processes, which
// fetch them.
func (p *plan) pulled() bool { return p.targets[QueryScheduler] && !p.targets[Querier] }

// worker tells that the querier of this process fetches tasks from schedulers of others.
func (p *plan) worker(cfg Cluster) bool {
	return p.targets[Querier] && !p.targets[QueryScheduler] && (cfg.Addresses[QueryScheduler] != "" || cfg.SchedulerRing)
}

// asks is whom the ruler asks: the frontend if there is one, here or elsewhere, else a querier of its own.
func (p *plan) asks(cfg Cluster) Component {
	if p.targets[QueryFrontend] || cfg.Addresses[QueryFrontend] != "" {
		return QueryFrontend
	}
	return Querier
}

// single tells that the process is all there is.
func (p *plan) single() bool { return len(p.far) == 0 && !p.gateway && !p.member && p.everything() }

// everything tells that the process runs all components; a ruler is not missed.
func (p *plan) everything() bool {
	return !slices.ContainsFunc(order(), func(c Component) bool { return c != Ruler && !p.targets[c] })
}

// needs returns the modules of this process that a component calls.
func (p *plan) needs(c Component) []string {
	var local []string
	for _, other := range needs(c) {
		switch {
		case c == QueryScheduler && p.pulled():
		case other == Ingester && p.ring:
			local = append(local, replicasModule)
		case other == IndexGateway && p.gateway:
			local = append(local, gatewaysModule)
		case other == QueryScheduler && p.byRing:
			local = append(local, schedulersModule)
		case p.here[other]:
			local = append(local, string(other))
		}
	}
	switch {
	case c == Querier && p.here[Compactor]:
		local = append(local, string(Compactor)) // it knows what is deleted
	case c == Querier:
		local = append(local, deletesModule)
	case c == Compactor && p.ring:
		local = append(local, replicasModule, compactorRing)
	case c == Ruler && p.member:
		local = append(local, rulerRing)
	case c == Compactor && p.here[Ingester]:
		local = append(local, string(Ingester))
	}
	return local
}
