package program

import (
	"cmp"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki"
	"example.com/loki/cluster"
	"example.com/loki/ring"
)

// membership says how this process takes part in a cluster.
func (s *inside) membership() cluster.Config {
	c, ok := s.cfg.Membership()
	if !ok {
		c.Ring.Store = ring.InMemory
	}
	if s.l != nil {
		// Others have to know where this process really listens.
		c.Ring.InstancePort = cmp.Or(c.Ring.InstancePort, s.l.Addr().(*net.TCPAddr).Port)
	}
	return c
}

// topology makes an engine that runs the targets.
func (s *inside) topology(cfg loki.Config, reg prometheus.Registerer) (*loki.Engine, error) {
	if _, ok := s.cfg.Membership(); ok {
		m, err := cluster.New(s.membership(), s.log, reg)
		if err != nil {
			return nil, err
		}
		cfg.Cluster.Membership = m
	}
	targets, err := loki.ParseTargets(s.cfg.Target...)
	if err != nil {
		return nil, err
	}
	eng, err := loki.NewTopology(cfg).Component(targets...).Build()
	if err != nil {
		return nil, topologyHint(err, s.cfg.Target)
	}
	return eng, nil
}
