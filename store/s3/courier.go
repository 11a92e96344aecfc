package s3

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	requests *prometheus.CounterVec
	retries  prometheus.Counter
	open     prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "loki_s3_requests_total", Help: "Requests to the object store by method and status code; code 0 is no answer.",
		}, []string{"method", "code"}),
		retries: f.NewCounter(prometheus.CounterOpts{
			Name: "loki_s3_retries_total", Help: "Operations of the object store that were repeated.",
		}),
		open: f.NewGauge(prometheus.GaugeOpts{
			Name: "loki_s3_unavailable", Help: "1 while no requests are sent because the object store fails.",
		}),
	}
}

// courier sends requests, counts them and holds them back while the server fails.
type courier struct {
	next     http.RoundTripper
	requests *prometheus.CounterVec
	breaker  *breaker
}

func (c *courier) RoundTrip(r *http.Request) (*http.Response, error) {
	if !c.breaker.allow() {
		return nil, ErrUnavailable
	}
	resp, err := c.next.RoundTrip(r)
	code := 0
	if err == nil {
		code = resp.StatusCode
	}
	c.requests.WithLabelValues(r.Method, strconv.Itoa(code)).Inc()
	switch {
	case errors.Is(err, context.Canceled):
		c.breaker.forget() // it says nothing about the server
	default:
		c.breaker.record(err == nil && code < 500)
	}
	return resp, err
}

// breaker counts failures in a row.
type breaker struct {
	most   int // negative: never opens
	outage time.Duration
	now    func() time.Time
	gauge  prometheus.Gauge

	mu     sync.Mutex
	failed int
	until  time.Time // not before then; zero if closed
	trying bool      // a single request is under way to find out
}

func newBreaker(most int, outage time.Duration, now func() time.Time, gauge prometheus.Gauge) *breaker {
	return &breaker{most: most, outage: outage, now: now, gauge: gauge}
}

func (b *breaker) allow() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.until.IsZero() {
		return true
	}
	if b.trying || b.now().Before(b.until) {
		return false
	}
	b.trying = true
	return true
}

func (b *breaker) record(ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	if ok {
		b.failed, b.until = 0, time.Time{}
		b.gauge.Set(0)
		return
	}
	if b.failed++; b.most >= 0 && b.failed >= b.most {
		b.until = b.now().Add(b.outage)
		b.gauge.Set(1)
	}
}

// forget takes back an allow.
func (b *breaker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}
