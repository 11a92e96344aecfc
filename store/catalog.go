package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/thanos-io/objstore"
	"golang.org/x/sync/errgroup"

	"example.com/loki/internal/boltcache"
)

// catalog is the list of segments of all tenants.
type catalog struct {
	bucket  objstore.Bucket
	log     *slog.Logger
	metrics *metrics
	file    *catalogFile
	copies  *copies // of indexes

	refreshing sync.Mutex                // held by refresh; order: refreshing before mu
	listed     atomic.Pointer[time.Time] // when the last refresh that succeeded began; nil: none has

	mu   sync.RWMutex
	all  map[string]map[ulid.ULID]catalogEntry
	seen map[string][]catalogEntry     // per tenant: those that count, by ULID; the slices are immutable
	gone map[string]map[ulid.ULID]bool // per tenant: what others replace; the inner maps are immutable
}

// catalogEntry is a segment, or an object in the place of one.
type catalogEntry struct {
	info   SegmentInfo
	broken error // what is wrong with its footer; its info says only the ID then
	// Of those that count: the times of what it replaces, as far as the bucket still has that; first > last if it has not.
	replacedFirst, replacedLast int64
}

// overlaps tells whether the segment may have rows with start <= time < end.
func (e *catalogEntry) overlaps(start, end int64) bool {
	if e.broken != nil {
		return true
	}
	return e.info.Rows > 0 && e.info.MinTime < end && e.info.MaxTime >= start
}

// inPlaceOf tells whether the segment replaces one that may have rows with start <= time < end.
func (e *catalogEntry) inPlaceOf(start, end int64) bool {
	return e.replacedFirst <= e.replacedLast && e.replacedFirst < end && e.replacedLast >= start
}

func newCatalog(b objstore.Bucket, log *slog.Logger, m *metrics, file string, cp *copies) *catalog {
	return &catalog{
		bucket: b, log: log, metrics: m, file: &catalogFile{boltcache.New(file, log)}, copies: cp,
		all: make(map[string]map[ulid.ULID]catalogEntry), seen: make(map[string][]catalogEntry),
		gone: make(map[string]map[ulid.ULID]bool),
	}
}

func (c *catalog) openFile() error { return c.file.open() }
func (c *catalog) close() error    { return c.file.Close() }

// visible returns the segments of a tenant that count, by ULID. The slice must not be changed.
func (c *catalog) visible(tenant string) []catalogEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.seen[tenant]
}

func (c *catalog) lookup(tenant string, id ulid.ULID) (catalogEntry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.all[tenant][id]
	return e, ok
}

// wasReplaced tells whether a segment names this one as replaced.
func (c *catalog) wasReplaced(tenant string, id ulid.ULID) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.gone[tenant][id]
}

// held returns all segments of a tenant, also those that don't count, by ULID.
func (c *catalog) held(tenant string) []HeldSegment {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]HeldSegment, 0, len(c.all[tenant]))
	for id, e := range c.all[tenant] {
		out = append(out, HeldSegment{SegmentInfo: e.info, Replaced: c.gone[tenant][id], Broken: e.broken})
	}
	slices.SortFunc(out, func(a, b HeldSegment) int { return a.ID.Compare(b.ID) })
	return out
}

func (c *catalog) tenants() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Sorted(maps.Keys(c.seen))
}

// add enters a segment.
func (c *catalog) add(tenant string, info SegmentInfo) {
	c.mu.Lock()
	c.put(tenant, catalogEntry{info: info})
	c.publish(tenant)
	c.mu.Unlock()
	c.file.put(tenant, []SegmentInfo{info})
}

// put needs c.mu.
func (c *catalog) put(tenant string, e catalogEntry) {
	m := c.all[tenant]
	if m == nil {
		m = make(map[ulid.ULID]catalogEntry)
		c.all[tenant] = m
	}
	m[e.info.ID] = e
}

// publish makes a new list of what counts, in one step. It needs c.mu.
func (c *catalog) publish(tenant string) {
	replaced := make(map[ulid.ULID]bool)
	for _, e := range c.all[tenant] {
		for _, id := range e.info.Replaces {
			replaced[id] = true
		}
	}
	list := make([]catalogEntry, 0, len(c.all[tenant]))
	for id, e := range c.all[tenant] {
		if replaced[id] {
			continue
		}
		e.replacedFirst, e.replacedLast = math.MaxInt64, math.MinInt64
		for _, old := range e.info.Replaces {
			switch o, ok := c.all[tenant][old]; {
			case !ok:
			case o.broken != nil:
				e.replacedFirst, e.replacedLast = math.MinInt64, math.MaxInt64
			case o.info.Rows > 0:
				e.replacedFirst, e.replacedLast = min(e.replacedFirst, o.info.MinTime), max(e.replacedLast, o.info.MaxTime)
			}
		}
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b catalogEntry) int { return a.info.ID.Compare(b.info.ID) })
	c.metrics.segments.Add(float64(len(list) - len(c.seen[tenant])))
	if len(list) == 0 {
		delete(c.seen, tenant)
		delete(c.all, tenant)
		delete(c.gone, tenant)
		return
	}
	c.seen[tenant] = list
	c.gone[tenant] = replaced
}

const footerConcurrency = 8

// refresh makes the catalog agree with the bucket.
func (c *catalog) refresh(ctx context.Context) error {
	c.refreshing.Lock()
	defer c.refreshing.Unlock()
	c.metrics.refreshes.Inc()
	began := time.Now()
	err := c.refreshAll(ctx)
	if err == nil {
		c.listed.Store(&began)
	}
	if err != nil && ctx.Err() == nil {
		c.metrics.refreshFailures.Inc()
	}
	return err
}

func (c *catalog) refreshAll(ctx context.Context) error {
	// A segment that is put while we list may be missing from the list, but it was not known before.
	c.mu.RLock()
	known := make(map[string]map[ulid.ULID]catalogEntry, len(c.all))
	for t, m := range c.all {
		known[t] = maps.Clone(m)
	}
	c.mu.RUnlock()

	listed := make(map[string]bool)
	var names []string
	err := c.bucket.Iter(ctx, segmentsDir+"/", func(name string) error {
		if strings.HasSuffix(name, objstore.DirDelim) {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, dir := range names {
		tenant, ok := unescapeTenant(path.Base(dir))
		if !ok {
			c.log.Warn("folder is not named after a tenant; ignored", "folder", dir)
			continue
		}
		listed[tenant] = true
		if err := c.refreshTenant(ctx, tenant, dir, known[tenant]); err != nil {
			return err
		}
	}
	for tenant, m := range known {
		if !listed[tenant] {
			c.apply(tenant, nil, slices.Collect(maps.Keys(m)))
		}
	}
	c.copies.retain(func(n copyName) bool {
		_, ok := c.lookup(n.tenant, n.id)
		return ok
	})
	return nil
}

// refreshTenant lists a tenant's segments. A segment may replace others together with some that were
// written just before it and that the listing came too early for; so when it finds one that replaces any,
// it lists again.
func (c *catalog) refreshTenant(ctx context.Context, tenant, dir string, known map[ulid.ULID]catalogEntry) error {
	var entries []catalogEntry
	all := maps.Clone(known)
	if all == nil {
		all = make(map[ulid.ULID]catalogEntry)
	}
	for {
		fresh, gone, err := c.listTenant(ctx, tenant, dir, all)
		if err != nil {
			return err
		}
		again := false
		for _, e := range fresh {
			again = again || len(e.info.Replaces) > 0 && all[e.info.ID].info.Replaces == nil
			all[e.info.ID] = e
		}
		entries = append(entries, fresh...)
		if !again {
			c.apply(tenant, entries, gone)
			c.file.remove(tenant, gone)
			return nil
		}
	}
}

// listTenant reads the footers of segments that are not known and says which of the known are gone.
func (c *catalog) listTenant(ctx context.Context, tenant, dir string, known map[ulid.ULID]catalogEntry) (entries []catalogEntry, missing []ulid.ULID, err error) {
	var fresh []ulid.ULID
	gone := maps.Clone(known)
	err = c.bucket.Iter(ctx, dir, func(name string) error {
		id, err := ulid.ParseStrict(path.Base(name))
		if err != nil || strings.HasSuffix(name, objstore.DirDelim) {
			return nil // not ours
		}
		delete(gone, id)
		// What is broken may have been restored.
		if e, ok := known[id]; !ok || e.broken != nil {
			fresh = append(fresh, id)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	remembered := c.file.get(tenant, fresh)
	entries = make([]catalogEntry, len(fresh))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(footerConcurrency)
	for i, id := range fresh {
		if info, ok := remembered[id]; ok {
			entries[i] = catalogEntry{info: info}
			continue
		}
		g.Go(func() error {
			info, end, err := readInfo(gctx, c.bucket, SegmentPath(tenant, id), id)
			switch {
			case err == nil:
				if end != nil {
					c.copies.keep(copyName{tenant, id}, end)
				}
				entries[i] = catalogEntry{info: info}
			case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion):
				entries[i] = catalogEntry{info: SegmentInfo{ID: id}, broken: err}
				if known[id].broken == nil {
					c.metrics.corrupt.Inc()
					c.log.Error("segment is unreadable; queries of its tenant fail until it is restored or removed", "err", err)
				}
			case c.bucket.IsObjNotFoundErr(err):
				// Removed since it was listed.
			default:
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	entries = slices.DeleteFunc(entries, func(e catalogEntry) bool { return e.info.ID == ulid.ULID{} })
	learned := make([]SegmentInfo, 0, len(entries))
	for _, e := range entries {
		if _, ok := remembered[e.info.ID]; !ok && e.broken == nil {
			learned = append(learned, e.info)
		}
	}
	c.file.put(tenant, learned)
	return entries, slices.Collect(maps.Keys(gone)), nil
}

// apply enters and removes segments of a tenant in one step.
func (c *catalog) apply(tenant string, entries []catalogEntry, gone []ulid.ULID) {
	if len(entries) == 0 && len(gone) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range entries {
		c.put(tenant, e)
	}
	for _, id := range gone {
		delete(c.all[tenant], id)
	}
	c.publish(tenant)
}

// readInfo reads the footer of a segment, and what it takes to open it unless that would be another request.
func readInfo(ctx context.Context, b objstore.BucketReader, name string, id ulid.ULID) (SegmentInfo, []byte, error) {
	attrs, err := b.Attributes(ctx, name)
	if err != nil {
		return SegmentInfo{}, nil, fmt.Errorf("store: size of %s: %w", name, err)
	}
	f, tail, err := readFooter(ctx, b, name, attrs.Size)
	if err != nil {
		return SegmentInfo{}, nil, err
	}
	if f.info.ID != id {
		return SegmentInfo{}, nil, corrupt(name, "footer", f.offset(sections), fmt.Errorf("it is segment %s", f.info.ID))
	}
	return f.info, f.end(tail), nil
}

// within returns the segments of a tenant that may have rows with start <= time < end.
func (c *catalog) within(tenant string, start, end int64) []catalogEntry {
	var out []catalogEntry
	for _, e := range c.visible(tenant) {
		if e.overlaps(start, end) {
			out = append(out, e)
		}
	}
	return out
}

// named returns those of the segments named that may have rows with start <= time < end, also if others
// have replaced them.
func (c *catalog) named(tenant string, ids []string, start, end int64) []catalogEntry {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var out []catalogEntry
	for _, name := range ids {
		id, err := ulid.ParseStrict(name)
		if err != nil {
			continue
		}
		if e, ok := c.all[tenant][id]; ok && e.overlaps(start, end) {
			out = append(out, e)
		}
	}
	return out
}

// jitter spreads the refreshes of many processes.
func jitter(d time.Duration) time.Duration {
	return time.Duration(cmp.Or(min(math.MaxInt64, float64(d)*(0.9+0.2*rand.Float64())), 1))
}
