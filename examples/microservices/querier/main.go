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
	"example.com/loki/ring/member"
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

	if err := workers(p, cluster, q); err != nil {
		return err
	}
	own, err := frontend.New(p.Settings.Frontend, q, q, p.Limits, p.Log, nil)
	if err != nil {
		return err
	}
	p.Add("frontend", own)
	p.Handle(frontend.QuerierRoutes(frontend.Routes(p.Settings.Frontend, own, p.Limits, p.Log))...)
	return nil
}

// workers fetches tasks from every scheduler, found by their ring or by an address. A querier without one still answers
// for itself.
func workers(p *program.Process, cluster *ring.Membership, q *querier.Querier) error {
	members, err := p.Ring(cluster, ring.ReaderConfig{Name: "query-scheduler"}, "/scheduler/ring")
	if err != nil {
		return err
	}
	plain := func(conn grpc.ClientConnInterface) grpc.ClientConnInterface { return conn }
	schedulers, dial := member.Reader(members), node.Dialer(p.Node, plain)
	if !p.Settings.Cluster.SchedulerRing {
		addr := p.Settings.Cluster.Addresses[loki.QueryScheduler]
		if addr == "" {
			return nil
		}
		found, err := resolve.New("query-scheduler", addresses(addr), p.Log)
		if err != nil {
			return err
		}
		p.Add("query-scheduler-addresses", found)
		schedulers, dial = found, node.DialerAs(p.Node, plain, found.Name)
	}
	w, err := querier.NewWorkers(p.Settings.Worker, schedulers, dial, q, p.Log)
	if err != nil {
		return err
	}
	p.Add("querier-workers", w)
	return nil
}
