package replicas

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	duration *prometheus.HistogramVec // by ingester and operation
	failures *prometheus.CounterVec   // by ingester and operation
	broken   *prometheus.GaugeVec     // by ingester
	peers    prometheus.Gauge
	retried  prometheus.Counter
	late     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	by := []string{"ingester", "operation"}
	return &metrics{
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "loki_ingester_client_request_duration_seconds", Help: "Time of calls to each ingester.",
			Buckets: []float64{.001, .004, .016, .064, .256, 1, 4, 16},
		}, by),
		failures: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_ingester_client_failures_total", Help: "Calls to each ingester that have failed.",
		}, by),
		broken: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "loki_ingester_client_broken", Help: "1 while an ingester does not answer and is passed over.",
		}, []string{"ingester"}),
		peers: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_ingester_client_connections", Help: "Ingesters that this process is connected to.",
		}),
		retried: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_ingester_client_push_extended_total", Help: "Parts of pushes that went to another ingester because one failed or was slow.",
		}),
		late: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_ingester_client_reads_without_all_total", Help: "Reads that were answered without waiting for all ingesters.",
		}),
	}
}

func (m *metrics) forget(addr string) {
	l := prometheus.Labels{"ingester": addr}
	m.duration.DeletePartialMatch(l)
	m.failures.DeletePartialMatch(l)
	m.broken.DeletePartialMatch(l)
}

func (m *metrics) observe(addr, operation string, began time.Time, err error) {
	m.duration.WithLabelValues(addr, operation).Observe(time.Since(began).Seconds())
	if blames(err) {
		m.failures.WithLabelValues(addr, operation).Inc()
	}
}
