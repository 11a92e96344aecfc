// Command query-scheduler keeps a fair queue between query frontends and queriers.
// Its configuration is config.yaml beside this file.
package main

import (
	"example.com/loki/examples/internal/program"
	"example.com/loki/ring"
	"example.com/loki/scheduler"
)

func main() {
	program.Program{
		Name:    "query-scheduler",
		About:   "A query-scheduler: it keeps a fair queue between query frontends and queriers.",
		Targets: []string{"query-scheduler"},
		Build:   build,
	}.Main()
}

func build(p *program.Process) error {
	// In a cluster, frontends and queriers may find it by its ring instead of an address.
	if !p.Members.Ring.Alone() {
		cluster, err := p.Cluster()
		if err != nil {
			return err
		}
		if _, err := p.Ring(cluster, ring.ReaderConfig{Name: "query-scheduler"}, "/scheduler/ring"); err != nil {
			return err
		}
		if err := p.Join(cluster, ring.LifecyclerConfig{Name: "query-scheduler"}); err != nil {
			return err
		}
	}

	// No querier of its own: queriers connect and fetch what is due.
	s, err := scheduler.New(p.Settings.Scheduler, nil, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("query-scheduler", s)
	scheduler.RegisterServer(p.GRPC(), s)     // for frontends
	scheduler.RegisterDispatcher(p.GRPC(), s) // for queriers
	return nil
}
