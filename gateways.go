package loki

import (
	"fmt"
	"io"
	"slices"

	"github.com/grafana/dskit/services"
	"google.golang.org/grpc"

	"example.com/loki/indexgw"
	"example.com/loki/internal/wire"
	"example.com/loki/ring/member"
	"example.com/loki/ring/resolve"
)

// gatewaysModule is the index gateways of other processes.
const gatewaysModule = "index-gateways"

// gateways makes what stands for the index gateways of other processes: those of the ring, or of an address.
func (e *Engine) gateways() (services.Service, error) {
	if e.cfg.Cluster.IndexGatewayRing {
		return e.peers(e.rings[IndexGateway], func(string) string { return "" })
	}
	at, err := resolve.New("index gateway", wire.Addresses(e.cfg.Cluster.Addresses[IndexGateway]), e.cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	p, err := e.peers(at, at.Name)
	if err != nil {
		return nil, err
	}
	return both(at, p)
}

// peers makes the gateways of a ring. name returns what a certificate at an address must be
// for, empty if for the address.
func (e *Engine) peers(ring member.Reader, name func(addr string) string) (services.Service, error) {
	dial := func(addr string) (indexgw.Service, io.Closer, error) {
		conn, err := e.dialAs(addr, name(addr))
		if err != nil {
			return nil, nil, err
		}
		return indexgw.NewClient(conn), conn, nil
	}
	p, err := indexgw.NewPeers(e.cfg.IndexGateways, ring, dial, e.cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	e.parts.farIndex = p
	return p, nil
}

// dialAs returns a connection to an address, which the caller closes. name is what certificates there must be for, empty
// if for the address.
func (e *Engine) dialAs(addr, name string) (*grpc.ClientConn, error) {
	cfg := e.cfg.Cluster.GRPC
	var options []grpc.DialOption
	if name != "" && cfg.TLS != nil && cfg.TLS.ServerName == "" {
		options = append(options, grpc.WithAuthority(name))
	}
	return wire.Dial(addr, cfg, options...)
}

// standsFor tells whether the index gateway of this process is one of those of a tenant, or does not know yet.
func (c *Collaborators) standsFor(tenant string) bool {
	ring, ok := c.rings[IndexGateway]
	self, known := c.Config.Cluster.Membership.(interface{ ID() string })
	if !ok || !known {
		return true
	}
	v := ring.View()
	return v.Count() == 0 || slices.ContainsFunc(v.Replicas(member.Key(tenant, 0), nil, nil), func(i *member.Instance) bool { return i.ID == self.ID() })
}
