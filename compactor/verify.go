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

// recheck is how soon a damaged segment is looked at again: it may have been restored.
const recheck = time.Hour

// verify checks some segments: in each pass as many as it takes to have checked all in time, those first
// that wait the longest. After a start, all are due. Besides, it reports those whose footer cannot be read, and looks at damaged
// ones again.
func (c *Compactor) verify(ctx context.Context, tenant string) error {
	current, held, err := c.current(ctx)
	if err != nil {
		return err
	}
	now := c.cfg.Now()
	for _, s := range held {
		if s.Broken != nil && !s.Replaced {
			c.setDamage(segmentKey{tenant, s.ID}, s.Broken)
		}
	}
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
		waits := now.Sub(c.checked[k])
		again := c.isDamaged(k) && waits >= min(recheck, c.cfg.VerifyEvery)
		if !again && (budget < 0 || waits < c.cfg.VerifyEvery) {
			continue
		}
		if _, err := c.inspect(ctx, tenant, s.SegmentInfo); err != nil {
			return err
		}
		if !again {
			budget -= s.SizeBytes
		}
	}
	return nil
}

// inspect verifies a segment, and notes how it is. The error is of the bucket.
func (c *Compactor) inspect(ctx context.Context, tenant string, s store.SegmentInfo) (damaged bool, err error) {
	err = c.verifySegment(ctx, s)
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return false, err
	}
	k := segmentKey{tenant, s.ID}
	c.metrics.verified.Inc()
	c.checked[k] = c.cfg.Now()
	c.setDamage(k, err)
	return err != nil, nil
}

// setDamage notes what is wrong with a segment; nil: nothing.
func (c *Compactor) setDamage(k segmentKey, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, known := c.damaged[k]
	if err == nil {
		delete(c.damaged, k)
		return
	}
	if known && old.Err.Error() == err.Error() {
		return
	}
	c.damaged[k] = DamageInfo{c.cfg.Now(), err}
	c.log.Error("segment failed its verification", "tenant", k.tenant, "segment", k.id, "err", err)
}

func (c *Compactor) verifySegment(ctx context.Context, s store.SegmentInfo) error {
	seg, err := c.store.Open(ctx, s.ID)
	if err != nil {
		return err
	}
	defer seg.Close()
	return seg.Verify(ctx, func(raw int64) error { return c.pacer.pace(ctx, int(raw)) })
}
