package program

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"
	"google.golang.org/grpc"

	"example.com/loki"
	"example.com/loki/cluster"
	"example.com/loki/examples/internal/config"
	"example.com/loki/frontend"
	"example.com/loki/limits"
	"example.com/loki/node"
	"example.com/loki/ring"
	"example.com/loki/store"
)

// Process is what a program that runs one component builds it with: what is the same for all of them.
type Process struct {
	*node.Node
	Config    *config.Config // as it was read
	Settings  loki.Config    // what that means for the packages of the components
	Members   cluster.Config // … for the rings
	Limits    limits.Provider
	Bucket    objstore.Bucket
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	Terminate func() // ends the program
}

// component puts together a process of one component.
func (p Program) component(c *Process) (engine, error) {
	s := &c.Settings
	c.Bucket = s.Bucket
	if c.Bucket == nil && p.Segments {
		return nil, errors.New("segments need a place that all processes share: set common.storage.s3, or on one machine common.storage.filesystem.chunks_directory")
	}
	s.Store.CatalogFile, s.Store.RefreshInterval = filepath.Join(s.Dir, "catalog.db"), store.SharedRefresh
	pace := node.NewPace() // pushes go before other work
	s.Distributor.Pace, s.Ingester.Pace, s.Querier.Pace, s.Compactor.Pace = pace, pace, pace, pace
	c.Node = node.New(node.Config{
		Dir: s.Dir, Tenant: s.Tenant, AuthEnabled: s.AuthEnabled, Logger: c.Log, LogLevel: s.LogLevel, Registerer: c.Metrics,
		Gatherer: s.Gatherer, Settings: s.Effective, Defaults: s.Defaults, Pprof: s.Pprof, Client: s.Cluster.GRPC,
	})
	if err := p.Build(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if t := loki.Component(p.Targets[0]); t != loki.Querier && t != loki.QueryFrontend { // they have these and more
		c.Handle(frontend.CommonRoutes(frontend.Routes(s.Frontend, nil, c.Limits, c.Log))...)
	}
	return c.Node, nil
}

// Cluster joins the cluster: it returns the membership, from which rings are made.
func (p *Process) Cluster() (*ring.Membership, error) {
	if p.Members.Ring.Alone() {
		return nil, errors.New("no other process is known: set memberlist.join_members")
	}
	m, err := ring.New(p.Members.Ring, p.Log, p.Metrics)
	if err != nil {
		return nil, err
	}
	p.Add("membership", m)
	p.HandlePages(m.Routes()...)
	return m, nil
}

// Ring follows who runs a component, and shows it on a page unless path is empty.
func (p *Process) Ring(m *ring.Membership, cfg ring.ReaderConfig, path string) (*ring.Ring, error) {
	r, err := m.Ring(cfg)
	if err != nil {
		return nil, err
	}
	p.Add(cfg.Name+"-ring", r)
	if path != "" {
		p.HandlePages(r.Routes(path)...)
	}
	return r, nil
}

// Join makes this process known as one that runs a component, once it does. One that goes away is forgotten after
// a while: it keeps nothing.
func (p *Process) Join(m *ring.Membership, cfg ring.LifecyclerConfig) error {
	cfg.ForgetAfter = max(10*time.Minute, 2*p.Members.Ring.HeartbeatTimeout)
	l, err := m.Lifecycler(cfg)
	if err != nil {
		return err
	}
	p.Node.Join(cfg.Name+"-member", l)
	return nil
}

// Leave returns what stops a service and waits until it has.
func Leave(s services.Service) func(context.Context) error {
	return func(ctx context.Context) error { return services.StopAndAwaitTerminated(ctx, s) }
}

// DeleteTokens makes an ingester take other places on the ring at the next start.
func (p *Process) DeleteTokens() error {
	if err := os.Remove(p.Members.TokensFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete tokens: %w", err)
	}
	return nil
}

// Far returns a connection to another component, whose address the setting must name.
func (p *Process) Far(c loki.Component, setting string) (*grpc.ClientConn, error) {
	addr := p.Settings.Cluster.Addresses[c]
	if addr == "" {
		return nil, fmt.Errorf("where the %s is has to be known: set %s", c, setting)
	}
	return p.Dial(addr)
}
