// Command query-frontend takes queries from users, cuts them into tasks and merges what comes back.
// Its configuration is config.yaml beside this file.
package main

import (
	"example.com/loki"
	"example.com/loki/examples/internal/program"
	"example.com/loki/frontend"
	"example.com/loki/node"
	"example.com/loki/querier"
	"example.com/loki/ring"
	"example.com/loki/scheduler"
)

func main() {
	program.Program{
		Name:    "query-frontend",
		About:   "A query-frontend: it takes queries from users, cuts them into tasks and merges what comes back.",
		Targets: []string{"query-frontend"},
		Build:   build,
	}.Main()
}

func build(p *program.Process) error {
	// Tasks go through the schedulers; lists, volumes and tails straight to a querier.
	schedulers, err := schedulers(p)
	if err != nil {
		return err
	}
	toQuerier, err := p.Far(loki.Querier, "frontend.querier_address")
	if err != nil {
		return err
	}

	cfg := p.Settings.Frontend // its caches among it
	cfg.SplitTasks = true      // there are queriers to share a query
	f, err := frontend.New(cfg, schedulers, querier.NewClient(toQuerier), p.Limits, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("query-frontend", f)
	p.Handle(frontend.Routes(cfg, f, p.Limits, p.Log)...)
	frontend.RegisterServer(p.GRPC(), f) // for rulers
	return nil
}

// schedulers returns all schedulers as one: those of the ring, or of an address.
func schedulers(p *program.Process) (scheduler.Service, error) {
	if !p.Members.Ring.Alone() {
		cluster, err := p.Cluster()
		if err != nil {
			return nil, err
		}
		members, err := p.Ring(cluster, ring.ReaderConfig{Name: "query-scheduler"}, "/scheduler/ring")
		if err != nil {
			return nil, err
		}
		if p.Settings.Cluster.SchedulerRing {
			all := scheduler.NewPeers(members, node.Dialer(p.Node, scheduler.NewClient), p.Log)
			p.Add("query-schedulers", all)
			return all, nil
		}
	}
	conn, err := p.Far(loki.QueryScheduler, "frontend.scheduler_address, or query_scheduler.use_scheduler_ring and memberlist.join_members")
	if err != nil {
		return nil, err
	}
	return scheduler.NewPatientClient(conn), nil
}
