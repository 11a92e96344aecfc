package engine

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"

	"example.com/loki/ruler/engine/remotewrite"
)

// RemoteWriteConfig says who gets what recording rules record, and ALERTS. The zero value is nobody.
type RemoteWriteConfig struct {
	// Receivers have names of their own.
	Receivers []*config.RemoteWriteConfig
	// AddTenant sends the tenant along, in the header X-Scope-OrgID.
	AddTenant bool
	// MaxAge is how long a sample waits for a receiver that is away. 0 means 4h.
	MaxAge time.Duration
}

// forTenant returns the receivers for the samples of a tenant.
func (c RemoteWriteConfig) forTenant(id string) []*config.RemoteWriteConfig {
	if !c.AddTenant {
		return c.Receivers
	}
	out := make([]*config.RemoteWriteConfig, len(c.Receivers))
	for i, r := range c.Receivers {
		own := *r
		own.Headers = maps.Clone(r.Headers)
		if own.Headers == nil {
			own.Headers = map[string]string{}
		}
		own.Headers["X-Scope-OrgID"] = id
		out[i] = &own
	}
	return out
}

// appendable is where the rules manager leaves samples. Without a queue they are for nobody.
type appendable struct{ queue *remotewrite.Queue }

var _ storage.Appendable = appendable{}

// Appender implements storage.Appendable.
func (a appendable) Appender(context.Context) storage.Appender { return &appender{queue: a.queue} }

type appender struct {
	queue   *remotewrite.Queue
	samples []remotewrite.Sample
}

// errFloats is returned for what LogQL has no values of.
var errFloats = errors.New("rules give numbers only")

// forState is the series from which Prometheus restores alerts. Here they are restored otherwise.
const forState = "ALERTS_FOR_STATE"

// Append implements storage.Appender.
func (a *appender) Append(_ storage.SeriesRef, l labels.Labels, t int64, v float64) (storage.SeriesRef, error) {
	if a.queue != nil && l.Get(model.MetricNameLabel) != forState {
		a.samples = append(a.samples, remotewrite.Sample{Labels: l, Time: t, Value: v})
	}
	return 0, nil
}

// Commit implements storage.Appender.
func (a *appender) Commit() error {
	if a.queue == nil {
		return nil
	}
	err := a.queue.Append(a.samples)
	a.samples = nil
	return err
}

// Rollback implements storage.Appender.
func (a *appender) Rollback() error {
	a.samples = nil
	return nil
}

// SetOptions implements storage.Appender. The order of samples is the receiver's business.
func (a *appender) SetOptions(*storage.AppendOptions) {}

// AppendExemplar implements storage.Appender.
func (a *appender) AppendExemplar(storage.SeriesRef, labels.Labels, exemplar.Exemplar) (storage.SeriesRef, error) {
	return 0, errFloats
}

// AppendHistogram implements storage.Appender.
func (a *appender) AppendHistogram(storage.SeriesRef, labels.Labels, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, errFloats
}

// AppendHistogramSTZeroSample implements storage.Appender.
func (a *appender) AppendHistogramSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64, *histogram.Histogram, *histogram.FloatHistogram) (storage.SeriesRef, error) {
	return 0, errFloats
}

// AppendSTZeroSample implements storage.Appender.
func (a *appender) AppendSTZeroSample(storage.SeriesRef, labels.Labels, int64, int64) (storage.SeriesRef, error) {
	return 0, errFloats
}

// UpdateMetadata implements storage.Appender.
func (a *appender) UpdateMetadata(storage.SeriesRef, labels.Labels, metadata.Metadata) (storage.SeriesRef, error) {
	return 0, nil
}

// nothing is a storage.Queryable without series.
type nothing struct{}

// Querier implements storage.Queryable.
func (nothing) Querier(int64, int64) (storage.Querier, error) { return storage.NoopQuerier(), nil }
