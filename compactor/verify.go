package compactor

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"example.com/loki/store"
)

// Damage is a segment that can't be read as it was written.
type Damage struct {
	Segment ulid.ULID
	DamageInfo
}

// DamageInfo says what is wrong with a segment.
type DamageInfo struct {
	Found time.Time
	Err   error
}

// Damaged implements Service.
func (c *Compactor) Damaged(ctx context.Context) ([]Damage, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Damage
	for k, d := range c.damaged {
		if k.tenant == tenant {
			out = append(out, Damage{k.id, d})
		}
	}
	slices.SortFunc(out, func(a, b Damage) int { return a.Segment.Compare(b.Segment) })
	return out, nil
}

// verify checks some segments: in each pass as many as it takes to have checked all in time, those first
// that wait the longest. After a start, all are due.
func (c *Compactor) verify(ctx context.Context, tenant string) error {
	current, _, err := c.current(ctx)
	if err != nil {
		return err
	}
	now := c.cfg.Now()
	var total int64
	for _, s := range current {
		total += s.SizeBytes
	}
	budget := total
	if c.cfg.Interval > 0 && c.cfg.Interval < c.cfg.VerifyEvery {
		budget = int64(float64(total) * float64(c.cfg.Interval) / float64(c.cfg.VerifyEvery))
	}
	slices.SortFunc(current, func(a, b store.HeldSegment) int {
		return cmp.Or(c.checked[segmentKey{tenant, a.ID}].Compare(c.checked[segmentKey{tenant, b.ID}]), a.ID.Compare(b.ID))
	})
	for _, s := range current {
		k := segmentKey{tenant, s.ID}
		if budget < 0 || now.Sub(c.checked[k]) < c.cfg.VerifyEvery {
			return nil
		}
		err := c.verifySegment(ctx, s)
		if err != nil && !errors.Is(err, store.ErrCorrupt) {
			return err
		}
		c.metrics.verified.Inc()
		c.checked[k] = now
		c.mu.Lock()
		delete(c.damaged, k)
		if err != nil {
			c.damaged[k] = DamageInfo{now, err}
			c.log.Error("segment failed its verification", "tenant", tenant, "segment", s.ID, "err", err)
		}
		c.mu.Unlock()
		budget -= s.SizeBytes
	}
	return nil
}

func (c *Compactor) verifySegment(ctx context.Context, s store.HeldSegment) error {
	seg, err := c.store.Open(ctx, s.ID)
	if err != nil {
		return err
	}
	defer seg.Close()
	return seg.Verify(ctx, func(raw int64) error { return c.pacer.pace(ctx, int(raw)) })
}
