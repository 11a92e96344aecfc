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
	trial, err := c.breaker.allow(r.Context())
	if err != nil {
		return nil, err
	}
	resp, err := c.next.RoundTrip(r)
	code := 0
	if err == nil {
		code = resp.StatusCode
	}
	c.requests.WithLabelValues(r.Method, strconv.Itoa(code)).Inc()
	switch {
	case errors.Is(err, context.Canceled):
		c.breaker.forget(trial) // it says nothing about the server
	default:
		c.breaker.record(trial, err == nil && code < 500)
	}
	return resp, err
}

// breaker counts failures in a row. After too many it refuses requests for a while; then a single one, the trial,
// finds out whether the server is back, and the others wait for what it finds.
type breaker struct {
	most   int // negative: never opens
	outage time.Duration
	now    func() time.Time
	gauge  prometheus.Gauge

	mu     sync.Mutex
	failed int
	until  time.Time     // not before then; zero if closed
	trial  chan struct{} // closed when the trial is over; nil if none is under way
}

func newBreaker(most int, outage time.Duration, now func() time.Time, gauge prometheus.Gauge) *breaker {
	return &breaker{most: most, outage: outage, now: now, gauge: gauge}
}

// allow returns nil if a request may be sent, and whether it is the trial. record or forget has to follow then. While
// another request is the trial it waits for the outcome, for as long as an outage is thought to last at most.
func (b *breaker) allow(ctx context.Context) (trial bool, err error) {
	var patience *time.Timer
	for {
		b.mu.Lock()
		under := b.trial
		switch {
		case b.until.IsZero():
			b.mu.Unlock()
			return false, nil
		case under != nil:
		case b.now().Before(b.until):
			b.mu.Unlock()
			return false, ErrUnavailable
		default:
			b.trial = make(chan struct{})
			b.mu.Unlock()
			return true, nil
		}
		b.mu.Unlock()
		if patience == nil {
			patience = time.NewTimer(b.outage)
			defer patience.Stop()
		}
		select {
		case <-under:
		case <-patience.C:
			return false, ErrUnavailable
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

func (b *breaker) record(trial, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(trial)
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

// forget takes back an allow: the next request may be the trial.
func (b *breaker) forget(trial bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(trial)
}

// end lets those go on who wait for the trial, if that is what has ended.
func (b *breaker) end(trial bool) {
	if trial {
		close(b.trial)
		b.trial = nil
	}
}
