package compactor

import (
	"context"
	"errors"
	"math"
	"slices"
	"time"

	"example.com/loki/limits"
	"example.com/loki/store"
)

// due tells whether the rows of a request may be removed.
func (c *Compactor) due(tenant string, r *request) bool {
	switch c.limits(tenant).DeletionMode {
	case limits.DeletionDisabled, limits.DeletionFilterOnly:
		return false
	}
	return !r.over() && c.cfg.Now().Sub(r.Created) >= c.cfg.CancelPeriod
}

// dueRequests returns those of a tenant that are due and about a time from lo to hi, inclusive.
func (c *Compactor) dueRequests(tenant string, lo, hi int64) []*request {
	var due []*request
	for _, r := range c.requests.list(tenant) {
		if c.due(tenant, r) && r.predicate.overlaps(lo, hi) {
			due = append(due, r)
		}
	}
	return due
}

// begin is called before rows are removed. From its return on the requests can't be cancelled without force.
// It returns what stands: a request may have been cancelled just before.
func (c *Compactor) begin(ctx context.Context, tenant string, due []*request) ([]*Predicate, error) {
	var ps []*Predicate
	var begun []*request
	for _, r := range due {
		if r.Started {
			begun = append(begun, r)
			continue
		}
		stands, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) { p.Started = true })
		if err != nil {
			return nil, err
		}
		if stands {
			ps = append(ps, r.predicate)
		}
	}
	begun, err := c.requests.standing(ctx, tenant, begun)
	if err != nil {
		return nil, err
	}
	for _, r := range begun {
		ps = append(ps, r.predicate)
	}
	return ps, nil
}

// markClean notes that a segment has no row that these name. It is called within a pass.
func (c *Compactor) markClean(tenant string, id [16]byte, ps []*Predicate) {
	k := segmentKey{tenant, id}
	for _, p := range ps {
		if c.clean[k] == nil {
			c.clean[k] = make(map[string]bool)
		}
		c.clean[k][p.id] = true
	}
}

// flush sees to it that all rows that requests which are due may be about are in segments that the catalog knows.
func (c *Compactor) flush(ctx context.Context, tenant string) error {
	flushed := false
	for _, r := range c.requests.list(tenant) {
		switch {
		case !c.due(tenant, r) || !r.Flushed.IsZero():
			continue
		case c.cfg.Flush == nil && c.cfg.Now().Sub(r.Created) < c.cfg.HeadAge:
			continue
		case c.cfg.Flush != nil && !flushed:
			if err := c.cfg.Flush(ctx, tenant); err != nil {
				return err
			}
			// What ingesters in other processes have stored just now is not in the catalog yet.
			if err := c.store.Refresh(ctx); err != nil {
				return err
			}
			flushed = true
		}
		now := c.cfg.Now().Round(0)
		if _, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) { p.Flushed = now }); err != nil {
			return err
		}
	}
	return nil
}

// concerns tells whether a segment may hold rows that a request must have removed before it is done.
func (r *request) concerns(s store.HeldSegment) bool {
	switch {
	case s.Replaced:
		return false
	case !r.Flushed.IsZero() && s.ID.Timestamp().After(r.Flushed.Add(clockSkew)):
		return false // it has what was pushed later
	}
	return s.Broken != nil || s.Rows > 0 && r.predicate.overlaps(s.MinTime, s.MaxTime)
}

// delete removes the rows of the delete requests that are due.
func (c *Compactor) delete(ctx context.Context, tenant string) error {
	if err := c.flush(ctx, tenant); err != nil {
		return err
	}
	due := c.dueRequests(tenant, math.MinInt64, math.MaxInt64)
	if len(due) == 0 {
		return nil
	}
	segments, _, err := c.current(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range segments {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, c.deleteFrom(ctx, tenant, s.SegmentInfo, due))
	}
	return errors.Join(append(errs, c.progress(ctx, tenant))...)
}

// deleteFrom rewrites a segment if it holds rows that must go because of the requests that are due.
func (c *Compactor) deleteFrom(ctx context.Context, tenant string, s store.SegmentInfo, due []*request) error {
	rest, err := c.atRest(ctx, tenant, s.ID)
	if err != nil || !rest || s.MaxTime == math.MaxInt64 {
		return err
	}
	var look []*Predicate
	k := segmentKey{tenant, s.ID}
	for _, r := range due {
		if s.Rows > 0 && r.predicate.overlaps(s.MinTime, s.MaxTime) && !c.clean[k][r.ID] {
			look = append(look, r.predicate)
		}
	}
	if len(look) == 0 {
		return nil
	}
	seg, err := c.store.Open(ctx, s.ID)
	if err != nil {
		return err
	}
	defer seg.Close()
	found, err := c.finds(ctx, seg, look)
	switch {
	case err != nil:
		return err
	case found:
		if _, err := c.rewrite(ctx, tenant, []store.SegmentInfo{s}, "delete"); err != nil {
			return err
		}
		return c.unclear(ctx, tenant, s, due)
	}
	c.markClean(tenant, s.ID, look)
	return nil
}

// unclear takes back that requests have no rows any more: a segment had some, which another compactor wrote as it knew
// nothing of them.
func (c *Compactor) unclear(ctx context.Context, tenant string, s store.SegmentInfo, due []*request) error {
	for _, r := range due {
		if r.Cleared.IsZero() || !r.concerns(store.HeldSegment{SegmentInfo: s}) {
			continue
		}
		if _, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) { p.Cleared = time.Time{} }); err != nil {
			return err
		}
	}
	return nil
}

// finds tells whether any of some predicates names a row of a segment. Pages are read only where one is about a
// stream, and once for all of them.
func (c *Compactor) finds(ctx context.Context, seg *store.Segment, ps []*Predicate) (bool, error) {
	var about []*Predicate
	pending := slices.Clone(ps)
	for s, err := range seg.Streams() {
		if err != nil {
			return false, err
		}
		pending = slices.DeleteFunc(pending, func(p *Predicate) bool {
			if p.overlaps(s.MinTime, s.MaxTime) && p.matches(s.Labels) {
				about = append(about, p)
				return true
			}
			return false
		})
		if len(pending) == 0 {
			break
		}
	}
	if len(about) == 0 {
		return false, nil
	}
	start, through := int64(math.MaxInt64), int64(math.MinInt64)
	for _, p := range about {
		start, through = min(start, p.Start), max(through, p.through())
	}
	r := newRemover(about)
	for b, err := range seg.Batches(start, through) {
		if err != nil {
			return false, err
		}
		raw := int(b.RawBytes)
		n, err := r.narrow(ctx, b, start, through)
		b.Release()
		if err == nil && n == 0 {
			err = c.pacer.pace(ctx, raw)
		}
		if err != nil || n > 0 {
			return n > 0, err
		}
	}
	return false, nil
}

// progress notes how far the requests are.
func (c *Compactor) progress(ctx context.Context, tenant string) error {
	held, err := c.store.Held(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range c.requests.list(tenant) {
		if !c.due(tenant, r) {
			continue
		}
		total, done := 0, 0
		for _, s := range held {
			if !r.concerns(s) {
				continue
			}
			total++
			if c.clean[segmentKey{tenant, s.ID}][r.ID] {
				done++
			}
		}
		now := c.cfg.Now()
		_, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) {
			p.Segments, p.Done = total, done
			if !p.Flushed.IsZero() && done == total && p.Cleared.IsZero() {
				p.Cleared = now.Round(0)
			}
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
