package compactor

import (
	"context"
	"errors"
	"math"

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
	for _, r := range due {
		stands, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) { p.Started = true })
		if err != nil {
			return nil, err
		}
		if stands {
			ps = append(ps, r.predicate)
		}
	}
	return ps, nil
}

// markClean notes that a segment has no row that these name. It holds the passing lock.
func (c *Compactor) markClean(tenant string, id [16]byte, ps []*Predicate) {
	k := segmentKey{tenant, id}
	for _, p := range ps {
		if c.clean[k] == nil {
			c.clean[k] = make(map[string]bool)
		}
		c.clean[k][p.id] = true
	}
}

// delete removes the rows of the delete requests that are due.
func (c *Compactor) delete(ctx context.Context, tenant string) error {
	for _, r := range c.requests.list(tenant) {
		if !c.due(tenant, r) || r.Flushed {
			continue
		}
		if c.cfg.Flush != nil {
			if err := c.cfg.Flush(ctx, tenant); err != nil {
				return err
			}
		} else if c.cfg.Now().Sub(r.Created) < c.cfg.HeadAge {
			continue
		}
		if _, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) { p.Flushed = true }); err != nil {
			return err
		}
	}
	if len(c.dueRequests(tenant, math.MinInt64, math.MaxInt64)) == 0 {
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
		errs = append(errs, c.deleteFrom(ctx, tenant, s.SegmentInfo))
	}
	return errors.Join(append(errs, c.progress(ctx, tenant))...)
}

// deleteFrom rewrites a segment if it holds rows that must go.
func (c *Compactor) deleteFrom(ctx context.Context, tenant string, s store.SegmentInfo) error {
	rest, err := c.atRest(ctx, tenant, s.ID)
	if err != nil || !rest || s.MaxTime == math.MaxInt64 {
		return err
	}
	var look []*Predicate
	k := segmentKey{tenant, s.ID}
	for _, r := range c.dueRequests(tenant, s.MinTime, s.MaxTime) {
		if s.Rows > 0 && !c.clean[k][r.ID] {
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
	for _, p := range look {
		found, err := c.finds(ctx, seg, p)
		if err != nil {
			return err
		}
		if found {
			_, err := c.rewrite(ctx, tenant, []store.SegmentInfo{s}, "delete")
			return err
		}
		c.markClean(tenant, s.ID, []*Predicate{p})
	}
	return nil
}

// finds tells whether a predicate names a row of a segment. Pages are read only where it is about a stream.
func (c *Compactor) finds(ctx context.Context, seg *store.Segment, p *Predicate) (bool, error) {
	about := false
	for s, err := range seg.Streams() {
		if err != nil {
			return false, err
		}
		if about = p.overlaps(s.MinTime, s.MaxTime) && p.matches(s.Labels); about {
			break
		}
	}
	if !about {
		return false, nil
	}
	r := newRemover([]*Predicate{p})
	for b, err := range seg.Batches(p.Start, p.through()) {
		if err != nil {
			return false, err
		}
		raw := int(b.RawBytes)
		n, err := r.narrow(ctx, b)
		b.Release()
		if err == nil && n == 0 {
			err = c.pace(ctx, raw)
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
			if s.Replaced || s.Broken == nil && (s.Rows == 0 || !r.predicate.overlaps(s.MinTime, s.MaxTime)) {
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
			if p.Flushed && done == total && p.Cleared.IsZero() {
				p.Cleared = now.Round(0)
			}
		})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
