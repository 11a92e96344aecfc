// Command ruler evaluates rules, sends alerts to Alertmanager and what is recorded to Prometheus.
// Its configuration is config.yaml beside this file.
package main

import (
	"example.com/loki"
	"example.com/loki/examples/internal/program"
	"example.com/loki/examples/internal/rules"
	"example.com/loki/frontend"
	"example.com/loki/node"
	"example.com/loki/ring"
	"example.com/loki/ruler"
	"example.com/loki/ruler/engine"
)

func main() {
	program.Program{
		Name:    "ruler",
		About:   "A ruler: it evaluates rules, sends alerts to Alertmanager and what is recorded to Prometheus.",
		Targets: []string{"ruler"},
		Build:   build, Segments: true,
	}.Main()
}

func build(p *program.Process) error {
	cluster, err := p.Cluster()
	if err != nil {
		return err
	}
	// Groups of rules are shared out among all rulers, which ask each other about those that they don't have.
	rulers, err := p.Ring(cluster, ring.ReaderConfig{Name: "ruler"}, "/ruler/ring")
	if err != nil {
		return err
	}
	if _, err := p.Ring(cluster, ring.ReaderConfig{ // its page alone
		Name: "ingester", ReplicationFactor: p.Members.Replication, ZoneAware: p.Members.ZoneAware,
	}, "/ring"); err != nil {
		return err
	}
	others := engine.Rulers{Ring: rulers, Self: cluster.Addr(), Dial: node.Dialer(p.Node, ruler.NewClient)}

	// Rules are queries like those of anybody else.
	toFrontend, err := p.Far(loki.QueryFrontend, "ruler.evaluation.query_frontend.address, and ruler.evaluation.mode: remote")
	if err != nil {
		return err
	}
	cfg, err := rules.Config(p.Config)
	if err != nil {
		return err
	}
	r, err := engine.New(cfg, rules.Store(p.Config, p.Bucket), p.Bucket, frontend.NewClient(toFrontend), others, p.Limits, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("ruler", r)
	ruler.RegisterServer(p.GRPC(), r)
	if p.Config.Ruler.EnableAPI {
		p.Handle(ruler.Routes(r, p.Log)...)
	}
	return p.Join(cluster, ring.LifecyclerConfig{Name: "ruler"})
}
