package store

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/thanos-io/objstore"
)

type metrics struct {
	written, writtenBytes, writtenRows prometheus.Counter
	writeSeconds                       prometheus.Histogram
	segments                           prometheus.Gauge
	refreshes, refreshFailures         prometheus.Counter
	corrupt                            prometheus.Counter
	hits, misses                       *prometheus.CounterVec
	pages, pagesPruned                 prometheus.Counter
	readBytes                          prometheus.Counter
	copiesRead                         prometheus.Counter
	copiedBytes                        prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string) prometheus.Counter {
		return f.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &metrics{
		written:      counter("loki_store_segments_written_total", "Segments written."),
		writtenBytes: counter("loki_store_segment_bytes_written_total", "Bytes of the segments written."),
		writtenRows:  counter("loki_store_rows_written_total", "Rows of the segments written."),
		writeSeconds: f.NewHistogram(prometheus.HistogramOpts{
			Name: "loki_store_segment_write_duration_seconds", Help: "Time to make and upload a segment.",
			Buckets: prometheus.ExponentialBuckets(0.005, 4, 8),
		}),
		segments:        f.NewGauge(prometheus.GaugeOpts{Name: "loki_store_segments", Help: "Segments in the catalog, of all tenants."}),
		refreshes:       counter("loki_store_catalog_refreshes_total", "Times that the bucket was listed."),
		refreshFailures: counter("loki_store_catalog_refresh_failures_total", "Times that listing the bucket failed."),
		corrupt:         counter("loki_store_corruptions_total", "Damaged parts of segments met while reading."),
		hits: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_cache_hits", Help: "Look-ups that the cache answered.",
		}, []string{"name"}),
		misses: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_cache_misses", Help: "Look-ups that the cache did not answer.",
		}, []string{"name"}),
		pages:       counter("loki_store_pages_total", "Pages that matchers and time ranges of queries touched."),
		pagesPruned: counter("loki_store_pages_pruned_total", "Of these, pages that filters ruled out."),
		readBytes:   counter("loki_store_column_bytes_read_total", "Stored bytes of columns that were fetched."),
		copiesRead:  counter("loki_store_index_copies_read_total", "Segments that were opened by a copy of their index on disk."),
		copiedBytes: f.NewGauge(prometheus.GaugeOpts{Name: "loki_store_index_copies_bytes", Help: "Size of the copies of indexes on disk."}),
	}
}

// watch publishes the sizes of the caches.
func (m *metrics) watch(reg prometheus.Registerer, index, columns func() (int, int64)) {
	f := promauto.With(reg)
	for name, stats := range map[string]func() (int, int64){"index": index, "columns": columns} {
		labels := prometheus.Labels{"cache": name}
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "loki_embeddedcache_entries", Help: "Values in a cache in memory.", ConstLabels: labels},
			func() float64 { n, _ := stats(); return float64(n) })
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: "loki_embeddedcache_memory_bytes", Help: "Bytes that a cache in memory takes.", ConstLabels: labels},
			func() float64 { _, n := stats(); return float64(n) })
	}
}

// instrument counts what is asked of the bucket under Loki's names (loki_objstore_bucket_…).
func instrument(b objstore.Bucket, reg prometheus.Registerer) objstore.Bucket {
	if reg == nil {
		return b
	}
	return objstore.WrapWith(b, objstore.BucketMetrics(prometheus.WrapRegistererWithPrefix("loki_", reg), b.Name()))
}

// nopCounter is for those who don't count.
func nopCounter() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{}) }
