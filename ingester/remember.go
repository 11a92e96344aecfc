package ingester

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/store"
)

// remember brings back what was known of parts that became segments before the start: queries whose snapshot of
// the catalog is older rely on it, see Config.HandoverWindow. The log tells of those alone whose records it
// still has; the store knows the others. Where it cannot tell times, queries ask it for these parts more often
// than needed.
func (r *replayer) remember() {
	for _, tenant := range r.tenantsOfStore() {
		ctx := user.InjectOrgID(r.ctx, tenant)
		infos, err := r.segments(ctx)
		if err != nil {
			r.logger.Warn("cannot list segments", "tenant", tenant, "err", err)
			continue
		}
		r.rememberTenant(tenant, infos)
	}
}

func (r *replayer) rememberTenant(tenant string, infos []store.SegmentInfo) {
	now := r.cfg.Now()
	opened := now.Add(-max(r.cfg.MaxAge, 0) - r.cfg.HandoverWindow) // of parts that may have been stored within the window
	byID := make(map[string]store.SegmentInfo, len(infos))
	var own []storedPart
	for _, info := range infos {
		id := info.ID.String()
		byID[id] = info
		if len(info.Replaces) == 0 && info.Rows > 0 && slices.Equal(info.Writers, r.writers) && info.ID.Timestamp().After(opened) {
			own = append(own, storedPart{id: id, min: info.MinTime, max: info.MaxTime, at: now})
		}
	}
	if len(own) == 0 && r.lookup(tenant) == nil {
		return
	}
	t := r.tenant(tenant)
	t.mu.Lock()
	defer t.mu.Unlock()
	for n := range t.stored {
		if info, ok := byID[t.stored[n].id]; ok {
			t.stored[n].min, t.stored[n].max = info.MinTime, info.MaxTime
		}
	}
	for _, s := range own {
		if !slices.ContainsFunc(t.stored, func(o storedPart) bool { return o.id == s.id }) {
			t.stored = append(t.stored, s)
		}
	}
}

// tenantsOfStore returns the tenants of the log, and those of the store if that can tell.
func (r *replayer) tenantsOfStore() []string {
	var ids []string
	for _, t := range r.allTenants() {
		ids = append(ids, t.id)
	}
	if s, ok := r.store.(interface{ Tenants() []string }); ok {
		ids = append(ids, s.Tenants()...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// segments returns those of a tenant, if the store can tell also those that others have replaced: some querier
// may not know of that yet.
func (r *replayer) segments(ctx context.Context) ([]store.SegmentInfo, error) {
	k, ok := r.store.(interface {
		Held(context.Context) ([]store.HeldSegment, error)
	})
	if !ok {
		return r.store.Segments(ctx, math.MinInt64, math.MaxInt64)
	}
	held, err := k.Held(ctx)
	infos := make([]store.SegmentInfo, 0, len(held))
	for _, h := range held {
		if h.Broken == nil {
			infos = append(infos, h.SegmentInfo)
		}
	}
	return infos, err
}

// HandedOver returns the streams of what became a segment within some time and at most Config.HandoverWindow
// ago, sorted and without repetition. Whoever joins lists of this ingester with those of a catalog that may be so
// old needs them, too: Labels, LabelValues and Series tell of what is in memory only.
func (i *Ingester) HandedOver(ctx context.Context, within time.Duration, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	id, err := tenantID(ctx)
	if err != nil {
		return nil, err
	}
	t := i.lookup(id)
	if t == nil {
		return nil, nil
	}
	_, stored := t.holding(func(string) bool { return true }, start, end)
	var ids []string
	for _, s := range stored {
		if i.cfg.Now().Sub(s.at) <= within {
			ids = append(ids, s.id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	volumes, err := i.store.Volumes(ctx, start, end, matchers, nil, ids)
	if err != nil {
		return nil, err
	}
	all := make([]labels.Labels, 0, len(volumes))
	for _, v := range volumes {
		all = append(all, v.Labels)
	}
	slices.SortFunc(all, labels.Compare)
	return slices.CompactFunc(all, labels.Equal), nil
}
