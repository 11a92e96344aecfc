// Command compactor merges segments, drops what is expired and removes what is deleted.
// Its configuration is config.yaml beside this file.
package main

import (
	"cmp"
	"path/filepath"
	"time"

	"example.com/loki/compactor"
	"example.com/loki/examples/internal/program"
	"example.com/loki/ingester"
	"example.com/loki/ingester/replicas"
	"example.com/loki/node"
	"example.com/loki/ring"
	"example.com/loki/ring/member"
	"example.com/loki/store"
)

func main() {
	program.Program{
		Name:    "compactor",
		About:   "A compactor: it merges segments, drops what is expired and removes what is deleted.",
		Targets: []string{"compactor"},
		Build:   build, Segments: true,
	}.Main()
}

func build(p *program.Process) error {
	cluster, err := p.Cluster()
	if err != nil {
		return err
	}
	st, err := store.New(p.Settings.Store, p.Bucket, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("store", st)

	// Of several compactors, each tenant has one that works on it, and another as soon as that one is gone.
	compactors, err := p.Ring(cluster, ring.ReaderConfig{Name: "compactor"}, "/compactor/ring")
	if err != nil {
		return err
	}
	cfg := p.Settings.Compactor
	cfg.Owns = func(tenant string) bool {
		o := compactors.View().Owner(member.Key(tenant, 0))
		return o != nil && o.Addr == cluster.Addr()
	}

	// A delete request also reaches rows that ingesters hold: these become segments first.
	ingesters, err := p.Ring(cluster, ring.ReaderConfig{
		Name: "ingester", ReplicationFactor: p.Members.Replication, ZoneAware: p.Members.ZoneAware,
	}, "")
	if err != nil {
		return err
	}
	heads, err := replicas.New(p.Settings.Replicas, ingesters, node.Dialer(p.Node, ingester.NewClient), p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("ingesters", heads)
	cfg.Flush = heads.Flush

	// Ingesters may answer from a new segment themselves within that time: it must not go meanwhile.
	cfg.MinAge = cmp.Or(cfg.MinAge, p.Settings.Ingester.HandoverWindow+5*time.Minute)
	cfg.File = filepath.Join(p.Settings.Dir, "deletes.db")
	c, err := compactor.New(cfg, st, p.Bucket, p.Limits, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("compactor", c)
	p.Handle(compactor.Routes(c, time.Now, p.Log)...)
	return p.Join(cluster, ring.LifecyclerConfig{Name: "compactor"})
}
