// Command index-gateway answers from the indexes of segments, so that other processes need not hold them.
// Its configuration is config.yaml beside this file.
package main

import (
	"cmp"
	"path/filepath"
	"slices"

	"github.com/thanos-io/objstore"

	"example.com/loki/examples/internal/program"
	"example.com/loki/indexgw"
	"example.com/loki/ring"
	"example.com/loki/ring/member"
	"example.com/loki/store"
)

func main() {
	program.Program{
		Name:    "index-gateway",
		About:   "An index-gateway: it answers from the indexes of segments, so that other processes need not hold them.",
		Targets: []string{"index-gateway"},
		Build:   build, Segments: true,
	}.Main()
}

func build(p *program.Process) error {
	segments := p.Settings.Store
	if p.Bucket.Provider() != objstore.FILESYSTEM { // that is as near as a copy would be
		segments.IndexDir = cmp.Or(segments.IndexDir, filepath.Join(p.Settings.Dir, "indexes"))
	}

	// With a ring, each tenant has some of the gateways, which keep copies of its indexes.
	if p.Settings.Cluster.IndexGatewayRing {
		cluster, err := p.Cluster()
		if err != nil {
			return err
		}
		gateways, err := p.Ring(cluster, ring.ReaderConfig{
			Name: "index-gateway", ReplicationFactor: cmp.Or(p.Members.GatewayReplication, 3),
		}, "/indexgateway/ring")
		if err != nil {
			return err
		}
		segments.KeepIndexes = func(tenant string) bool {
			v := gateways.View()
			return v.Count() == 0 || slices.ContainsFunc(v.Replicas(member.Key(tenant, 0), nil, nil), func(i *member.Instance) bool {
				return i.ID == cluster.ID()
			})
		}
		if err := p.Join(cluster, ring.LifecyclerConfig{Name: "index-gateway", TokensFile: p.Members.GatewayTokensFile}); err != nil {
			return err
		}
	}
	st, err := store.New(segments, p.Bucket, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("store", st)

	// Those who ask have catalogs of their own, which may know of newer segments than this one's.
	g, err := indexgw.NewShared(p.Settings.IndexGateway, st, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("index-gateway", g)
	indexgw.RegisterServer(p.GRPC(), g)
	return nil
}
