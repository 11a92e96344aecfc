// Package cluster makes processes with engines find each other by gossip. It is apart from package loki,
// so that a program with one engine links neither rings nor gossip.
//
//	m, err := cluster.New(cluster.Config{Ring: ring.Config{Join: []string{"a:7946", "b:7946"}}}, logger, reg)
//	…
//	eng, err := loki.NewTopology(loki.Config{…, Cluster: loki.Cluster{Membership: m}}).Build()
//
// From then on each line goes to several ingesters, wherever they are, and queries ask all of them.
package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki"
	"example.com/loki/internal/route"
	"example.com/loki/ring"
	"example.com/loki/ring/member"
)

// Config of a membership. The zero value is a process alone.
type Config struct {
	// Ring says how processes find each other, and where others reach this one.
	Ring ring.Config

	// Replication is how many ingesters get each line. 0 means 3, or 1 if Ring.Store is InMemory.
	Replication int
	// ZoneAware puts the replicas of a line in different zones.
	ZoneAware bool

	// GatewayReplication is how many index gateways each tenant has, where these are found by their ring. 0 means 3.
	GatewayReplication int
	// GatewayTokensFile keeps an index gateway's places on its ring over restarts, so that its copies stay those of its
	// tenants. Empty: only the ring keeps them.
	GatewayTokensFile string

	// Tokens is how many places an ingester takes on the ring. 0 means 128.
	Tokens int
	// TokensFile keeps an ingester's places over restarts. Empty: only the ring keeps them.
	TokensFile string
	// JoinAfter is how long an ingester is known before it gets lines. 0 means 1s.
	JoinAfter time.Duration
	// Unregister makes an ingester that stops leave the ring for good, after it has turned all that it holds
	// into segments. Otherwise it stays there as one that is away, because it comes back with its log.
	Unregister bool
	// Forget removes ingesters from the ring that were away for twice Ring.HeartbeatTimeout. It is for ingesters that
	// lose their disks with their processes: what one that is away alone has is missing until it is back.
	Forget bool
	// FinalSleep is how long an ingester goes on answering after it has left.
	FinalSleep time.Duration
}

// Membership is the loki.Membership over a ring.Membership.
type Membership struct {
	*ring.Membership
	cfg Config
}

var _ loki.Membership = (*Membership)(nil)

// New returns a membership for one engine, which starts and stops it. logger and reg may be nil.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Membership, error) {
	if cfg.Replication == 0 && !cfg.Ring.Alone() {
		cfg.Replication = 3
	}
	cfg.Replication = cmp.Or(cfg.Replication, 1)
	cfg.GatewayReplication = cmp.Or(cfg.GatewayReplication, 3)
	if cfg.Replication < 0 || cfg.GatewayReplication < 0 {
		return nil, fmt.Errorf("cluster: Replication is %d and GatewayReplication %d; they can't be negative", cfg.Replication, cfg.GatewayReplication)
	}
	m, err := ring.New(cfg.Ring, logger, reg)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	return &Membership{Membership: m, cfg: cfg}, nil
}

// Replication returns how many ingesters get each line.
func (m *Membership) Replication() int { return m.cfg.Replication }

// Ring implements loki.Membership.
func (m *Membership) Ring(c loki.Component) (loki.Ring, error) {
	cfg := ring.ReaderConfig{Name: string(c)}
	switch c {
	case loki.Ingester:
		cfg.ReplicationFactor, cfg.ZoneAware = m.cfg.Replication, m.cfg.ZoneAware
	case loki.IndexGateway:
		cfg.ReplicationFactor = m.cfg.GatewayReplication
	}
	r, err := m.Membership.Ring(cfg)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// forgetAfter is when instances of components that keep nothing are forgotten.
const forgetAfter = 10 * time.Minute

// Join implements loki.Membership.
func (m *Membership) Join(c loki.Component, flush func(context.Context) error) (services.Service, error) {
	cfg := ring.LifecyclerConfig{Name: string(c), ForgetAfter: max(forgetAfter, 2*m.cfg.Ring.HeartbeatTimeout)}
	switch c {
	case loki.IndexGateway:
		cfg.TokensFile = m.cfg.GatewayTokensFile
	case loki.Ingester:
		cfg = ring.LifecyclerConfig{
			Name: string(c), Tokens: m.cfg.Tokens, TokensFile: m.cfg.TokensFile, ObservePeriod: m.cfg.JoinAfter,
			KeepOnShutdown: !m.cfg.Unregister, FinalSleep: m.cfg.FinalSleep,
		}
		cfg.BeforeLeave = flush
		if m.cfg.Forget {
			cfg.ForgetAfter = 2 * cmp.Or(m.cfg.Ring.HeartbeatTimeout, time.Minute)
		}
	}
	l, err := m.Membership.Lifecycler(cfg)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Routes implements loki.Membership.
func (m *Membership) Routes() []route.Route { return m.Membership.Routes() }

var _ member.Reader = loki.Ring(nil)

// DeleteTokens makes an ingester take other places on the ring at the next start, if it has left by then.
func (m *Membership) DeleteTokens() error {
	if m.cfg.TokensFile == "" {
		return nil
	}
	if err := os.Remove(m.cfg.TokensFile); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cluster: delete tokens: %w", err)
	}
	return nil
}
