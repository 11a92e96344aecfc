package scheduler

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	wait    prometheus.Histogram
	workers prometheus.Gauge
	lost    prometheus.Counter
}

func newMetrics(reg prometheus.Registerer, q *queue) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loki_query_scheduler_inflight_requests",
		Help: "Tasks of queries that run.",
	}, func() float64 {
		_, n := q.counts()
		return float64(n)
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loki_query_scheduler_queue_length",
		Help: "Tasks of queries that wait.",
	}, func() float64 {
		n, _ := q.counts()
		return float64(n)
	})
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loki_query_scheduler_inflight_bytes",
		Help: "Bytes that the tasks which run are thought to read.",
	}, func() float64 { return float64(q.work()) })
	return &metrics{
		wait: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "loki_query_scheduler_queue_duration_seconds",
			Help:    "Time that tasks of queries waited.",
			Buckets: prometheus.ExponentialBuckets(.001, 4, 9),
		}),
		workers: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_query_scheduler_connected_querier_clients",
			Help: "Tasks that the connected queriers can work on at once.",
		}),
		lost: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_query_scheduler_lost_tasks_total",
			Help: "Tasks whose querier went away, so that another one had to begin anew.",
		}),
	}
}
