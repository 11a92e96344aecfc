package frontend

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	inProgress     prometheus.Gauge
	latency        *prometheus.HistogramVec
	bytesPerSecond *prometheus.HistogramVec
	bytes          *prometheus.CounterVec
	blocked        *prometheus.CounterVec
	tails          prometheus.Gauge
	retries        prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		inProgress: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_query_frontend_queries_in_progress",
			Help: "Queries that run.",
		}),
		latency: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "loki_logql_querystats_latency_seconds",
			Help:    "Time from a query's arrival to its answer.",
			Buckets: []float64{.005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120},
		}, []string{"status_code", "type", "range"}),
		bytesPerSecond: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "loki_logql_querystats_bytes_processed_per_seconds",
			Help:    "Bytes of lines and metadata that a query has looked at, per second.",
			Buckets: prometheus.ExponentialBuckets(1<<20, 4, 10),
		}, []string{"status_code", "type", "range"}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_query_frontend_bytes_processed_total",
			Help: "Bytes of lines and metadata that queries have looked at.",
		}, []string{"tenant"}),
		blocked: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_blocked_queries",
			Help: "Queries that were refused because limits block them.",
		}, []string{"user"}),
		retries: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "loki_query_frontend_retries",
			Help:    "Times that a task or a question was tried again.",
			Buckets: []float64{0, 1, 2, 3, 4, 5},
		}),
		tails: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_query_frontend_tails_active",
			Help: "Live queries that run.",
		}),
	}
}
