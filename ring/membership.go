package ring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-kit/log"
	"github.com/grafana/dskit/dns"
	"github.com/grafana/dskit/flagext"
	"github.com/grafana/dskit/kv"
	"github.com/grafana/dskit/kv/codec"
	"github.com/grafana/dskit/kv/memberlist"
	dsring "github.com/grafana/dskit/ring"
	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
)

// Membership is a process's part in a cluster. It is a dskit service; starting it joins the cluster, as far as
// that can be reached, and stopping it leaves. The lifecyclers and rings made from it must run only while it
// does.
type Membership struct {
	services.Service

	cfg    Config
	logger *slog.Logger
	kitlog log.Logger
	reg    prometheus.Registerer
	host   string // where others reach our gRPC server

	local  *localStore               // of InMemory
	init   *memberlist.KVInitService // of Memberlist
	dns    *dns.Provider             // of Memberlist
	gossip atomic.Pointer[gossip]    // of Memberlist, from the start on
}

type gossip struct {
	kv    *memberlist.KV
	store kv.Client
}

// New makes a membership. It finds out at which address others reach this process, and returns an ErrUnreachable
// if they could not. logger and reg may be nil.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Membership, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("ring: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := &Membership{cfg: cfg, logger: logger, kitlog: kitLogger{logger}, reg: reg}
	if m.host, err = m.ourHost(); err != nil {
		return nil, err
	}
	if cfg.Store == InMemory {
		m.local = newLocalStore()
	} else {
		mc, err := m.memberlistConfig()
		if err != nil {
			return nil, err
		}
		m.dns = dns.NewProvider(m.kitlog, prefixed(reg, "loki_memberlist_"), dns.GolangResolverType)
		m.init = memberlist.NewKVInitService(mc, m.kitlog, m.dns, prefixed(reg, "loki_"))
	}
	m.Service = services.NewBasicService(m.starting, m.running, m.stopping).WithName("membership")
	return m, nil
}

func (m *Membership) memberlistConfig() (*memberlist.KVConfig, error) {
	addr, err := m.gossipAddr(m.host)
	if err != nil {
		return nil, err
	}
	c := new(memberlist.KVConfig)
	flagext.DefaultValues(c)
	c.NodeName = m.cfg.InstanceID
	// A process that comes back at once has a new name, and needs not wait until its old one is dead.
	c.RandomizeNodeName = true
	c.JoinMembers = m.cfg.Join
	c.MinJoinBackoff, c.MaxJoinBackoff, c.MaxJoinRetries = m.cfg.MinJoinPause, m.cfg.MaxJoinPause, m.cfg.JoinRetries
	c.GossipInterval, c.GossipNodes = m.cfg.GossipInterval, m.cfg.GossipNodes
	c.PushPullInterval, c.LeftIngestersTimeout = m.cfg.SyncInterval, m.cfg.LeftTimeout
	if t := m.cfg.TLS; t != nil {
		c.TCPTransport.TLSEnabled = true
		c.TCPTransport.TLS.CertPath, c.TCPTransport.TLS.KeyPath = t.CertFile, t.KeyFile
		c.TCPTransport.TLS.CAPath, c.TCPTransport.TLS.ServerName, c.TCPTransport.TLS.InsecureSkipVerify = t.CAFile, t.ServerName, t.SkipVerify
	}
	c.RejoinInterval = max(m.cfg.RejoinInterval, 0)
	c.LeaveTimeout = 2 * time.Second
	c.BroadcastTimeoutForLocalUpdatesOnShutdown = 2 * time.Second
	// Of any free port only the transport knows the number; it then advertises BindAddr or a private address.
	if port := cmp.Or(m.cfg.AdvertisePort, max(m.cfg.BindPort, 0)); port > 0 {
		c.AdvertiseAddr, c.AdvertisePort = addr, port
	}
	c.ClusterLabel = m.cfg.ClusterLabel
	c.TCPTransport.BindPort = max(m.cfg.BindPort, 0)
	if m.cfg.BindAddr != "" {
		c.TCPTransport.BindAddrs = []string{m.cfg.BindAddr}
	}
	c.Codecs = []codec.Codec{dsring.GetCodec()}
	return c, nil
}

func (m *Membership) starting(ctx context.Context) error {
	if m.init == nil {
		return nil
	}
	m.doubtAddress(ctx)
	if err := startInner(ctx, m.init); err != nil {
		return fmt.Errorf("ring: %w", err)
	}
	err := func() error {
		g, err := m.init.GetMemberlistKV()
		if err != nil {
			return err
		}
		if err := g.AwaitRunning(ctx); err != nil {
			if cause := g.FailureCase(); cause != nil {
				err = cause
			}
			return err
		}
		store, err := memberlist.NewClient(g, dsring.GetCodec())
		if err != nil {
			return err
		}
		m.gossip.Store(&gossip{g, store})
		return m.requireJoin(ctx, g)
	}()
	if err != nil {
		// Stopping reports the same failure once more.
		_ = services.StopAndAwaitTerminated(context.WithoutCancel(ctx), m.init)
		return fmt.Errorf("ring: join the cluster: %w", err)
	}
	m.logger.Info("member of the cluster", "instance", m.cfg.InstanceID, "address", m.Addr(), "gossip_port", m.GossipPort())
	return nil
}

// requireJoin reports it if no member can be reached, where that is wanted. dskit can do so as well, but then
// leaves its goroutines behind.
func (m *Membership) requireJoin(ctx context.Context, g *memberlist.KV) error {
	if !m.cfg.RequireJoin || len(m.cfg.Join) == 0 {
		return nil
	}
	var plain, lookups []string
	for _, j := range m.cfg.Join {
		if strings.Contains(j, "+") {
			lookups = append(lookups, j)
		} else {
			plain = append(plain, j)
		}
	}
	if err := m.dns.Resolve(ctx, lookups); err != nil {
		return err
	}
	reached, err := g.JoinMembers(append(plain, m.dns.Addresses()...))
	if reached > 0 {
		return nil
	}
	return fmt.Errorf("no member of %s answers: %w", strings.Join(m.cfg.Join, ", "), err)
}

func (m *Membership) running(ctx context.Context) error {
	if m.init == nil {
		<-ctx.Done()
		return nil
	}
	failed := make(chan error, 1)
	stop := m.init.AddListener(services.NewListener(nil, nil, nil, nil, func(_ services.State, err error) { failed <- err }))
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("ring: gossip: %w", err)
	}
}

func (m *Membership) stopping(error) error {
	if m.init == nil {
		return nil
	}
	return services.StopAndAwaitTerminated(context.Background(), m.init)
}

// startInner starts a service that another stops. Its context must not end with that of the other one, which
// still needs it while it stops.
func startInner(ctx context.Context, s services.Service) error {
	if err := s.StartAsync(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	if err := s.AwaitRunning(ctx); err != nil {
		if cause := s.FailureCase(); cause != nil {
			return cause
		}
		return errors.Join(err, services.StopAndAwaitTerminated(context.WithoutCancel(ctx), s))
	}
	return nil
}

// ID is the name of this process in the rings.
func (m *Membership) ID() string { return m.cfg.InstanceID }

// Addr is the host:port at which others reach this process's gRPC server.
func (m *Membership) Addr() string { return net.JoinHostPort(m.host, strconv.Itoa(m.cfg.InstancePort)) }

// GossipPort is the port that gossip listens on, 0 if there is none or it has not started.
func (m *Membership) GossipPort() int {
	if g := m.gossip.Load(); g != nil {
		return g.kv.GetListeningPort()
	}
	return 0
}

var errNotStarted = errors.New("ring: the membership is not running")

// store returns where rings are kept.
func (m *Membership) store() (kv.Client, error) {
	if m.local != nil {
		return m.local, nil
	}
	if g := m.gossip.Load(); g != nil {
		return g.store, nil
	}
	return nil, errNotStarted
}

// prefixed adds a prefix to the names of metrics.
func prefixed(reg prometheus.Registerer, prefix string) prometheus.Registerer {
	if reg == nil {
		return nil
	}
	return prometheus.WrapRegistererWithPrefix(prefix, reg)
}
