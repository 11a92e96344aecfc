package ingester

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are those of one ingester. Names are Loki's where the meaning is; what Loki calls a chunk is
// here a part.
type metrics struct {
	streams, parts, tailers       prometheus.Gauge
	streamsCreated, partsCreated  prometheus.Counter
	headBytes                     prometheus.Gauge
	entries, bytes                prometheus.Counter
	pushWaits                     prometheus.Counter
	flushed                       *prometheus.CounterVec
	stored                        prometheus.Counter
	flushFailures                 prometheus.Counter
	flushQueue                    prometheus.Gauge
	partAge, partEntries          prometheus.Histogram
	partSize, partUtilization     prometheus.Histogram
	tailDropped                   prometheus.Counter
	walCorruptions                *prometheus.CounterVec
	walDiskFull, walWriteFailures prometheus.Counter
	walBytes, walSize             prometheus.Gauge
	walRecords, walLogged         prometheus.Counter
	commitSeconds, commitPushes   prometheus.Histogram
	replayActive, replaySeconds   prometheus.Gauge
	recoveredStreams              prometheus.Counter
	recoveredParts                prometheus.Counter
	recoveredEntries              prometheus.Counter
	recoveredBytes                prometheus.Counter
	lostEntries                   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Name: "loki_ingester_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: "loki_ingester_" + name, Help: help})
	}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		return f.NewHistogram(prometheus.HistogramOpts{Name: "loki_ingester_" + name, Help: help, Buckets: buckets})
	}
	m := &metrics{
		streams:        gauge("memory_streams", "Streams in memory, counted in each part that has them."),
		parts:          gauge("memory_chunks", "Parts in memory: open, or on their way to the store."),
		headBytes:      gauge("memory_bytes", "Memory held by parts and waiting pushes."),
		tailers:        gauge("tailers_active", "Tail requests that are being served."),
		streamsCreated: counter("streams_created_total", "Streams created, counted in each part that has them."),
		partsCreated:   counter("chunks_created_total", "Parts opened."),
		entries:        counter("entries_total", "Entries stored."),
		bytes:          counter("line_bytes_total", "Bytes of the lines stored."),
		pushWaits:      counter("push_waits_total", "Pushes that had to wait for memory."),
		flushed: f.NewCounterVec(prometheus.CounterOpts{Name: "loki_ingester_chunks_flushed_total",
			Help: "Parts that were cut, by what made them be cut."}, []string{"reason"}),
		stored:        counter("chunks_stored_total", "Parts that have become segments."),
		flushFailures: counter("chunks_flush_failures_total", "Attempts to write a segment that failed; they are repeated."),
		flushQueue:    gauge("flush_queue_length", "Parts that are cut and not yet segments."),
		partAge: histogram("chunk_age_seconds", "Age of parts when they were cut.",
			[]float64{1, 10, 60, 300, 600, 1800, 3600, 7200, 14400}),
		partEntries: histogram("chunk_entries", "Entries of parts that were cut.", prometheus.ExponentialBuckets(10, 10, 7)),
		partSize:    histogram("chunk_size_bytes", "Size of segments.", prometheus.ExponentialBuckets(1<<10, 4, 10)),
		partUtilization: histogram("chunk_utilization", "Raw size of parts when they were cut, as a share of the target.",
			prometheus.LinearBuckets(0, 0.2, 6)),
		tailDropped: counter("tail_dropped_entries_total", "Entries that slow tail readers have lost."),
		walCorruptions: f.NewCounterVec(prometheus.CounterOpts{Name: "loki_ingester_wal_corruptions_total",
			Help: "Damaged places found in the write-ahead log; a torn end, as a crash leaves it, is no damage."}, []string{"type"}),
		walDiskFull:      counter("wal_disk_full_failures_total", "Pushes that were refused because the disk of the write-ahead log is full."),
		walWriteFailures: counter("wal_write_failures_total", "Writes to and syncs of the write-ahead log that failed."),
		walBytes:         gauge("wal_bytes_in_use", "Memory held by pushes that wait for the write-ahead log."),
		walSize:          gauge("wal_disk_bytes", "Size of the files of the write-ahead log."),
		walRecords:       counter("wal_records_logged_total", "Records written to the write-ahead log."),
		walLogged:        counter("wal_logged_bytes_total", "Bytes written to the write-ahead log."),
		commitSeconds: histogram("wal_commit_duration_seconds", "Time to write and sync one group of pushes.",
			prometheus.ExponentialBuckets(0.0001, 4, 9)),
		commitPushes:     histogram("wal_commit_pushes", "Pushes in one group.", prometheus.ExponentialBuckets(1, 2, 10)),
		replayActive:     gauge("wal_replay_active", "1 while the write-ahead log is replayed."),
		replaySeconds:    gauge("wal_replay_duration_seconds", "How long the last replay took."),
		recoveredStreams: counter("wal_recovered_streams_total", "Streams recovered from the write-ahead log."),
		recoveredParts:   counter("wal_recovered_chunks_total", "Parts recovered from the write-ahead log."),
		recoveredEntries: counter("wal_recovered_entries_total", "Entries recovered from the write-ahead log."),
		recoveredBytes:   counter("wal_recovered_bytes_total", "Bytes of lines recovered from the write-ahead log."),
		lostEntries:      counter("wal_lost_entries_total", "Entries found in the write-ahead log whose stream was lost with a damaged place."),
	}
	for _, r := range []reason{reasonSize, reasonAge, reasonIdle, reasonLog, reasonMemory, reasonForced, reasonShutdown} {
		m.flushed.WithLabelValues(string(r))
	}
	for _, t := range []string{damageFile, damageRecord} {
		m.walCorruptions.WithLabelValues(t)
	}
	return m
}
