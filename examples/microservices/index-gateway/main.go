// Command index-gateway answers from the indexes of segments, so that other processes need not hold them.
// Its configuration is config.yaml beside this file.
package main

import (
	"example.com/loki/examples/internal/program"
	"example.com/loki/indexgw"
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
	st, err := store.New(p.Settings.Store, p.Bucket, p.Log, p.Metrics)
	if err != nil {
		return err
	}
	p.Add("store", st)

	// Those who ask have catalogs of their own, which may know of newer segments than this one's.
	g := indexgw.NewShared(st)
	p.Add("index-gateway", g)
	indexgw.RegisterServer(p.GRPC(), g)
	return nil
}
