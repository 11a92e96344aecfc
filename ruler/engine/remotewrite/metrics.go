package remotewrite

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics have the names that Loki gives them, and the help that Prometheus does.
type metrics struct {
	appended prometheus.Counter
	disk     prometheus.Gauge
	ready    prometheus.Gauge
	highest  prometheus.Gauge

	sent, failed, retried, bytes *prometheus.CounterVec
	dropped                      *prometheus.CounterVec
	pending, highestSent         *prometheus.GaugeVec
	duration                     *prometheus.HistogramVec
}

type receiverMetrics struct {
	sent, failed, retried, bytes prometheus.Counter
	dropped                      *prometheus.CounterVec
	highestSent                  prometheus.Gauge
	duration                     prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	const wal, remote = "loki_ruler_wal_", "loki_ruler_wal_prometheus_remote_storage_"
	by := []string{"remote_name", "url"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: remote + name, Help: help}, append(by[:2:2], more...))
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: remote + name, Help: help}, by)
	}
	return &metrics{
		appended: f.NewCounter(prometheus.CounterOpts{Name: wal + "samples_appended_total", Help: "Total number of samples appended to the log."}),
		disk:     f.NewGauge(prometheus.GaugeOpts{Name: wal + "disk_size", Help: "Bytes of the log on disk."}),
		ready:    f.NewGauge(prometheus.GaugeOpts{Name: wal + "appender_ready", Help: "Whether samples can be appended."}),
		highest: f.NewGauge(prometheus.GaugeOpts{Name: remote + "highest_timestamp_in_seconds",
			Help: "Highest timestamp that has come into the log, in seconds since 1970."}),
		sent:        counter("samples_total", "Total number of samples that the receiver has taken."),
		failed:      counter("samples_failed_total", "Total number of samples that the receiver has refused."),
		retried:     counter("samples_retried_total", "Total number of samples that were sent once more because the receiver could not take them."),
		bytes:       counter("bytes_total", "Total number of bytes of samples sent, after compression."),
		dropped:     counter("samples_dropped_total", "Total number of samples that were not sent.", "reason"),
		pending:     gauge("samples_pending", "Number of samples in the log that wait for the receiver."),
		highestSent: gauge("queue_highest_sent_timestamp_seconds", "Timestamp of the last sample that the receiver has taken, in seconds since 1970."),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{Name: remote + "sent_batch_duration_seconds",
			Help: "Duration of requests to the receiver.", Buckets: append(prometheus.DefBuckets, 25, 60, 120, 300)}, by),
	}
}

// of returns the metrics of one receiver.
func (m *metrics) of(name, url string) (*receiverMetrics, prometheus.Gauge) {
	return &receiverMetrics{
		sent:        m.sent.WithLabelValues(name, url),
		failed:      m.failed.WithLabelValues(name, url),
		retried:     m.retried.WithLabelValues(name, url),
		bytes:       m.bytes.WithLabelValues(name, url),
		dropped:     m.dropped.MustCurryWith(prometheus.Labels{"remote_name": name, "url": url}),
		highestSent: m.highestSent.WithLabelValues(name, url),
		duration:    m.duration.WithLabelValues(name, url),
	}, m.pending.WithLabelValues(name, url)
}
