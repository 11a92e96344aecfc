package scheduler

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	wait prometheus.Histogram
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
	return &metrics{
		wait: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "loki_query_scheduler_queue_duration_seconds",
			Help:    "Time that tasks of queries waited.",
			Buckets: prometheus.ExponentialBuckets(.001, 4, 9),
		}),
	}
}
