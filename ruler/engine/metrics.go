package engine

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of the ruler itself. Those of rules and notifications are Prometheus' own, for each tenant.
type metrics struct {
	syncFailures  prometheus.Counter
	caughtUp      prometheus.Counter
	stateFailures prometheus.Counter
	groups        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		syncFailures: f.NewCounter(prometheus.CounterOpts{Name: "loki_ruler_sync_rules_failed_total",
			Help: "Total number of times that rules could not be listed, read or started."}),
		caughtUp: f.NewCounter(prometheus.CounterOpts{Name: "loki_ruler_evaluations_caught_up_total",
			Help: "Total number of evaluations of groups that were made up for after a restart or a hand-over."}),
		stateFailures: f.NewCounter(prometheus.CounterOpts{Name: "loki_ruler_state_failures_total",
			Help: "Total number of times that the state of a group could not be kept or read."}),
		groups: f.NewGauge(prometheus.GaugeOpts{Name: "loki_ruler_groups",
			Help: "Number of groups that this ruler evaluates."}),
	}
}

// forTenant returns a registry whose metrics are among those of reg, with Loki's prefix and the label user, and
// what removes them again.
func forTenant(reg prometheus.Registerer, id string) (own *prometheus.Registry, remove func()) {
	own = prometheus.NewRegistry()
	return own, func() {
		if reg != nil {
			tenantRegisterer(reg, id).Unregister(own)
		}
	}
}

func tenantRegisterer(reg prometheus.Registerer, id string) prometheus.Registerer {
	return prometheus.WrapRegistererWithPrefix("loki_", prometheus.WrapRegistererWith(prometheus.Labels{"user": id}, reg))
}
