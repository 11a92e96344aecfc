package server

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics have Loki's names and labels: dashboards chart them.
type metrics struct {
	duration *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	panics   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	b := readBuild()
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loki_build_info",
		Help: "Always 1; the labels say what was built.",
		ConstLabels: prometheus.Labels{
			"version": b.Version, "revision": b.Revision, "branch": b.Branch, "goversion": b.GoVersion,
		},
	}, func() float64 { return 1 })
	return &metrics{
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "loki_request_duration_seconds",
			Help:    "Time in seconds spent serving HTTP requests.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 25, 50, 100},
		}, []string{"method", "route", "status_code", "ws"}),
		inflight: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "loki_inflight_requests",
			Help: "HTTP requests that are being served.",
		}, []string{"method", "route"}),
		panics: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_panic_total",
			Help: "Panics in HTTP handlers that were turned into an answer.",
		}),
	}
}
