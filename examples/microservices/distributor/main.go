// Command distributor takes pushes, checks them, and hands each line to the ingesters that keep it.
// Its configuration is config.yaml beside this file.
package main

import (
	"example.com/loki/distributor"
	"example.com/loki/examples/internal/program"
	"example.com/loki/ingester"
	"example.com/loki/ingester/replicas"
	"example.com/loki/node"
	"example.com/loki/ring"
)

func main() {
	program.Program{
		Name:    "distributor",
		About:   "A distributor: it takes pushes, checks them and hands each line to the ingesters that keep it.",
		Targets: []string{"distributor"},
		Build:   build,
	}.Main()
}

func build(p *program.Process) error {
	cluster, err := p.Cluster()
	if err != nil {
		return err
	}

	// All ingesters as one: a line goes to several of them, and is acknowledged when most have it.
	ingesters, err := p.Ring(cluster, ring.ReaderConfig{
		Name: "ingester", ReplicationFactor: p.Members.Replication, ZoneAware: p.Members.ZoneAware,
	}, "/ring")
	if err != nil {
		return err
	}
	heads, err := replicas.New(p.Settings.Replicas, ingesters, node.Dialer(p.Node, ingester.NewClient), p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("ingesters", heads)

	// A tenant's rate is shared out among all distributors, so each must know how many there are.
	distributors, err := p.Ring(cluster, ring.ReaderConfig{Name: "distributor"}, "/distributor/ring")
	if err != nil {
		return err
	}
	cfg := p.Settings.Distributor
	cfg.Distributors = func() int { return distributors.View().Count() }

	d, err := distributor.New(cfg, heads, p.Limits, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("distributor", d)

	routes, err := distributor.Routes(cfg, d, p.Limits, p.Log)
	if err != nil {
		return err
	}
	p.HandlePushes(routes...)
	distributor.RegisterServer(p.GRPC(), d)

	return p.Join(cluster, ring.LifecyclerConfig{Name: "distributor"})
}
