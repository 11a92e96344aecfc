// Package indexgw answers what can be told from the indexes of stored segments alone: labels, streams,
// volumes, and which segments a query would read. No line is read for any of it.
//
// Frontends and queriers ask here rather than at the store, so that in a larger installation few
// processes need to hold indexes in memory and all others share them.
package indexgw

import (
	"context"
	"fmt"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/store"
)

// Service answers from the indexes of stored segments. The context of each call carries the tenant.
// Times are nanoseconds since 1970; ranges include their start and exclude their end. Lists are
// sorted and without repetition.
type Service interface {
	Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error)

	// Volumes returns per matching stream how much of it is stored in the range, in the given parts or
	// with nil in all. Volumes of different writers come apart: see logql.MergeVolumes.
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, parts []string) ([]logql.StreamVolume, error)

	// Segments returns the segments with rows in the range.
	Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error)
}

// Gateway is the Service over a store. It keeps nothing itself: the store caches the indexes it opens.
type Gateway struct {
	services.Service
	store store.Service
}

var _ Service = (*Gateway)(nil)

// New returns a gateway to a store. It must be started before its first use.
func New(st store.Service) *Gateway {
	return &Gateway{Service: services.NewIdleService(nil, nil), store: st}
}

// Labels implements Service.
func (g *Gateway) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	names, err := g.store.Labels(ctx, start, end, matchers)
	return names, wrap("labels", err)
}

// LabelValues implements Service.
func (g *Gateway) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	values, err := g.store.LabelValues(ctx, name, start, end, matchers)
	return values, wrap("label values", err)
}

// Series implements Service.
func (g *Gateway) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	series, err := g.store.Series(ctx, start, end, matchers)
	return series, wrap("series", err)
}

// Volumes implements Service.
func (g *Gateway) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, parts []string) ([]logql.StreamVolume, error) {
	if parts != nil && len(parts) == 0 {
		return nil, nil
	}
	volumes, err := g.store.Volumes(ctx, start, end, matchers, parts)
	return volumes, wrap("volumes", err)
}

// Segments implements Service.
func (g *Gateway) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	segments, err := g.store.Segments(ctx, start, end)
	return segments, wrap("segments", err)
}

// Refresh makes the store look for segments of others now, if it can.
func (g *Gateway) Refresh(ctx context.Context) error {
	if r, ok := g.store.(interface{ Refresh(context.Context) error }); ok {
		return wrap("new segments", r.Refresh(ctx))
	}
	return nil
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("index of %s: %w", what, err)
	}
	return nil
}
