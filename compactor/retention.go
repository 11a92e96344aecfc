package compactor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"

	"example.com/loki/limits"
	"example.com/loki/store"
)

// Planned is a segment, or some rows of one, that retention will drop.
type Planned struct {
	Tenant           string
	Segment          ulid.ULID
	MinTime, MaxTime int64 // of its rows, nanoseconds since 1970
	Rows, Bytes      int64 // of the segment; Bytes are stored ones
	At               time.Time
	Partly           bool // only the rows of some streams go
	Reason           string
}

// expiry is when retention has something to do with a segment, in nanoseconds since 1970.
type expiry struct {
	rules   string // that it follows from
	drop    int64  // all rows are expired
	rewrite int64  // some streams are, and have been for a partition's span
}

const never = math.MaxInt64

// expires returns when a segment expires. Where streams have periods of their own, it needs its index.
func (c *Compactor) expires(ctx context.Context, tenant string, s store.SegmentInfo, r *rules) (expiry, error) {
	if len(r.streams) == 0 {
		e := expiry{drop: never, rewrite: never}
		if r.global > 0 {
			e.drop = after(s.MaxTime, r.global)
		}
		return e, nil
	}
	k := segmentKey{tenant, s.ID}
	c.mu.Lock()
	e, ok := c.expiry[k]
	c.mu.Unlock()
	if ok && e.rules == r.key {
		return e, nil
	}
	seg, err := c.store.Open(ctx, s.ID)
	if err != nil {
		return expiry{}, err
	}
	defer seg.Close()
	e = expiry{rules: r.key, drop: math.MinInt64, rewrite: never}
	for st, err := range seg.Streams() {
		if err != nil {
			return expiry{}, err
		}
		period := r.period(st.Labels)
		if period == 0 {
			e.drop = never
			continue
		}
		at := after(st.MaxTime, period)
		e.drop = max(e.drop, at)
		e.rewrite = min(e.rewrite, after(at, int64(c.cfg.Partition)))
	}
	if e.rewrite >= e.drop {
		e.rewrite = never
	}
	c.mu.Lock()
	c.expiry[k] = e
	c.mu.Unlock()
	return e, nil
}

// after adds to a time, up to the end of time.
func after(t, d int64) int64 {
	if t > never-d {
		return never
	}
	return t + d
}

// retain drops what is older than its period, or makes the tenant smaller.
func (c *Compactor) retain(ctx context.Context, tenant string) error {
	l := c.limits(tenant)
	r, err := c.rules(tenant)
	if err != nil {
		// Better to keep too much than to delete by rules that nobody meant.
		return fmt.Errorf("nothing is deleted: %w", err)
	}
	segments, err := c.resting(ctx, tenant)
	if err != nil {
		return err
	}
	now := c.cfg.Now().UnixNano()
	var errs []error
	if shortest := r.shortest(); shortest > 0 {
		segments = slices.DeleteFunc(segments, func(s store.SegmentInfo) bool {
			if s.MinTime >= now-shortest || ctx.Err() != nil {
				return false
			}
			e, err := c.expires(ctx, tenant, s, r)
			switch {
			case err != nil:
			case e.drop <= now:
				err = c.dropSegment(ctx, tenant, s, r.reason())
				errs = append(errs, err)
				return err == nil && !c.cfg.DryRun
			case e.rewrite <= now:
				if c.cfg.DryRun {
					c.log.Info("dry run: expired streams would be removed", "tenant", tenant, "segment", s.ID)
					return false
				}
				_, err = c.rewrite(ctx, tenant, []store.SegmentInfo{s}, "retention")
			}
			errs = append(errs, err)
			return false
		})
	}
	most, why, err := c.mostBytes(l)
	errs = append(errs, err)
	if most > 0 {
		current, _, err := c.current(ctx)
		errs = append(errs, err)
		var sum int64
		for _, s := range current {
			sum += s.SizeBytes
		}
		list := make([]tenantSegment, 0, len(segments))
		for _, s := range segments {
			list = append(list, tenantSegment{tenant, s})
		}
		errs = append(errs, c.dropOldest(ctx, list, sum-most, why))
	}
	return errors.Join(errs...)
}

// rules say how long the streams of a tenant are kept.
func (c *Compactor) rules(tenant string) (*rules, error) {
	l := c.limits(tenant)
	if c.cfg.KeepExpired {
		l = &limits.Limits{}
	}
	return newRules(l)
}

// mostBytes returns how many stored bytes a tenant may have, 0 for any number.
func (c *Compactor) mostBytes(l *limits.Limits) (most int64, why string, err error) {
	most, why = l.RetentionBytes, ReasonTenant
	if l.RetentionDiskShare <= 0 || c.cfg.DiskUsage == nil {
		return most, why, nil
	}
	_, total, err := c.cfg.DiskUsage()
	if err != nil {
		return most, why, fmt.Errorf("use of the disk: %w", err)
	}
	if n := max(1, int64(l.RetentionDiskShare*float64(total))); most == 0 || n < most {
		most, why = n, ReasonShare
	}
	return most, why, nil
}

type tenantSegment struct {
	tenant string
	store.SegmentInfo
}

// oldest sorts segments, those with the oldest last rows first.
func oldest(list []tenantSegment) {
	slices.SortFunc(list, func(a, b tenantSegment) int {
		return cmp.Or(cmp.Compare(a.MaxTime, b.MaxTime), strings.Compare(a.tenant, b.tenant), a.ID.Compare(b.ID))
	})
}

// dropOldest drops segments until so many bytes are gone.
func (c *Compactor) dropOldest(ctx context.Context, list []tenantSegment, excess int64, reason string) error {
	oldest(list)
	var errs []error
	for _, s := range list {
		if excess <= 0 || ctx.Err() != nil {
			break
		}
		if !c.cfg.Owns(s.tenant) { // its compactor does
			excess -= s.SizeBytes
			continue
		}
		err := c.dropSegment(user.InjectOrgID(ctx, s.tenant), s.tenant, s.SegmentInfo, reason)
		errs = append(errs, err)
		if err == nil {
			excess -= s.SizeBytes
		}
	}
	return errors.Join(errs...)
}

// dropSegment drops a segment, or says so in a dry run.
func (c *Compactor) dropSegment(ctx context.Context, tenant string, s store.SegmentInfo, reason string) error {
	if c.cfg.DryRun {
		c.log.Info("dry run: segment would be dropped", "tenant", tenant, "segment", s.ID, "reason", reason, "bytes", s.SizeBytes,
			"from", time.Unix(0, s.MinTime).UTC(), "to", time.Unix(0, s.MaxTime).UTC())
		return nil
	}
	held, err := c.store.Held(ctx)
	if err != nil {
		return err
	}
	if _, err = c.drop(ctx, []store.SegmentInfo{s}, held); errors.Is(err, syscall.ENOSPC) {
		err = c.removeNow(ctx, s, held)
	}
	if err != nil {
		return err
	}
	c.metrics.dropped.WithLabelValues(reason).Inc()
	c.metrics.droppedBytes.WithLabelValues(reason).Add(float64(s.SizeBytes))
	c.log.Info("segment dropped", "tenant", tenant, "segment", s.ID, "reason", reason, "bytes", s.SizeBytes,
		"from", time.Unix(0, s.MinTime).UTC(), "to", time.Unix(0, s.MaxTime).UTC())
	return nil
}

// removeNow removes the objects of a segment that is to be dropped, and of what it replaced, where the disk
// has no room even for the empty segment that should replace it. Queries under way may fail.
func (c *Compactor) removeNow(ctx context.Context, s store.SegmentInfo, held []store.HeldSegment) error {
	for _, h := range held { // what it replaced first, or it would count again
		if slices.Contains(s.Replaces, h.ID) {
			if err := c.store.Remove(ctx, h.ID); err != nil {
				return err
			}
		}
	}
	return c.store.Remove(ctx, s.ID)
}

// retainSize makes all tenants together smaller, and tells what will go when.
func (c *Compactor) retainSize(ctx context.Context, tenants []string) error {
	all := c.together(tenants)
	excess, reason, err := c.excess(ctx, all)
	if err == nil && excess > 0 {
		var list []tenantSegment
		for _, t := range all {
			segments, err := c.resting(user.InjectOrgID(ctx, t), t)
			if err != nil {
				return err
			}
			for _, s := range segments {
				list = append(list, tenantSegment{t, s})
			}
		}
		err = c.dropOldest(ctx, list, excess, reason)
	}
	return errors.Join(err, c.plan(ctx, tenants))
}

// together returns the tenants that limits for all are about: some, and those of other compactors, which come to the same
// conclusions about what is oldest and drop their part of it.
func (c *Compactor) together(tenants []string) []string {
	if c.cfg.MaxBytes == 0 && c.cfg.MaxDiskShare == 0 {
		return tenants
	}
	all := append(c.store.Tenants(), tenants...)
	slices.Sort(all)
	return slices.Compact(all)
}

// excess returns how many bytes must go whosever they are.
func (c *Compactor) excess(ctx context.Context, tenants []string) (excess int64, reason string, err error) {
	if c.cfg.MaxBytes == 0 && c.cfg.MaxDiskShare == 0 {
		return 0, "", nil
	}
	var current, leaving int64
	for _, t := range tenants {
		held, err := c.store.Held(user.InjectOrgID(ctx, t))
		if err != nil {
			return 0, "", err
		}
		for _, s := range held {
			if s.Replaced {
				leaving += s.SizeBytes
			} else {
				current += s.SizeBytes
			}
		}
	}
	if c.cfg.MaxBytes > 0 {
		excess, reason = current-c.cfg.MaxBytes, ReasonBytes
	}
	if c.cfg.MaxDiskShare > 0 {
		used, total, err := c.cfg.DiskUsage()
		if err != nil {
			return 0, "", fmt.Errorf("use of the disk: %w", err)
		}
		// What is replaced goes anyway.
		if n := used - leaving - int64(c.cfg.MaxDiskShare*float64(total)); n > excess {
			excess, reason = n, ReasonDisk
		}
	}
	return max(0, excess), reason, nil
}

// plan publishes how much goes within some times.
func (c *Compactor) plan(ctx context.Context, tenants []string) error {
	sums := map[time.Duration]int64{24 * time.Hour: 0, 7 * 24 * time.Hour: 0}
	list, err := c.plannedOfAll(ctx, c.together(tenants), slices.Max(slices.Collect(maps.Keys(sums))))
	if err != nil {
		return nil // retain has said why
	}
	for _, p := range list {
		for d := range sums {
			if !p.Partly && c.cfg.Owns(p.Tenant) && p.At.Before(c.cfg.Now().Add(d)) {
				sums[d] += p.Bytes
			}
		}
	}
	for d, n := range sums {
		c.metrics.planned.WithLabelValues(fmt.Sprintf("%dd", d/(24*time.Hour))).Set(float64(n))
	}
	return nil
}

// Preview implements Service.
func (c *Compactor) Preview(ctx context.Context, within time.Duration) ([]Planned, error) {
	tenant, err := tenantOf(ctx)
	if err != nil {
		return nil, err
	}
	out, err := c.plannedOfAll(ctx, c.together([]string{tenant}), within)
	return slices.DeleteFunc(out, func(p Planned) bool { return p.Tenant != tenant }), err
}

// plannedOfAll returns what retention will drop of some tenants within that time, in the order in which it goes.
func (c *Compactor) plannedOfAll(ctx context.Context, tenants []string, within time.Duration) ([]Planned, error) {
	var out []Planned
	var rest []tenantSegment
	var goes int64 // bytes that are due whatever the limits for all say
	now := c.cfg.Now()
	for _, t := range tenants {
		planned, stays, err := c.planned(user.InjectOrgID(ctx, t), t, within)
		if err != nil {
			return nil, err
		}
		for _, p := range planned {
			if !p.Partly && !p.At.After(now) {
				goes += p.Bytes
			}
		}
		out, rest = append(out, planned...), append(rest, stays...)
	}
	excess, reason, err := c.excess(ctx, tenants)
	if err != nil {
		return nil, err
	}
	oldest(rest)
	for _, s := range rest {
		if excess <= goes {
			break
		}
		goes += s.SizeBytes
		out = append(out, s.planned(now, reason))
	}
	slices.SortFunc(out, func(a, b Planned) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.MaxTime, b.MaxTime), strings.Compare(a.Tenant, b.Tenant), a.Segment.Compare(b.Segment))
	})
	return out, nil
}

// planned says when and why a segment goes.
func (s *tenantSegment) planned(at time.Time, reason string) Planned {
	return Planned{
		Tenant: s.tenant, Segment: s.ID, MinTime: s.MinTime, MaxTime: s.MaxTime, Rows: s.Rows, Bytes: s.SizeBytes,
		Reason: reason, At: at.UTC(),
	}
}

// planned returns what the periods and the limits of size of a tenant will drop within some time, and the other segments.
func (c *Compactor) planned(ctx context.Context, tenant string, within time.Duration) (out []Planned, rest []tenantSegment, err error) {
	l := c.limits(tenant)
	r, err := c.rules(tenant)
	if err != nil {
		return nil, nil, fmt.Errorf("compactor: %w", err)
	}
	current, _, err := c.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := c.cfg.Now()
	end := after(now.UnixNano(), int64(max(0, within)))
	var sum int64
	for _, held := range current {
		if held.Rows == 0 {
			continue
		}
		s := tenantSegment{tenant, held.SegmentInfo}
		sum += s.SizeBytes
		e, err := c.expires(ctx, tenant, s.SegmentInfo, r)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case e.rewrite <= end && e.drop > end:
			p := s.planned(time.Unix(0, e.rewrite), r.reason())
			p.Partly = true
			out = append(out, p)
			rest = append(rest, s)
		case e.drop <= end && e.drop != never:
			out = append(out, s.planned(time.Unix(0, e.drop), r.reason()))
			if e.drop <= now.UnixNano() {
				sum -= s.SizeBytes
			}
		default:
			rest = append(rest, s)
		}
	}
	most, why, err := c.mostBytes(l)
	if err != nil || most == 0 {
		return out, rest, err
	}
	oldest(rest)
	n := 0
	for ; n < len(rest) && sum > most; n++ {
		sum -= rest[n].SizeBytes
		out = append(out, rest[n].planned(now, why))
	}
	return out, rest[n:], nil
}
