package loki

import (
	"context"
	"net/http"

	"example.com/loki/compactor"
	"example.com/loki/distributor"
	"example.com/loki/frontend"
	"example.com/loki/ingester"
	"example.com/loki/internal/gate"
	"example.com/loki/internal/route"
	"example.com/loki/internal/server"
	"example.com/loki/ruler"
)

// Handler returns Loki's HTTP API: pushes, queries, tails, and what operators look at. It is the same
// handler each time; before Start has finished and after Close it answers 503. It can be mounted at any
// prefix with http.StripPrefix.
func (e *Engine) Handler() http.Handler { return e.handler }

func (e *Engine) newHandler() (http.Handler, error) {
	gatherer := e.cfg.Gatherer
	if gatherer == nil {
		gatherer = e.own
	}
	effective, defaults := e.cfg.Effective, e.cfg.Defaults
	if effective == nil {
		effective = func() any { return e.cfg }
	}
	if defaults == nil {
		defaults = func() any { return Config{} }
	}
	routes := server.StatusRoutes(server.Status{
		Ready: func(context.Context) error {
			if err := e.Ready(); err != nil {
				return err
			}
			return e.joined()
		},
		Gatherer: gatherer,
		Config:   effective,
		Defaults: defaults,
		Services: e.states,
		Level:    e.cfg.LogLevel,
		Pprof:    e.cfg.Pprof,
	})
	if e.plan.targets[Distributor] {
		pushes, err := distributor.Routes(e.cfg.Distributor, e.parts.Distributor, e.cfg.Limits, e.cfg.Logger)
		if err != nil {
			return nil, err
		}
		routes = append(routes, e.guard(e.enterPush, pushes)...)
	}
	if e.plan.targets[Ingester] {
		routes = append(routes, e.guard(e.enter, ingester.Routes(e.heads(), e.cfg.Logger))...)
		routes = append(routes, gate.HTTP(e.retire.Routes(), func() error { return nil }, e.gate.EnterWrite)...)
	}
	if e.plan.targets[Compactor] {
		routes = append(routes, e.guard(e.enter, compactor.Routes(e.parts.Compactor, e.cfg.Now, e.cfg.Logger))...)
	}
	if e.plan.targets[Ruler] && !e.cfg.HideRules {
		routes = append(routes, e.guard(e.enter, ruler.Routes(e.parts.Ruler, e.cfg.Logger))...)
	}
	reads := frontend.Routes(e.cfg.Frontend, e.read, e.cfg.Limits, e.cfg.Logger)
	switch {
	case e.plan.targets[QueryFrontend]:
	case e.plan.targets[Querier]:
		reads = frontend.QuerierRoutes(reads)
	default:
		reads = frontend.CommonRoutes(reads)
	}
	routes = append(routes, e.guard(e.enter, reads)...)
	routes = append(routes, e.ringRoutes()...)
	return server.Mount(routes, server.Options{
		Tenant:      e.cfg.Tenant,
		AuthEnabled: e.cfg.AuthEnabled,
		Logger:      e.cfg.Logger,
		Registerer:  e.own,
	}), nil
}

// states lists the components and how they are.
func (e *Engine) states() []server.ServiceState {
	var all []server.ServiceState
	for _, name := range order() {
		if s, ok := e.lives[string(name)]; ok {
			all = append(all, server.ServiceState{Name: string(name), State: s.State().String()})
		}
	}
	return all
}

// guard makes routes refuse requests while the engine can't serve them, and counts those under way, so
// that Close waits for them.
func (e *Engine) guard(enter gate.Way, routes []route.Route) []route.Route {
	return gate.HTTP(routes, e.Ready, enter)
}
