package querier

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	running     prometheus.Gauge
	tails       prometheus.Gauge
	tailDropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		running: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_querier_tasks_running", Help: "Tasks of queries that this querier works on.",
		}),
		tails: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_querier_tail_active", Help: "Live queries that run.",
		}),
		tailDropped: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_querier_tail_dropped_entries_total", Help: "Entries that slow readers of live queries have lost.",
		}),
	}
}
