package main

import (
	"cmp"
	"strings"

	"example.com/loki"
	"example.com/loki/examples/internal/program"
	"example.com/loki/indexgw"
	"example.com/loki/node"
	"example.com/loki/ring"
	"example.com/loki/ring/resolve"
	"example.com/loki/store"
)

// indexes returns what knows the indexes of segments: gateways if there are any, found by their ring or by an address,
// and the store of this process where none of them can answer.
func indexes(p *program.Process, cluster *ring.Membership, st *store.Store) (indexgw.Service, error) {
	near, err := indexgw.New(p.Settings.IndexGateway, st, p.Metrics)
	if err != nil {
		return nil, err
	}
	p.Add("index", near)
	var gateways *indexgw.Peers
	if p.Settings.Cluster.IndexGatewayRing {
		members, err := p.Ring(cluster, ring.ReaderConfig{Name: "index-gateway", ReplicationFactor: cmp.Or(p.Members.GatewayReplication, 3)}, "")
		if err != nil {
			return nil, err
		}
		gateways, err = indexgw.NewPeers(p.Settings.IndexGateways, members, node.Dialer(p.Node, indexgw.NewClient), p.Log)
		if err != nil {
			return nil, err
		}
	} else {
		addr := p.Settings.Cluster.Addresses[loki.IndexGateway]
		if addr == "" {
			return near, nil
		}
		found, err := resolve.New("index gateway", addresses(addr), p.Log)
		if err != nil {
			return nil, err
		}
		p.Add("index-gateway-addresses", found)
		gateways, err = indexgw.NewPeers(p.Settings.IndexGateways, found, node.DialerAs(p.Node, indexgw.NewClient, found.Name), p.Log)
		if err != nil {
			return nil, err
		}
	}
	p.Add("index-gateways", gateways)
	return indexgw.NewFar(gateways, near, p.Settings.Store.RefreshInterval), nil
}

// addresses returns the members of a list.
func addresses(list string) []string { return strings.Split(strings.ReplaceAll(list, " ", ""), ",") }
