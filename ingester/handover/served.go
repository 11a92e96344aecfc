package handover

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
)

// served is the ingester of this process as others see it. Their catalogs may not have yet what became
// a segment of late, so lists include that.
type served struct {
	ingester.Service
	goes   *atomic.Bool  // for good: it takes nothing any more
	within time.Duration // how old others' catalogs may be
}

// Push implements ingester.Service.
func (h served) Push(ctx context.Context, req *ingester.PushRequest) error {
	if h.goes.Load() {
		return fmt.Errorf("%w: it is leaving for good", ingester.ErrNotReady)
	}
	return h.Service.Push(ctx, req)
}

// lately returns the streams of what became a segment of late.
func (h served) lately(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	if i, ok := h.Service.(interface {
		HandedOver(context.Context, time.Duration, int64, int64, []*labels.Matcher) ([]labels.Labels, error)
	}); ok {
		return i.HandedOver(ctx, h.within, start, end, matchers)
	}
	volumes, err := h.Volumes(ctx, start, end, matchers, nil) // includes what was stored lately
	var all []labels.Labels
	for _, v := range volumes {
		if v.Entries > 0 {
			all = append(all, v.Labels)
		}
	}
	return all, err
}

// Series implements ingester.Service. What is in memory is asked for first: what leaves it meanwhile is then
// among what was handed over.
func (h served) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	all, err := h.Service.Series(ctx, start, end, matchers)
	if err != nil {
		return nil, err
	}
	more, err := h.lately(ctx, start, end, matchers)
	if err != nil || len(more) == 0 {
		return all, err
	}
	all = append(all, more...)
	slices.SortFunc(all, labels.Compare)
	return slices.CompactFunc(all, labels.Equal), nil
}

// Labels implements ingester.Service.
func (h served) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	names, err := h.Service.Labels(ctx, start, end, matchers)
	if err != nil {
		return nil, err
	}
	return h.add(ctx, names, start, end, matchers, func(l labels.Label) string { return l.Name })
}

// LabelValues implements ingester.Service.
func (h served) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	values, err := h.Service.LabelValues(ctx, name, start, end, matchers)
	if err != nil {
		return nil, err
	}
	return h.add(ctx, values, start, end, matchers, func(l labels.Label) string {
		if l.Name != name {
			return ""
		}
		return l.Value
	})
}

// add adds to texts what pick finds in the labels of what was handed over, but for empty texts.
func (h served) add(ctx context.Context, texts []string, start, end int64, matchers []*labels.Matcher, pick func(labels.Label) string) ([]string, error) {
	series, err := h.lately(ctx, start, end, matchers)
	if err != nil || len(series) == 0 {
		return texts, err
	}
	found := map[string]bool{}
	for _, text := range texts {
		found[text] = true
	}
	for _, s := range series {
		s.Range(func(l labels.Label) {
			if text := pick(l); text != "" {
				found[text] = true
			}
		})
	}
	return slices.Sorted(maps.Keys(found)), nil
}
