package compactor

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics have Loki's names where they mean the same, so that its alerts work: a pass is what Loki calls the
// operation of compacting tables.
type metrics struct {
	passes        *prometheus.CounterVec
	lastPass      prometheus.Gauge
	passSeconds   prometheus.Gauge
	retention     *prometheus.CounterVec
	lastRetention prometheus.Gauge
	merged        prometheus.Counter
	readBytes     prometheus.Counter
	writtenBytes  prometheus.Counter
	doubles       prometheus.Counter
	removed       prometheus.Counter
	dropped       *prometheus.CounterVec
	droppedBytes  *prometheus.CounterVec
	planned       *prometheus.GaugeVec
	replaced      prometheus.Gauge
	received      *prometheus.CounterVec
	processed     *prometheus.CounterVec
	pending       prometheus.Gauge
	oldestPending prometheus.Gauge
	deletedLines  *prometheus.CounterVec
	verified      prometheus.Counter
	damaged       prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer, leading func() bool) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loki_boltdb_shipper_compactor_running", Help: "1 in one of all compactors that run, 0 in the others.",
	}, func() float64 {
		if leading() {
			return 1
		}
		return 0
	})
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	return &metrics{
		passes:        vec("loki_boltdb_shipper_compact_tables_operation_total", "Passes over all tenants, by how they ended.", "status"),
		lastPass:      gauge("loki_boltdb_shipper_compact_tables_operation_last_successful_run_timestamp_seconds", "When a pass last succeeded."),
		passSeconds:   gauge("loki_boltdb_shipper_compact_tables_operation_duration_seconds", "How long the last pass took that succeeded."),
		retention:     vec("loki_compactor_apply_retention_operation_total", "Passes of retention, by how they ended.", "status"),
		lastRetention: gauge("loki_compactor_apply_retention_last_successful_run_timestamp_seconds", "When retention last succeeded."),
		merged:        counter("loki_compactor_segments_merged_total", "Segments that were merged into others."),
		readBytes:     counter("loki_compactor_read_bytes_total", "Stored bytes of segments that were rewritten."),
		writtenBytes:  counter("loki_compactor_written_bytes_total", "Stored bytes of segments that were written in their place."),
		doubles:       counter("loki_compactor_doubles_dropped_total", "Rows dropped because an equal one was kept."),
		removed:       counter("loki_compactor_objects_removed_total", "Objects removed from the bucket because others replaced them."),
		dropped:       vec("loki_compactor_segments_dropped_total", "Segments dropped by retention, by reason.", "reason"),
		droppedBytes:  vec("loki_compactor_dropped_bytes_total", "Stored bytes of segments dropped by retention, by reason.", "reason"),
		planned: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "loki_compactor_retention_planned_bytes", Help: "Stored bytes that retention will drop, by time from the last pass.",
		}, []string{"within"}),
		replaced:      gauge("loki_compactor_replaced_bytes", "Stored bytes of replaced segments that wait for their removal."),
		received:      vec("loki_compactor_delete_requests_received_total", "Delete requests accepted.", "user"),
		processed:     vec("loki_compactor_delete_requests_processed_total", "Delete requests whose rows are gone.", "user"),
		pending:       gauge("loki_compactor_pending_delete_requests_count", "Delete requests whose rows are not all gone."),
		oldestPending: gauge("loki_compactor_oldest_pending_delete_request_age_seconds", "Age of the oldest of them."),
		deletedLines:  vec("loki_compactor_deleted_lines", "Rows removed because of delete requests.", "user"),
		verified:      counter("loki_compactor_segments_verified_total", "Segments whose checksums were verified."),
		damaged:       gauge("loki_compactor_damaged_segments", "Segments that failed the verification."),
	}
}
