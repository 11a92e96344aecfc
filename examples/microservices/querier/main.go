// Command querier runs tasks of queries over the segments and the ingesters; it fetches them from a query scheduler.
// Its configuration is config.yaml beside this file.
package main

import (
	"context"
	"path/filepath"

	"google.golang.org/grpc"

	"example.com/loki"
	"example.com/loki/compactor"
	"example.com/loki/examples/internal/program"
	"example.com/loki/frontend"
	"example.com/loki/ingester"
	"example.com/loki/ingester/replicas"
	"example.com/loki/logql"
	"example.com/loki/node"
	"example.com/loki/querier"
	"example.com/loki/ring"
	"example.com/loki/ring/resolve"
	"example.com/loki/store"
)

func main() {
	program.Program{
		Name:    "querier",
		About:   "A querier: it runs tasks of queries over the segments and the ingesters; it fetches them from a query scheduler.",
		Targets: []string{"querier"},
		Build:   build, Segments: true,
	}.Main()
}

func build(p *program.Process) error {
	cluster, err := p.Cluster()
	if err != nil {
		return err
	}
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

	st, err := store.New(p.Settings.Store, p.Bucket, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("store", st)
	index, err := indexes(p, cluster, st)
	if err != nil {
		return err
	}

	// Rows that a delete request names are there until the compactor has removed them; nobody may see them.
	deleted := p.Settings.Deletes
	deleted.File = filepath.Join(p.Settings.Dir, "deletes.db")
	deletes, err := compactor.NewReader(deleted, p.Bucket, p.Limits, p.Log)
	if err != nil {
		return err
	}
	p.Add("delete-requests", deletes)
	cfg := p.Settings.Querier
	cfg.HandoverWindow = p.Settings.Ingester.HandoverWindow
	cfg.Generation = deletes.Generation
	cfg.Filter = func(ctx context.Context, src logql.Source) logql.Source {
		return compactor.FilterDeleted(ctx, src, deletes)
	}

	q, err := querier.New(cfg, heads, index, st, p.Limits, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("querier", q)
	querier.RegisterServer(p.GRPC(), q) // lists, volumes and tails of frontends

	// Tasks are fetched from every scheduler. A querier without one still answers for itself.
	if addr := p.Settings.Cluster.Addresses[loki.QueryScheduler]; addr != "" {
		schedulers, err := resolve.New("query-scheduler", addresses(addr), p.Log)
		if err != nil {
			return err
		}
		p.Add("query-scheduler-addresses", schedulers)
		toScheduler := node.DialerAs(p.Node, func(conn grpc.ClientConnInterface) grpc.ClientConnInterface { return conn }, schedulers.Name)
		workers, err := querier.NewWorkers(p.Settings.Worker, schedulers, toScheduler, q, p.Log)
		if err != nil {
			return err
		}
		p.Add("querier-workers", workers)
	}
	own, err := frontend.New(p.Settings.Frontend, q, q, p.Limits, p.Log, nil)
	if err != nil {
		return err
	}
	p.Add("frontend", own)
	p.Handle(frontend.QuerierRoutes(frontend.Routes(p.Settings.Frontend, own, p.Limits, p.Log))...)
	return nil
}
