// Command query-scheduler keeps a fair queue between query frontends and queriers.
// Its configuration is config.yaml beside this file.
package main

import (
	"example.com/loki/examples/internal/program"
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
