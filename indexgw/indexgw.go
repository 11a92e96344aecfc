// Package indexgw answers what can be told from the indexes of stored segments alone: labels, streams,
// volumes, and which segments a query would read. No line is read for any of it.
//
// Frontends and queriers ask here rather than at the store, so that in a larger installation few
// processes need to hold indexes in memory and all others share them.
package indexgw

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/cache"
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
	// with nil in all. Volumes of different writers come apart: see logql.MergeVolumes. If by is not nil, volumes are those
	// of groups of streams that agree in the labels of these names, and have no others: see logql.GroupVolumes.
	Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error)

	// Segments returns the segments with rows in the range.
	Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error)
}

// Config of a gateway. The zero value is a good default.
type Config struct {
	// Labels, Series and Volumes keep answers of that kind: labels and their values, streams, and volumes, which
	// index statistics come from too. nil means one in memory for all that have none; cache.None keeps nothing.
	Labels, Series, Volumes cache.Cache

	// CacheBytes bounds the one in memory. 0 means 16 MiB, negative that there is none.
	CacheBytes int64
}

// Gateway is the Service over a store, which caches the indexes it opens. The gateway keeps answers: each under the
// names of the segments that it was computed from, which never change, so that it is true for ever and not found any
// more as soon as there are others.
type Gateway struct {
	services.Service
	cfg   Config
	store store.Service
}

var _ Service = (*Gateway)(nil)

// New returns a gateway to a store. It must be started before its first use. reg may be nil.
func New(cfg Config, st store.Service, reg prometheus.Registerer) (*Gateway, error) {
	common := cache.None()
	if cfg.CacheBytes >= 0 && (cfg.Labels == nil || cfg.Series == nil || cfg.Volumes == nil) {
		m, err := cache.New(cache.Config{Name: "index-answers", MaxBytes: cmp.Or(cfg.CacheBytes, 16<<20)}, reg)
		if err != nil {
			return nil, fmt.Errorf("index gateway: %w", err)
		}
		common = m
	}
	for _, c := range []*cache.Cache{&cfg.Labels, &cfg.Series, &cfg.Volumes} {
		if *c == nil {
			*c = common
		}
	}
	return &Gateway{Service: services.NewIdleService(nil, nil), cfg: cfg, store: st}, nil
}

// Labels implements Service.
func (g *Gateway) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	q := question{kind: "labels", start: start, end: end, matchers: matchers, whole: true}
	names, err := kept(ctx, g.store, g.cfg.Labels, q, texts{}, func() ([]string, error) {
		return g.store.Labels(ctx, start, end, matchers)
	})
	return names, wrap("labels", err)
}

// LabelValues implements Service.
func (g *Gateway) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	q := question{kind: "values", name: name, start: start, end: end, matchers: matchers, whole: true}
	values, err := kept(ctx, g.store, g.cfg.Labels, q, texts{}, func() ([]string, error) {
		return g.store.LabelValues(ctx, name, start, end, matchers)
	})
	return values, wrap("label values", err)
}

// Series implements Service.
func (g *Gateway) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	q := question{kind: "series", start: start, end: end, matchers: matchers}
	series, err := kept(ctx, g.store, g.cfg.Series, q, series{}, func() ([]labels.Labels, error) {
		return g.store.Series(ctx, start, end, matchers)
	})
	return series, wrap("series", err)
}

// Volumes implements Service.
func (g *Gateway) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	if parts != nil && len(parts) == 0 {
		return nil, nil
	}
	q := question{kind: "volumes", start: start, end: end, matchers: matchers, by: by, parts: parts}
	found, err := kept(ctx, g.store, g.cfg.Volumes, q, volumes{}, func() ([]logql.StreamVolume, error) {
		return g.store.Volumes(ctx, start, end, matchers, by, parts)
	})
	return found, wrap("volumes", err)
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

// Listed returns when the store last began to look for segments of others and succeeded; now, if it doesn't have to.
func (g *Gateway) Listed() time.Time {
	if l, ok := g.store.(interface{ Listed() time.Time }); ok {
		return l.Listed()
	}
	return time.Now()
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("index of %s: %w", what, err)
	}
	return nil
}
