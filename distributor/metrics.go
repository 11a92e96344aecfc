package distributor

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	bytes, metadataBytes, lines     *prometheus.CounterVec // tenant
	discardedEntries, discardedSize *prometheus.CounterVec // reason, tenant
	appendFailures                  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		bytes:            vec("loki_distributor_bytes_received_total", "Bytes of lines and structured metadata received.", "tenant"),
		metadataBytes:    vec("loki_distributor_structured_metadata_bytes_received_total", "Bytes of structured metadata received.", "tenant"),
		lines:            vec("loki_distributor_lines_received_total", "Lines received.", "tenant"),
		discardedEntries: vec("loki_discarded_samples_total", "Entries refused.", "reason", "tenant"),
		discardedSize:    vec("loki_discarded_bytes_total", "Bytes of entries refused.", "reason", "tenant"),
		appendFailures: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_distributor_ingester_append_failures_total",
			Help: "Pushes that the ingester did not take.",
		}),
	}
}

// forget drops what is counted for a tenant.
func (m *metrics) forget(tenant string) {
	of := prometheus.Labels{"tenant": tenant}
	for _, v := range []*prometheus.CounterVec{m.bytes, m.metadataBytes, m.lines, m.discardedEntries, m.discardedSize} {
		v.DeletePartialMatch(of)
	}
}
