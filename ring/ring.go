// Package ring lets the processes of a cluster know of each other: who is there, in which state, and who stands
// for which key.
//
// A process has one Membership. It gossips over TCP with the other processes (dskit's memberlist; the store
// "inmemory" stays in the process and needs no port), and carries several rings: one for ingesters, one for
// distributors and so on. A component that runs here enters its ring with a Lifecycler; whoever needs to know
// the instances of a component reads its Ring.
//
//	Membership ──┬── Lifecycler "ingester"   registers, heartbeats, leaves
//	             ├── Ring "ingester"         views for distributors and queriers
//	             └── Ring "distributor"      Count, to divide limits by
//
// All three are dskit services. A Membership starts before its lifecyclers and rings and stops after them. A
// Lifecycler starts after the component that it speaks for, and stops before it: see LifecyclerConfig.BeforeLeave.
//
// # Life of an instance
//
// It registers as JOINING, stays so for ObservePeriod, so that all have heard of it before it gets work, and is
// then ACTIVE. When it stops it is LEAVING: others still read from it but send it nothing new. Then it either
// unregisters (its data are elsewhere now) or is kept in the ring (its data are on its disk: readers must know
// that something is missing until it is back). Tokens survive a restart, in the ring or in a file.
//
// An instance whose heartbeat is older than HeartbeatTimeout is unhealthy. It is forgotten after ForgetAfter,
// if that is set, but not by one that hears of no other while several are away: then it is probably this process
// that is cut off.
//
// What follows from a view (replicas, quorums, owners) is in package member, which links none of the gossip.
// This package is the only one that imports dskit's ring and memberlist.
package ring

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Store says where the rings are kept.
type Store string

const (
	// InMemory keeps rings within the Membership: for one process.
	InMemory Store = "inmemory"
	// Memberlist gossips them.
	Memberlist Store = "memberlist"
)

// DefaultGRPCPort is the port of an instance's gRPC server unless configured.
const DefaultGRPCPort = 9095

// TLS says how gossip is encrypted. Each member shows its certificate to those that connect to it, and checks that of
// those that it connects to; who connects is not asked for one, so the port must not be open to strangers.
type TLS struct {
	CertFile, KeyFile string // required
	CAFile            string // certificates to trust; empty: the system's
	ServerName        string // to expect in certificates; empty: the address
	SkipVerify        bool   // trust any certificate
}

// Config of a process's membership. The zero value is a process alone.
type Config struct {
	// Store is where rings are kept. Empty means Memberlist if Join names members or BindAddr is set, else
	// InMemory.
	Store Store

	// Join names members of the cluster to contact at the start, as host:port; the port may be left out
	// if it is BindPort. With the prefix dns+, dnssrv+ or dnssrvnoa+ they are looked up, and all addresses
	// found are contacted. Its own address may be among them. A process that reaches none goes on alone
	// and tries again.
	Join []string
	// RejoinInterval is how often members of Join are contacted again, which heals a cluster that was cut in
	// two, and shows those who are there to a member that was restarted and knows nobody itself. 0 means 30s, or 10s if Join
	// is a single member that is not looked up; negative never.
	RejoinInterval time.Duration
	// RequireJoin makes the start fail if no member of Join can be reached.
	RequireJoin bool
	// JoinRetries is how often a start tries again to reach a member, in the background, with pauses that grow from
	// MinJoinPause to MaxJoinPause; after that RejoinInterval counts. 0 means 10 times, 250ms and 5s.
	JoinRetries                int
	MinJoinPause, MaxJoinPause time.Duration

	// GossipInterval is how often news are passed on, to GossipNodes members each time. 0 means 200ms and 3.
	GossipInterval time.Duration
	GossipNodes    int
	// SyncInterval is how often everything is compared with one other member. 0 means 30s.
	SyncInterval time.Duration
	// LeftTimeout is how long it is remembered that an instance has left, so that older news of it do not bring
	// it back. 0 means 5m.
	LeftTimeout time.Duration
	// TLS, unless nil, encrypts gossip. All members need it.
	TLS *TLS

	// BindAddr is the IP address that gossip listens on. Empty means all.
	BindAddr string
	// BindPort is the port of gossip. 0 means 7946, negative any free one.
	BindPort int
	// AdvertiseAddr and AdvertisePort are where other members reach gossip, if that is not BindAddr and
	// BindPort. Empty means BindAddr, or if that is all addresses the host of InstanceAddr. A name is looked
	// up once.
	AdvertiseAddr string
	AdvertisePort int
	// ClusterLabel keeps clusters apart: members with another label are not talked to.
	ClusterLabel string

	// InstanceID names this process in all rings. It must be unique and should stay the same over restarts.
	// Empty means the host's name, followed by the port unless that is DefaultGRPCPort.
	InstanceID string
	// InstanceAddr is the host, without port, where other processes reach this one's gRPC server. Empty
	// means the first private address of Interfaces.
	InstanceAddr string
	// InstancePort is the port of that server. 0 means DefaultGRPCPort.
	InstancePort int
	// ListenAddr is the host that the gRPC server listens on, empty for all: it is compared with what is
	// advertised.
	ListenAddr string
	// Interfaces are the network interfaces to look for an address on. Empty means all that have a private
	// one.
	Interfaces []string
	// IPv6 looks for an IPv6 address.
	IPv6 bool
	// Zone is this process's failure domain.
	Zone string

	// HeartbeatPeriod is how often instances say that they are alive. 0 means 5s.
	HeartbeatPeriod time.Duration
	// HeartbeatTimeout is after how long without that they are unhealthy. 0 means 1m.
	HeartbeatTimeout time.Duration
}

// Alone tells that the rings stay in this process.
func (c Config) Alone() bool {
	return c.Store == InMemory || c.Store == "" && len(c.Join) == 0 && c.BindAddr == ""
}

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	if c.Store == "" {
		if c.Alone() {
			c.Store = InMemory
		} else {
			c.Store = Memberlist
		}
	}
	every := 30 * time.Second
	if len(c.Join) == 1 && !strings.Contains(c.Join[0], "+") {
		every = 10 * time.Second // until then this one is alone after a restart
	}
	c.RejoinInterval = cmp.Or(c.RejoinInterval, every)
	c.BindPort = cmp.Or(c.BindPort, 7946)
	c.InstancePort = cmp.Or(c.InstancePort, DefaultGRPCPort)
	c.JoinRetries = cmp.Or(c.JoinRetries, 10)
	c.MinJoinPause = cmp.Or(c.MinJoinPause, 250*time.Millisecond)
	c.MaxJoinPause = cmp.Or(c.MaxJoinPause, max(5*time.Second, c.MinJoinPause))
	c.GossipInterval = cmp.Or(c.GossipInterval, 200*time.Millisecond)
	c.GossipNodes = cmp.Or(c.GossipNodes, 3)
	c.SyncInterval = cmp.Or(c.SyncInterval, 30*time.Second)
	c.LeftTimeout = cmp.Or(c.LeftTimeout, 5*time.Minute)
	c.HeartbeatPeriod = cmp.Or(c.HeartbeatPeriod, 5*time.Second)
	c.HeartbeatTimeout = cmp.Or(c.HeartbeatTimeout, time.Minute)
	var errs []error
	if c.Store != InMemory && c.Store != Memberlist {
		errs = append(errs, fmt.Errorf("Store %q is neither %q nor %q", c.Store, InMemory, Memberlist))
	}
	if c.Store == InMemory && len(c.Join) > 0 {
		errs = append(errs, fmt.Errorf("Join names members, but Store %q reaches no other process", c.Store))
	}
	if c.BindAddr != "" && net.ParseIP(c.BindAddr) == nil {
		errs = append(errs, fmt.Errorf("BindAddr %q is not an IP address", c.BindAddr))
	}
	for _, p := range []struct {
		name string
		port int
	}{{"BindPort", c.BindPort}, {"AdvertisePort", c.AdvertisePort}, {"InstancePort", c.InstancePort}} {
		if p.port > 65535 {
			errs = append(errs, fmt.Errorf("%s %d is above 65535", p.name, p.port))
		}
	}
	for _, j := range c.Join {
		if strings.TrimSpace(j) == "" {
			errs = append(errs, errors.New("Join has an empty member"))
		}
	}
	if c.TLS != nil && (c.TLS.CertFile == "" || c.TLS.KeyFile == "") {
		errs = append(errs, errors.New("TLS needs CertFile and KeyFile"))
	}
	if c.JoinRetries < 0 || c.MinJoinPause < 0 || c.MaxJoinPause < c.MinJoinPause || c.GossipInterval < 0 || c.GossipNodes < 0 || c.SyncInterval < 0 || c.LeftTimeout < 0 {
		errs = append(errs, errors.New("JoinRetries, MinJoinPause, MaxJoinPause, GossipInterval, GossipNodes, SyncInterval or LeftTimeout is negative, or the pauses are no range"))
	}
	if c.HeartbeatPeriod < 0 || c.HeartbeatTimeout < 0 {
		errs = append(errs, errors.New("HeartbeatPeriod or HeartbeatTimeout is negative"))
	} else if c.HeartbeatTimeout <= c.HeartbeatPeriod+time.Second { // heartbeats have whole seconds
		errs = append(errs, fmt.Errorf("HeartbeatTimeout %s must be longer than HeartbeatPeriod %s by more than a second",
			c.HeartbeatTimeout, c.HeartbeatPeriod))
	}
	if c.InstanceID == "" {
		host, err := os.Hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("InstanceID is empty and the host has no name: %w", err))
		}
		c.InstanceID = host
		if c.InstancePort != DefaultGRPCPort {
			c.InstanceID += "-" + strconv.Itoa(c.InstancePort)
		}
	}
	return c, errors.Join(errs...)
}
