package compactor

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"

	"example.com/loki/internal/pace"
	"example.com/loki/store"
)

// Run makes one pass over all tenants that the compactor owns. What fails for one doesn't stop the others;
// the errors are returned together. Passes don't overlap: a second call waits for the first, or until ctx is done.
func (c *Compactor) Run(ctx context.Context) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	began := time.Now()
	err := c.pass(ctx)
	status := "success"
	if err != nil {
		status = "failure"
	} else {
		c.metrics.lastPass.Set(float64(c.cfg.Now().Unix()))
		c.metrics.passSeconds.Set(time.Since(began).Seconds())
	}
	c.metrics.passes.WithLabelValues(status).Inc()
	return err
}

// enter waits until no pass works. leave has to follow.
func (c *Compactor) enter(ctx context.Context) error {
	select {
	case c.passing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Compactor) leave() { <-c.passing }

func (c *Compactor) pass(ctx context.Context) error {
	tenants, err := c.begins(ctx)
	if err != nil {
		return err
	}
	c.pacer.begin()
	w := &work{tenants: tenants}
	c.free(ctx, w)
	w.each(ctx, c.delete, c.mergeAll)
	if c.cfg.VerifyEvery > 0 {
		w.each(ctx, c.verify)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.forget(ctx, tenants)
	return errors.Join(append(w.errs, c.requests.sweep(ctx, c.cfg.Owns))...)
}

// makeRoom is the part of a pass that frees room.
func (c *Compactor) makeRoom(ctx context.Context) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	tenants, err := c.begins(ctx)
	if err != nil {
		return err
	}
	c.pacer.begin()
	w := &work{tenants: tenants}
	c.free(ctx, w)
	return errors.Join(w.errs...)
}

// begins learns what there is, and returns the tenants to work on.
func (c *Compactor) begins(ctx context.Context) ([]string, error) {
	if err := c.store.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("compactor: %w", err)
	}
	if err := c.requests.load(ctx); err != nil {
		return nil, err
	}
	tenants := append(c.store.Tenants(), c.requests.tenants()...)
	slices.Sort(tenants)
	return slices.DeleteFunc(slices.Compact(tenants), func(t string) bool { return !c.cfg.Owns(t) }), nil
}

// free removes what is not needed and drops what must not be kept, over all tenants.
func (c *Compactor) free(ctx context.Context, w *work) {
	w.each(ctx, c.sweep, c.retain)
	if ctx.Err() != nil {
		return
	}
	w.note(ctx, "", c.retainSize(ctx, w.tenants))
	if c.pressed(0) {
		w.each(ctx, c.sweep) // what was dropped just now
	}
	status := "success"
	if len(w.errs) > 0 {
		status = "failure"
	} else {
		c.metrics.lastRetention.Set(float64(c.cfg.Now().Unix()))
	}
	c.metrics.retention.WithLabelValues(status).Inc()
}

// work is what is done in a pass. What fails for one tenant does not stop the others.
type work struct {
	tenants []string
	errs    []error
}

func (w *work) note(ctx context.Context, tenant string, err error) {
	if err != nil && ctx.Err() == nil {
		w.errs = append(w.errs, fmt.Errorf("compactor: tenant %s: %w", tenant, err))
	}
}

// each does the steps one after the other, each for all tenants.
func (w *work) each(ctx context.Context, steps ...func(context.Context, string) error) {
	for _, step := range steps {
		for _, t := range w.tenants {
			if ctx.Err() != nil {
				return
			}
			w.note(ctx, t, step(user.InjectOrgID(ctx, t), t))
		}
	}
}

// forget drops what is remembered of segments that are gone, and tells how things are.
func (c *Compactor) forget(ctx context.Context, tenants []string) {
	here := make(map[segmentKey]bool)
	var replaced, pending, oldest float64
	for _, t := range tenants {
		held, err := c.store.Held(user.InjectOrgID(ctx, t))
		if err != nil {
			return
		}
		for _, s := range held {
			here[segmentKey{t, s.ID}] = true
			if s.Replaced {
				replaced += float64(s.SizeBytes)
			}
		}
		for _, r := range c.requests.list(t) {
			if !r.over() {
				pending++
				oldest = max(oldest, c.cfg.Now().Sub(r.Created).Seconds())
			}
		}
	}
	c.metrics.replaced.Set(replaced)
	c.metrics.pending.Set(pending)
	c.metrics.oldestPending.Set(oldest)
	gone := func(k segmentKey) bool { return !here[k] }
	maps.DeleteFunc(c.written, func(k segmentKey, _ time.Time) bool { return gone(k) })
	maps.DeleteFunc(c.clean, func(k segmentKey, _ map[string]bool) bool { return gone(k) })
	maps.DeleteFunc(c.checked, func(k segmentKey, _ time.Time) bool { return gone(k) })
	c.mu.Lock()
	maps.DeleteFunc(c.expiry, func(k segmentKey, _ expiry) bool { return gone(k) })
	maps.DeleteFunc(c.damaged, func(k segmentKey, _ DamageInfo) bool { return gone(k) })
	c.metrics.damaged.Set(float64(len(c.damaged)))
	c.mu.Unlock()
	c.record()
}

// writtenAt returns when a segment was written, as the bucket says.
func (c *Compactor) writtenAt(ctx context.Context, tenant string, id ulid.ULID) (time.Time, error) {
	k := segmentKey{tenant, id}
	if t, ok := c.written[k]; ok {
		return t, nil
	}
	a, err := c.bucket.Attributes(ctx, store.SegmentPath(tenant, id))
	if err != nil {
		return time.Time{}, fmt.Errorf("age of segment %s: %w", id, err)
	}
	c.written[k] = a.LastModified
	return a.LastModified, nil
}

// atRest tells whether a segment is old enough to be touched.
func (c *Compactor) atRest(ctx context.Context, tenant string, id ulid.ULID) (bool, error) {
	if c.cfg.MinAge == 0 {
		return true, nil
	}
	t, err := c.writtenAt(ctx, tenant, id)
	return err == nil && c.cfg.Now().Sub(t) >= c.cfg.MinAge, err
}

// current returns the segments that count and can be read, oldest first.
func (c *Compactor) current(ctx context.Context) (current, held []store.HeldSegment, err error) {
	if held, err = c.store.Held(ctx); err != nil {
		return nil, nil, err
	}
	for _, s := range held {
		if !s.Replaced && s.Broken == nil {
			current = append(current, s)
		}
	}
	return current, held, nil
}

// resting is current without segments that must not be touched yet and those without rows.
func (c *Compactor) resting(ctx context.Context, tenant string) ([]store.SegmentInfo, error) {
	current, _, err := c.current(ctx)
	if err != nil {
		return nil, err
	}
	var out []store.SegmentInfo
	for _, s := range current {
		ok, err := c.atRest(ctx, tenant, s.ID)
		if err != nil {
			return nil, err
		}
		// A range has an end that it does not include, so a row at the end of time is in none.
		if ok && s.Rows > 0 && s.MaxTime < math.MaxInt64 {
			out = append(out, s.SegmentInfo)
		}
	}
	return out, nil
}

// mergeAll merges what is worth it.
func (c *Compactor) mergeAll(ctx context.Context, tenant string) error {
	p := policy{partition: c.cfg.Partition, fanIn: c.cfg.FanIn, maxBytes: c.cfg.MaxSegmentBytes, maxInputs: c.cfg.MaxInputs}
	segments, err := c.resting(ctx, tenant)
	if err != nil {
		return err
	}
	// What is damaged stays as it is, and does not keep the others from being merged.
	segments = slices.DeleteFunc(segments, func(s store.SegmentInfo) bool { return c.isDamaged(segmentKey{tenant, s.ID}) })
	for ctx.Err() == nil {
		group := p.next(segments, c.ended)
		if group == nil {
			return nil
		}
		var size int64
		for _, s := range group {
			size += s.SizeBytes
		}
		if c.pressed(size) {
			c.log.Warn("no room on the disk to merge segments", "tenant", tenant, "segments", len(group), "bytes", size)
			return nil
		}
		done := make(map[ulid.ULID]bool)
		for _, s := range group {
			done[s.ID] = true
		}
		outputs, err := c.rewrite(ctx, tenant, group, "merge")
		if errors.Is(err, store.ErrCorrupt) {
			bad, err := c.damagedOf(ctx, tenant, group, err)
			if err != nil {
				return err
			}
			segments = slices.DeleteFunc(segments, func(s store.SegmentInfo) bool { return bad[s.ID] })
			continue
		}
		if err != nil {
			return err
		}
		c.metrics.merged.Add(float64(len(group)))
		segments = slices.DeleteFunc(segments, func(s store.SegmentInfo) bool { return done[s.ID] })
		// No reader can be served what we have just written from elsewhere: it is at rest.
		for _, s := range outputs {
			if s.Rows > 0 {
				segments = append(segments, s)
			}
		}
	}
	return ctx.Err()
}

// damagedOf finds out which of some segments, of which at least one cannot be read because of cause, are damaged.
func (c *Compactor) damagedOf(ctx context.Context, tenant string, group []store.SegmentInfo, cause error) (map[ulid.ULID]bool, error) {
	bad := make(map[ulid.ULID]bool)
	for _, s := range group {
		damaged, err := c.inspect(ctx, tenant, s)
		if err != nil {
			return nil, err
		}
		if damaged {
			bad[s.ID] = true
		}
	}
	if len(bad) == 0 {
		return nil, cause
	}
	return bad, nil
}

// ended tells that nothing more is expected in the partition with that start.
func (c *Compactor) ended(start int64) bool {
	return start < c.cfg.Now().Add(-c.cfg.Partition-max(c.cfg.MinAge, c.cfg.HeadAge)).UnixNano()
}

// level returns how well to compress what becomes of segments. What will soon be merged again is not worth much.
func (c *Compactor) level(sources []store.SegmentInfo) int {
	var size int64
	last := int64(math.MinInt64)
	for _, s := range sources {
		size += sizeOf(s)
		last = max(last, s.MaxTime)
	}
	if size >= c.cfg.MaxSegmentBytes/2 || c.ended(partitionOf(last, c.cfg.Partition)) {
		return c.cfg.CompressionLevel
	}
	return 1
}

// maxOutputs bounds into how many segments one rewrite may come apart. Where that is too few, they cover
// more than a partition and come apart further later.
const maxOutputs = 64

// rewrite writes segments, whose rows may be in any partition, anew: without doubles, and without what
// retention and delete requests take out.
func (c *Compactor) rewrite(ctx context.Context, tenant string, sources []store.SegmentInfo, why string) (outputs []store.SegmentInfo, err error) {
	began := time.Now()
	sources = slices.Clone(sources)
	slices.SortFunc(sources, func(a, b store.SegmentInfo) int { return a.ID.Compare(b.ID) })
	held, err := c.store.Held(ctx)
	if err != nil {
		return nil, err
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, s := range sources {
		lo, hi = min(lo, s.MinTime), max(hi, s.MaxTime)
	}
	var narrowers []narrower
	ps, err := c.begin(ctx, tenant, c.dueRequests(tenant, lo, hi))
	if err != nil {
		return nil, err
	}
	if len(ps) > 0 {
		narrowers = append(narrowers, newRemover(ps))
	}
	if r, err := c.rules(tenant); err == nil && !c.cfg.DryRun && r.shortest() > 0 {
		narrowers = append(narrowers, &expirer{r, c.cfg.Now().UnixNano()})
	}
	m := &merge{narrowers: narrowers, pace: c.pacer.pace}
	var read int64
	for _, s := range sources {
		seg, err := c.store.Open(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		defer seg.Close()
		m.segments = append(m.segments, seg)
		read += s.SizeBytes
	}
	replaces := c.names(sources, held)
	newest := sources[len(sources)-1].ID.Time()
	var writers []string
	for _, s := range sources {
		writers = append(writers, s.Writers...)
	}
	slices.Sort(writers)
	writers = slices.Compact(writers)

	spans, err := c.spans(ctx, m, lo, hi)
	if err != nil {
		return nil, err
	}
	if len(spans) == 0 {
		s, err := c.drop(ctx, sources, held)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, s)
	}
	m.doubles, m.deleted = 0, 0
	ctx, worker := pace.NewWorker(c.cfg.Pace.Context(ctx, pace.Merge))
	if err := worker.Take(ctx); err != nil {
		return nil, err
	}
	defer worker.Release()
	level := c.level(sources)
	for i, span := range spans {
		m.start, m.end = span[0], span[1]
		o := store.RewriteOptions{CompressionLevel: level, Writers: writers}
		if i == len(spans)-1 {
			o.Replaces = replaces
		}
		id, err := ulid.New(newest, rand.Reader)
		if err != nil {
			return nil, err
		}
		s, err := c.store.Rewrite(ctx, id, m.rows(ctx), o)
		if err != nil {
			return nil, err
		}
		outputs = append(outputs, s)
	}
	var size, rows, lines int64
	for _, s := range outputs {
		size += s.SizeBytes
		rows += s.Rows
		lines += s.RawBytes
		c.markClean(tenant, s.ID, ps)
	}
	c.metrics.readBytes.Add(float64(read))
	c.metrics.writtenBytes.Add(float64(size))
	c.metrics.doubles.Add(float64(m.doubles))
	if m.deleted > 0 {
		c.metrics.deletedLines.WithLabelValues(tenant).Add(float64(m.deleted))
	}
	c.log.Info("segments rewritten", "tenant", tenant, "why", why, "segments", len(sources), "into", len(outputs), "rows", rows,
		"raw_bytes", lines, "read_bytes", read, "written_bytes", size, "doubles", m.doubles, "deleted", m.deleted, "took", time.Since(began))
	return outputs, nil
}

// spans returns the partitions, as start and end, that hold rows to be kept.
func (c *Compactor) spans(ctx context.Context, m *merge, lo, hi int64) ([][2]int64, error) {
	span := c.cfg.Partition
	for (float64(hi)-float64(lo))/float64(span) > maxOutputs-1 {
		span *= 2
		if span <= 0 || span > math.MaxInt64/4 {
			return [][2]int64{{math.MinInt64, math.MaxInt64}}, nil // from one end of time to the other
		}
	}
	peek := *m
	peek.pace = nil
	var out [][2]int64
	for at := partitionOf(lo, span); at <= hi; {
		next := partitionOf(at, span) + int64(span)
		if next <= at { // beyond the end of time
			next = math.MaxInt64
		}
		peek.start, peek.end = at, next
		some, err := hasRows(peek.rows(ctx))
		if err != nil {
			return nil, err
		}
		if some {
			out = append(out, [2]int64{at, next})
		}
		if next == math.MaxInt64 {
			break
		}
		at = next
	}
	return out, nil
}

func hasRows(rows store.Rows) (bool, error) {
	next, stop := iter.Pull2(rows)
	defer stop()
	_, err, ok := next()
	return ok && err == nil, err
}

// drop replaces segments by an empty one.
func (c *Compactor) drop(ctx context.Context, sources []store.SegmentInfo, held []store.HeldSegment) (store.SegmentInfo, error) {
	newest := slices.MaxFunc(sources, func(a, b store.SegmentInfo) int { return cmp.Compare(a.ID.Time(), b.ID.Time()) }).ID.Time()
	id, err := ulid.New(newest, rand.Reader)
	if err != nil {
		return store.SegmentInfo{}, err
	}
	none := func(func(*store.StreamRows, error) bool) {}
	return c.store.Rewrite(ctx, id, none, store.RewriteOptions{Replaces: c.names(sources, held)})
}

// names returns what a segment in place of others must name: them, and what they replaced as long as it
// exists or an ingester might replay it.
func (c *Compactor) names(sources []store.SegmentInfo, held []store.HeldSegment) []ulid.ULID {
	exists := make(map[ulid.ULID]bool, len(held))
	for _, s := range held {
		exists[s.ID] = true
	}
	oldest := ulid.Timestamp(c.cfg.Now().Add(-c.cfg.ReplayWindow))
	var out []ulid.ULID
	for _, s := range sources {
		out = append(out, s.ID)
		for _, id := range s.Replaces {
			if exists[id] || id.Time() >= oldest {
				out = append(out, id)
			}
		}
	}
	slices.SortFunc(out, ulid.ULID.Compare)
	return slices.Compact(out)
}

// sweep removes objects that were replaced long enough ago, and empty segments whose names nobody needs.
func (c *Compactor) sweep(ctx context.Context, tenant string) error {
	held, err := c.store.Held(ctx)
	if err != nil {
		return err
	}
	here := make(map[ulid.ULID]bool, len(held))
	since := make(map[ulid.ULID]time.Time) // when it was first replaced
	named := make(map[ulid.ULID]bool)      // by a segment that counts
	for _, s := range held {
		here[s.ID] = true
		for _, id := range s.Replaces {
			if !s.Replaced {
				named[id] = true
			}
		}
	}
	for _, s := range held {
		for _, id := range s.Replaces {
			if !here[id] {
				continue
			}
			t, err := c.writtenAt(ctx, tenant, s.ID)
			if err != nil {
				return err
			}
			if old, ok := since[id]; !ok || t.Before(old) {
				since[id] = t
			}
		}
	}
	now := c.cfg.Now()
	delay := c.cfg.DeleteDelay
	if c.pressed(0) {
		delay = 0 // a query that reads what is removed fails; otherwise pushes would
	}
	var errs []error
	remove := func(id ulid.ULID) {
		err := c.store.Remove(ctx, id)
		if err == nil {
			delete(here, id)
			c.metrics.removed.Inc()
		}
		errs = append(errs, err)
	}
	needed := func(s store.HeldSegment) bool { // to hide something else
		return slices.ContainsFunc(s.Replaces, func(id ulid.ULID) bool { return here[id] && !named[id] })
	}
	// Old ones first: what they replaced went before them.
	for _, s := range held {
		if s.Replaced && now.Sub(since[s.ID]) >= delay && !needed(s) {
			remove(s.ID)
		}
	}
	for _, s := range held {
		if s.Replaced || s.Broken != nil || s.Rows > 0 || slices.ContainsFunc(s.Replaces, func(id ulid.ULID) bool { return here[id] }) {
			continue
		}
		t, err := c.writtenAt(ctx, tenant, s.ID)
		if err != nil {
			return err
		}
		if now.Sub(t) >= max(c.cfg.DeleteDelay, c.cfg.ReplayWindow) || len(s.Replaces) == 0 && now.Sub(t) >= c.cfg.DeleteDelay {
			remove(s.ID)
		}
	}
	return errors.Join(append(errs, c.finish(ctx, tenant, held, here, since))...)
}

// clockSkew is how far the clock of the bucket may be ahead of ours.
const clockSkew = 5 * time.Minute

// finish ends the delete requests none of whose rows are in any object.
func (c *Compactor) finish(ctx context.Context, tenant string, held []store.HeldSegment, here map[ulid.ULID]bool, since map[ulid.ULID]time.Time) error {
	now := c.cfg.Now()
	var errs []error
	for _, r := range c.requests.list(tenant) {
		if r.over() {
			if now.Sub(r.ended()) > c.cfg.KeepRequests {
				errs = append(errs, c.requests.discard(ctx, tenant, r.ID))
			}
			continue
		}
		if r.Cleared.IsZero() || slices.ContainsFunc(held, func(s store.HeldSegment) bool {
			if s.Replaced {
				return here[s.ID] && !since[s.ID].After(r.Cleared.Add(clockSkew)) && (s.Broken != nil || r.predicate.overlaps(s.MinTime, s.MaxTime))
			}
			return r.concerns(s) && !c.clean[segmentKey{tenant, s.ID}][r.ID] // it came later: it has to be looked at
		}) {
			continue
		}
		stands, err := c.requests.advance(ctx, tenant, r.ID, func(p *Progress) { p.Processed = now })
		if err == nil && stands {
			c.metrics.processed.WithLabelValues(tenant).Inc()
			c.log.Info("delete request processed", "tenant", tenant, "request", r.ID, "took", now.Sub(r.Created))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
