package program

import (
	"cmp"
	"log/slog"
	"net"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki"
	"example.com/loki/cluster"
	"example.com/loki/examples/internal/config"
)

// join makes the process a member of its cluster, if the configuration has one.
func (s *inside) join(cfg *config.Config, eng *loki.Config, logger *slog.Logger, reg prometheus.Registerer) error {
	c, ok := cfg.Membership()
	if !ok {
		return nil
	}
	// Others have to know where this process really listens.
	c.Ring.InstancePort = cmp.Or(c.Ring.InstancePort, s.l.Addr().(*net.TCPAddr).Port)
	m, err := cluster.New(c, logger, reg)
	if err != nil {
		return err
	}
	eng.Cluster.Membership = m
	return nil
}
