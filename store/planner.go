package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"golang.org/x/sync/errgroup"

	"example.com/loki/logql"
)

// planner finds the pages that a query has to read, in the order of its direction. It looks at segments
// when their turn comes: one that wants the newest lines opens the newest segments alone, however many
// others there are.
//
// Segments are planned in groups that double in size. For each group those are opened too that overlap
// it in time: whether runs share entries must be known. Where copies are told by digests, those are opened too that have
// rows in the same spans.
type planner struct {
	store   *Store
	req     *logql.SelectRequest
	prune   pruner      // as it begins each segment
	segs    []selected  // in the order of the direction
	planned int         // of segs
	group   int         // size of the next group
	double  []timeRange // what several segments cover
	digests bool        // some may have digests that help
	refs    []pageRef   // pages of planned segments that are still to be handed out, in order
}

func (s *Store) newPlanner(ctx context.Context, req *logql.SelectRequest) (*planner, error) {
	segs, err := s.candidates(ctx, req.Start, req.End, req.Parts, req.Known)
	if err != nil {
		return nil, err
	}
	p := &planner{store: s, req: req, prune: *newPruner(req), segs: segs, group: 1, double: doublyCovered(segs)}
	if req.All {
		p.group = sideBySide
	}
	if req.All && len(p.double) > 0 && slices.ContainsFunc(segs, func(s selected) bool { return s.info.mayHaveDigests() }) {
		p.digests, p.group = true, firstOfAll
	}
	slices.SortStableFunc(segs, func(a, b selected) int {
		if p.backward() {
			return cmp.Compare(b.info.MaxTime, a.info.MaxTime)
		}
		return cmp.Compare(a.info.MinTime, b.info.MinTime)
	})
	return p, nil
}

// sideBySide is the size of the first group if all segments are going to be read: opening them takes a while, and each can be
// opened by a processor of its own.
const sideBySide = 4

// firstOfAll is the size of the first group of segments if all are going to be read, and copies told by digests: each group
// tells them anew.
const firstOfAll = 16

func (p *planner) backward() bool { return p.req.Direction == logql.Backward }

// next returns the next page, or nil when there is none.
func (p *planner) next(ctx context.Context) (*pageRef, error) {
	for p.planned < len(p.segs) && (len(p.refs) == 0 || !p.precedes(&p.refs[0], &p.segs[p.planned])) {
		if err := p.plan(ctx); err != nil {
			return nil, p.store.report(err)
		}
	}
	if len(p.refs) == 0 {
		return nil, nil
	}
	ref := &p.refs[0]
	p.refs = p.refs[1:]
	return ref, nil
}

// precedes tells whether a page comes before all pages of a segment and of those behind it.
func (p *planner) precedes(r *pageRef, x *selected) bool {
	if p.backward() {
		return r.max > x.info.MaxTime
	}
	return r.min < x.info.MinTime
}

// plan looks at the next group of segments.
func (p *planner) plan(ctx context.Context) error {
	n := min(p.group, len(p.segs)-p.planned)
	p.group *= 2
	begin, end := p.planned, p.planned+n
	p.planned = end
	span := timeRange{p.segs[begin].info.MinTime, p.segs[begin].info.MaxTime}
	for i := begin; i < end; i++ {
		span.min, span.max = min(span.min, p.segs[i].info.MinTime), max(span.max, p.segs[i].info.MaxTime)
	}
	if p.digests {
		span = outward(span)
	}
	var group []*selected // those to plan come first
	for i := begin; i < end; i++ {
		group = append(group, &p.segs[i])
	}
	for i := range p.segs {
		if x := &p.segs[i]; (i < begin || i >= end) && x.info.MinTime <= span.max && x.info.MaxTime >= span.min {
			group = append(group, x)
		}
	}
	if err := p.ruleOut(ctx, group); err != nil {
		return err
	}
	for _, x := range group[:n] {
		if x.without {
			n--
		}
	}
	group = slices.DeleteFunc(group, func(x *selected) bool { return x.without })
	if err := p.store.openAll(ctx, group, p.req.Matchers); err != nil {
		return err
	}
	opened := make([]selected, len(group))
	for i, x := range group {
		opened[i] = *x
	}
	shared := newSharing(opened, p.double, p.req.Start, p.req.End, p.digests)
	// Filters are read from the bucket when they are first needed, and probing those of all pages takes a while: each
	// segment goes by itself.
	type plannedSegment struct {
		prune pruner
		refs  []pageRef
	}
	planned := make([]plannedSegment, n)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.store.cfg.OpenConcurrency)
	for i := range planned {
		g.Go(func() (err error) {
			x := &planned[i]
			x.prune = p.prune
			x.refs, err = opened[i].pages(gctx, p.req, &x.prune, shared, i)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	for i := range planned {
		x := &planned[i]
		p.refs = append(p.refs, x.refs...)
		p.store.metrics.pages.Add(float64(x.prune.seen))
		p.store.metrics.pagesPruned.Add(float64(x.prune.dropped))
	}
	slices.SortFunc(p.refs, func(a, b pageRef) int {
		if p.backward() {
			return cmp.Or(cmp.Compare(b.max, a.max), cmp.Compare(a.part, b.part), cmp.Compare(a.page, b.page))
		}
		return cmp.Or(cmp.Compare(a.min, b.min), cmp.Compare(a.part, b.part), cmp.Compare(a.page, b.page))
	})
	return nil
}

// ruleOut marks those of the segments whose filters say that they have nothing to look for: neither rows to read nor entries
// that others share. It looks at those that are not loaded, so that they need not be.
func (p *planner) ruleOut(ctx context.Context, segs []*selected) error {
	if p.prune.needle.empty() {
		return nil
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(p.store.cfg.OpenConcurrency)
	for _, x := range segs {
		if x.seg != nil || x.without {
			continue
		}
		g.Go(func() error {
			seg, err := p.store.unloaded(gctx, x)
			if err != nil || seg.loaded() {
				return err
			}
			prune := p.prune
			lines, err := seg.lineFilters.get(gctx)
			if err != nil {
				return err
			}
			for page := range lines {
				if prune.lineBlocks(lines[page], &seg.dir.pages[page]) != 0 {
					return nil
				}
			}
			x.without = true
			p.store.metrics.pages.Add(float64(len(lines)))
			p.store.metrics.pagesPruned.Add(float64(len(lines)))
			return nil
		})
	}
	return g.Wait()
}

// candidates returns the segments of a time range, not opened yet. parts and known are as in
// SelectRequest.
func (s *Store) candidates(ctx context.Context, start, end int64, parts, known []string) ([]selected, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	skip := make(map[string]bool, len(known))
	for _, id := range known {
		skip[id] = true
	}
	var found []catalogEntry
	if parts == nil {
		found = s.catalog.within(tenant, start, end)
	} else {
		// Who names parts has seen them in the catalog, perhaps before others replaced them.
		found = s.catalog.named(tenant, parts, start, end)
	}
	var segs []selected
	for _, e := range found {
		if skip[e.info.ID.String()] {
			continue
		}
		if e.broken != nil {
			return nil, e.broken
		}
		segs = append(segs, selected{tenant: tenant, info: e.info, path: SegmentPath(tenant, e.info.ID)})
	}
	return segs, nil
}

// openAll opens segments, those that are open already apart, and finds the streams that match.
func (s *Store) openAll(ctx context.Context, segs []*selected, ms []*labels.Matcher) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(s.cfg.OpenConcurrency)
	for _, sel := range segs {
		if sel.seg != nil {
			continue
		}
		g.Go(func() error {
			seg, err := s.segment(gctx, sel)
			if err != nil {
				return err
			}
			if sel.streams, err = seg.index.match(gctx, ms); err != nil {
				return s.report(seg.indexError(gctx, err))
			}
			sel.seg = seg
			return nil
		})
	}
	return g.Wait()
}

// match opens the segments of a time range and finds the streams that match. Segments without any such
// stream are left out. parts and known are as in SelectRequest.
func (s *Store) match(ctx context.Context, ms []*labels.Matcher, start, end int64, parts, known []string) ([]selected, error) {
	segs, err := s.candidates(ctx, start, end, parts, known)
	if err != nil {
		return nil, err
	}
	all := make([]*selected, len(segs))
	for i := range segs {
		all[i] = &segs[i]
	}
	if err := s.openAll(ctx, all, ms); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(segs, func(x selected) bool { return len(x.streams) == 0 }), nil
}
