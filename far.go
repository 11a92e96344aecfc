package loki

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
	"example.com/loki/logql"
	"example.com/loki/scheduler"
	"example.com/loki/store"
)

// farScheduler is schedulers in other processes. A task is given out again when the one that had it goes away, or
// when none is there for a moment, as while all are restarted one after the other.
type farScheduler struct {
	scheduler.Service
}

const (
	askAgain    = 100 * time.Millisecond // after which pause
	askAgainFor = 5 * time.Second        // how long
)

// Run implements scheduler.Service.
func (f farScheduler) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	for began := time.Now(); ; {
		p, err := f.Service.Run(ctx, t)
		if !wire.IsUnavailable(err) || time.Since(began) > askAgainFor {
			return p, err
		}
		pause := time.NewTimer(askAgain)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil, err
		}
	}
}

// farIndex is an index gateway in another process, beside the store of this one. A query reads the
// segments that it finds in the catalog of its own store, so the list of these comes from there. What the
// gateway cannot answer is answered here: slower, because indexes have to be read, but right.
type farIndex struct {
	far  indexgw.Service
	near *indexgw.Gateway

	refreshed atomic.Int64 // nanoseconds since 1970: when the near one was told to look for segments
}

// Refresh brings the list of segments up to date. The gateway's own is not, so it is not asked for lists until
// that has happened, too.
func (f *farIndex) Refresh(ctx context.Context) error {
	f.refreshed.Store(time.Now().UnixNano())
	return f.near.Refresh(ctx)
}

// behind tells that the gateway may not know yet of what was refreshed here.
func (f *farIndex) behind() bool {
	return time.Since(time.Unix(0, f.refreshed.Load())) < 3*catalogRefresh
}

var _ indexgw.Service = (*farIndex)(nil)

// Labels implements indexgw.Service.
func (f *farIndex) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	if f.behind() {
		return f.near.Labels(ctx, start, end, matchers)
	}
	names, err := f.far.Labels(ctx, start, end, matchers)
	if wire.IsUnavailable(err) {
		return f.near.Labels(ctx, start, end, matchers)
	}
	return names, err
}

// LabelValues implements indexgw.Service.
func (f *farIndex) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	if f.behind() {
		return f.near.LabelValues(ctx, name, start, end, matchers)
	}
	values, err := f.far.LabelValues(ctx, name, start, end, matchers)
	if wire.IsUnavailable(err) {
		return f.near.LabelValues(ctx, name, start, end, matchers)
	}
	return values, err
}

// Series implements indexgw.Service.
func (f *farIndex) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	if f.behind() {
		return f.near.Series(ctx, start, end, matchers)
	}
	series, err := f.far.Series(ctx, start, end, matchers)
	if wire.IsUnavailable(err) {
		return f.near.Series(ctx, start, end, matchers)
	}
	return series, err
}

// Volumes implements indexgw.Service. A gateway whose catalog has other segments than ours refuses; see
// strictStore.
func (f *farIndex) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, parts []string) ([]logql.StreamVolume, error) {
	volumes, err := f.far.Volumes(ctx, start, end, matchers, parts)
	if err != nil && ctx.Err() == nil {
		return f.near.Volumes(ctx, start, end, matchers, parts)
	}
	return volumes, err
}

// Segments implements indexgw.Service.
func (f *farIndex) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	return f.near.Segments(ctx, start, end)
}

// strictStore is a store that is asked about segments by processes with catalogs of their own. It brings
// its catalog up to date when it doesn't know one of them, rather than leaving that out silently.
type strictStore struct {
	store.Service
}

// Volumes implements store.Service.
func (s strictStore) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, parts []string) ([]logql.StreamVolume, error) {
	if err := s.know(ctx, parts); err != nil {
		return nil, err
	}
	return s.Service.Volumes(ctx, start, end, matchers, parts)
}

// know makes sure that the catalog has all of the parts.
func (s strictStore) know(ctx context.Context, parts []string) error {
	missing, err := s.missing(ctx, parts)
	if err != nil || missing == "" {
		return err
	}
	if r, ok := s.Service.(interface{ Refresh(context.Context) error }); ok {
		if err := r.Refresh(ctx); err != nil {
			return fmt.Errorf("look for segment %s: %w", missing, err)
		}
		if missing, err = s.missing(ctx, parts); err != nil {
			return err
		}
	}
	if missing != "" {
		return fmt.Errorf("segment %s is not in the catalog of this process", missing)
	}
	return nil
}

// missing returns a part that is not in the catalog, empty if there is none.
func (s strictStore) missing(ctx context.Context, parts []string) (string, error) {
	if len(parts) == 0 {
		return "", nil
	}
	segments, err := s.Segments(ctx, math.MinInt64, math.MaxInt64)
	if err != nil {
		return "", err
	}
	known := make(map[string]bool, len(segments))
	for _, g := range segments {
		known[g.ID.String()] = true
	}
	for _, id := range parts {
		if !known[id] {
			return id, nil
		}
	}
	return "", nil
}

// handedOver is the ingester of this process as others see it. Their catalogs may not have yet what became
// a segment of late, so lists include that.
type handedOver struct {
	ingester.Service
	goes   *atomic.Bool  // for good: it takes nothing any more
	within time.Duration // how old others' catalogs may be
}

func (e *Engine) handedOver() ingester.Service {
	return handedOver{e.heads(), &e.goes, max(12*catalogRefresh, 3*e.cfg.Store.RefreshInterval)}
}

// Push implements ingester.Service.
func (h handedOver) Push(ctx context.Context, req *ingester.PushRequest) error {
	if h.goes.Load() {
		return fmt.Errorf("%w: it is leaving for good", ingester.ErrNotReady)
	}
	return h.Service.Push(ctx, req)
}

// lately returns the streams of what became a segment of late.
func (h handedOver) lately(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
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
func (h handedOver) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
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
func (h handedOver) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	names, err := h.Service.Labels(ctx, start, end, matchers)
	if err != nil {
		return nil, err
	}
	return h.add(ctx, names, start, end, matchers, func(l labels.Label) string { return l.Name })
}

// LabelValues implements ingester.Service.
func (h handedOver) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
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
func (h handedOver) add(ctx context.Context, texts []string, start, end int64, matchers []*labels.Matcher, pick func(labels.Label) string) ([]string, error) {
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
