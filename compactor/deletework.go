package compactor

import (
	"context"
	"errors"
	"math"

	"example.com/loki/store"
)

// due tells whether the rows of a request may be removed.
func (c *Compactor) due(r *request) bool {
	return r.Processed.IsZero() && c.cfg.Now().Sub(r.Created) >= c.cfg.CancelPeriod
}

// dueRequests returns what is to be removed, and a function that must be called before it is.
func (c *Compactor) dueRequests(tenant string) ([]*Predicate, func(context.Context) error) {
	var due []*request
	var ps []*Predicate
	for _, r := range c.requests.list(tenant) {
		if c.due(r) {
			due = append(due, r)
			ps = append(ps, r.predicate)
		}
	}
	return ps, func(ctx context.Context) error {
		for _, r := range due {
			// From now on the request can't be cancelled.
			if err := c.requests.update(ctx, tenant, r.ID, func(r *Request) { r.Started = true }); err != nil {
				return err
			}
		}
		return nil
	}
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
		if !c.due(r) || r.Flushed {
			continue
		}
		if c.cfg.Flush != nil {
			if err := c.cfg.Flush(ctx, tenant); err != nil {
				return err
			}
		} else if c.cfg.Now().Sub(r.Created) < c.cfg.HeadAge {
			continue
		}
		if err := c.requests.update(ctx, tenant, r.ID, func(r *Request) { r.Flushed = true }); err != nil {
			return err
		}
	}
	ps, started := c.dueRequests(tenant)
	if len(ps) == 0 {
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
		errs = append(errs, c.deleteFrom(ctx, tenant, s.SegmentInfo, ps, started))
	}
	return errors.Join(append(errs, c.progress(ctx, tenant))...)
}

// deleteFrom rewrites a segment if it holds rows that must go.
func (c *Compactor) deleteFrom(ctx context.Context, tenant string, s store.SegmentInfo, ps []*Predicate, started func(context.Context) error) error {
	rest, err := c.atRest(ctx, tenant, s.ID)
	if err != nil || !rest || s.MaxTime == math.MaxInt64 {
		return err
	}
	var look []*Predicate
	k := segmentKey{tenant, s.ID}
	for _, p := range ps {
		if s.Rows > 0 && p.overlaps(s.MinTime, s.MaxTime) && !c.clean[k][p.id] {
			look = append(look, p)
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
			// All that is due goes at once; and from now on no request that is at work can be cancelled.
			if err := started(ctx); err != nil {
				return err
			}
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
		if !c.due(r) {
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
		errs = append(errs, c.requests.update(ctx, tenant, r.ID, func(r *Request) {
			r.Segments, r.Done = total, done
			if r.Flushed && done == total && r.Cleared.IsZero() {
				r.Cleared = now.Round(0)
			}
		}))
	}
	return errors.Join(errs...)
}
