package loki

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
)

// GRPC bounds what travels between processes, and holds the TLS configuration. The zero value is a good
// default, without TLS.
type GRPC = wire.Config

// Compression is that of messages between processes: "snappy", "gzip", "zstd" or empty for none. Each
// process says how it sends; all understand all.
type Compression = wire.Compression

// Server is a gRPC server with the bounds of a GRPC, metrics, and the standard health service.
type Server = wire.Server

// Cluster says where the components are that a process needs and doesn't run. The zero value is for a
// process that runs everything.
type Cluster struct {
	// Addresses are those of components in other processes: "host:port", several of them separated by
	// commas, or "dns:///host:port" for all addresses of a name. Calls take turns among them, but those to an
	// IndexGateway: see IndexGatewayRing, and SchedulerRing. What this process runs itself needs none.
	//
	// What follows from an address: a querier with one of the QueryScheduler fetches tasks there; a
	// QueryFrontend with one of the Querier passes lists, volumes and tails on to it instead of working
	// on them itself; an index gateway that fails is done without.
	Addresses map[Component]string

	// Membership, unless nil, is how ingesters are found, this process's own among them: pushes go to
	// several of them, queries ask all. It takes the place of an address of the Ingester.
	Membership Membership

	// IndexGatewayRing finds index gateways by the ring of Membership instead of an address: each tenant has some of
	// them (ReplicationFactor of that ring), which have copies of its indexes and take turns; any other one
	// answers when these don't. It makes a gateway keep copies of the indexes of its tenants alone. With an
	// address, all gateways keep those of all; there too a tenant is always asked about at the same one while that
	// is there.
	IndexGatewayRing bool

	// SchedulerRing finds query schedulers by the ring of Membership instead of an address: a QueryFrontend without a
	// scheduler of its own gives its tasks to all of them in turns, and a Querier without one fetches tasks from all.
	SchedulerRing bool

	// GRPC is for the connections to other processes.
	GRPC GRPC
}

// check returns every problem at once.
func (c Cluster) check() error {
	var errs []error
	for name, addr := range c.Addresses {
		switch {
		case !slices.Contains(order(), name):
			errs = append(errs, fmt.Errorf("loki: Config.Cluster.Addresses: there is no component %q", name))
		case name == Store:
			errs = append(errs, errors.New("loki: Config.Cluster.Addresses: each process has a store of its own; share the Bucket"))
		case addr == "":
			errs = append(errs, fmt.Errorf("loki: Config.Cluster.Addresses: the address of %s is empty", name))
		}
	}
	if c.IndexGatewayRing && c.Membership == nil {
		errs = append(errs, errors.New("loki: Config.Cluster.IndexGatewayRing needs Config.Cluster.Membership"))
	}
	if c.SchedulerRing && c.Membership == nil {
		errs = append(errs, errors.New("loki: Config.Cluster.SchedulerRing needs Config.Cluster.Membership"))
	}
	return errors.Join(errs...)
}

// instance is the name of this process among others, empty if it is alone.
func (c Cluster) instance() string {
	if m, ok := c.Membership.(interface{ ID() string }); ok {
		return m.ID()
	}
	return ""
}

// replicated tells that several ingesters get each line.
func (c Cluster) replicated() bool {
	m, ok := c.Membership.(interface{ Replication() int })
	return ok && m.Replication() > 1
}

// connections are those of an engine to other processes.
type connections struct {
	cfg GRPC
	all map[string]*grpc.ClientConn // by address
}

// dial returns the connection to an address, or to several. It connects when it is used.
func (c *connections) dial(addr string) (*grpc.ClientConn, error) {
	if conn, ok := c.all[addr]; ok {
		return conn, nil
	}
	conn, err := wire.DialAll(addr, c.cfg)
	if err != nil {
		return nil, fmt.Errorf("loki: %w", err)
	}
	if c.all == nil {
		c.all = map[string]*grpc.ClientConn{}
	}
	c.all[addr] = conn
	return conn, nil
}

func (c *connections) close() error {
	var errs []error
	for conn := range maps.Values(c.all) {
		errs = append(errs, conn.Close())
	}
	c.all = nil
	return errors.Join(errs...)
}
