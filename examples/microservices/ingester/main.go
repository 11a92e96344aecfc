// Command ingester keeps the newest lines in a write-ahead log and memory, and makes segments of them.
// Its configuration is config.yaml beside this file.
package main

import (
	"cmp"
	"context"
	"path/filepath"
	"time"

	"github.com/grafana/dskit/services"

	"example.com/loki/examples/internal/program"
	"example.com/loki/ingester"
	"example.com/loki/ingester/handover"
	"example.com/loki/ring"
	"example.com/loki/store"
)

func main() {
	program.Program{
		Name:    "ingester",
		About:   "An ingester: it keeps the newest lines in a write-ahead log and memory, and makes segments of them.",
		Targets: []string{"ingester"},
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

	// Several ingesters write the same lines: their names tell whose a segment is.
	segments := p.Settings.Store
	segments.Writer = cluster.ID()
	segments.Digests = p.Members.Replication > 1 // what makes copies cheap to tell apart
	st, err := store.New(segments, p.Bucket, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("store", st)

	cfg := p.Settings.Ingester
	cfg.Dir = cmp.Or(cfg.Dir, filepath.Join(p.Settings.Dir, "wal"))
	cfg.Name = cluster.ID()
	cfg.StreamShare = func() float64 { // of the streams that a tenant may have in all ingesters together
		v := ingesters.View()
		return min(float64(v.ReplicationFactor())/float64(max(v.Count(), 1)), 1)
	}
	heads, err := ingester.New(cfg, st, p.Limits, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("ingester", heads)

	// Its place on the ring is kept over a restart, because it comes back with its log; when it goes for good, what
	// it holds becomes segments first.
	h := handover.New(handover.Config{
		Dir: p.Settings.Dir, Log: cfg.Dir, Refresh: segments.RefreshInterval, DeleteTokens: p.DeleteTokens, Terminate: p.Terminate,
	}, heads, p.Log)
	place := ring.LifecyclerConfig{
		Name: "ingester", Tokens: p.Members.Tokens, TokensFile: p.Members.TokensFile, ObservePeriod: p.Members.JoinAfter,
		KeepOnShutdown: !p.Members.Unregister, BeforeLeave: h.Flush, FinalSleep: p.Members.FinalSleep,
	}
	if p.Members.Forget {
		place.ForgetAfter = 2 * cmp.Or(p.Members.Ring.HeartbeatTimeout, time.Minute)
	}
	l, err := cluster.Lifecycler(place)
	if err != nil {
		return err
	}
	// Others must not rely on copies of its lines that there are not.
	p.Add("copies", services.NewIdleService(func(ctx context.Context) error {
		return h.Raise(ctx, ingesters.View().ReplicationFactor())
	}, nil))
	p.Node.Join("ingester-member", l)
	h.SetPlace(l, program.Leave(l))
	h.Resume()
	p.Require(h.Gone)
	p.BeforeStop(h.LastFlush)

	ingester.RegisterServer(p.GRPC(), h.Served())
	p.Handle(ingester.Routes(heads, p.Log)...)
	p.HandlePages(h.Routes()...)
	return nil
}
