package indexgw

import (
	"cmp"
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/wire"
	"example.com/loki/logql"
	"example.com/loki/store"
)

// Far is an index gateway in another process, beside the store of this one. A query reads the
// segments that it finds in the catalog of its own store, so the list of these comes from there. What the
// gateway cannot answer is answered here: slower, because indexes have to be read, but right.
type Far struct {
	far     Service
	near    *Gateway
	refresh time.Duration // of catalogs in other processes

	refreshed atomic.Int64 // nanoseconds since 1970: when the near one was told to look for segments
}

var _ Service = (*Far)(nil)

// NewFar returns what asks far, the client of gateways made by NewShared, and near, that of its own store, what these
// can't answer. near need not be started. refresh is how old the catalogs of other processes may be; 0 means store.SharedRefresh.
func NewFar(far Service, near *Gateway, refresh time.Duration) *Far {
	return &Far{far: far, near: near, refresh: cmp.Or(refresh, store.SharedRefresh)}
}

// Refresh brings the list of segments up to date. The gateway's own is not, so it is not asked for lists until
// that has happened, too.
func (f *Far) Refresh(ctx context.Context) error {
	f.refreshed.Store(time.Now().UnixNano())
	return f.near.Refresh(ctx)
}

// Listed returns what the near gateway says, as the list of segments is its own.
func (f *Far) Listed() time.Time { return f.near.Listed() }

// behind tells that the gateway may not know yet of what was refreshed here.
func (f *Far) behind() bool {
	return time.Since(time.Unix(0, f.refreshed.Load())) < 3*f.refresh
}

// Labels implements Service.
func (f *Far) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	if f.behind() {
		return f.near.Labels(ctx, start, end, matchers)
	}
	names, err := f.far.Labels(ctx, start, end, matchers)
	if wire.IsUnavailable(err) {
		return f.near.Labels(ctx, start, end, matchers)
	}
	return names, err
}

// LabelValues implements Service.
func (f *Far) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	if f.behind() {
		return f.near.LabelValues(ctx, name, start, end, matchers)
	}
	values, err := f.far.LabelValues(ctx, name, start, end, matchers)
	if wire.IsUnavailable(err) {
		return f.near.LabelValues(ctx, name, start, end, matchers)
	}
	return values, err
}

// Series implements Service.
func (f *Far) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	if f.behind() {
		return f.near.Series(ctx, start, end, matchers)
	}
	series, err := f.far.Series(ctx, start, end, matchers)
	if wire.IsUnavailable(err) {
		return f.near.Series(ctx, start, end, matchers)
	}
	return series, err
}

// Volumes implements Service. A gateway whose catalog has other segments than ours refuses; see NewShared.
func (f *Far) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	volumes, err := f.far.Volumes(ctx, start, end, matchers, by, parts)
	if err != nil && ctx.Err() == nil {
		return f.near.Volumes(ctx, start, end, matchers, by, parts)
	}
	return volumes, err
}

// Segments implements Service.
func (f *Far) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	return f.near.Segments(ctx, start, end)
}
