package queriertest

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"slices"
	"sync"

	"github.com/grafana/dskit/tenant"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/indexgw"
	"example.com/loki/indexgw/indexgwtest"
	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/logql/logqltest"
	"example.com/loki/store"
)

// Part is rows of a tenant that an ingester has collected together.
type Part struct {
	ID   ulid.ULID
	Rows []logqltest.Row

	// Held: the ingester has it, open, being cut, or as the segment that it became.
	// Stored: the catalog lists it as a segment. A part that is handed over is both for a while.
	Held, Stored bool

	// Replaces lists the parts whose rows this one holds.
	Replaces []ulid.ULID

	source *logqltest.Source
}

// World is what a querier reads: an ingester, an index and a store in memory, of one tenant.
type World struct {
	Tenant string

	// AfterSegments, if not nil, is called whenever the catalog has been read: what happens there
	// happens between the snapshot and the reads that follow.
	AfterSegments func()

	// Err, if not nil, is what the ingester fails with.
	Err error

	mu    sync.Mutex
	parts []*Part
	tails map[chan *ingester.TailBatch]bool
	known []string
	left  chan struct{} // closed when the next tail ends; nil if nobody waits
}

// ID returns the nth part name.
func ID(n uint64) ulid.ULID {
	var id ulid.ULID
	_ = id.SetTime(n) // small numbers are valid times
	return id
}

// Add adds a part.
func (w *World) Add(p *Part) {
	p.source = logqltest.NewSource(p.Rows, logqltest.Layout{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parts = append(w.parts, p)
}

// Set changes where a part lies.
func (w *World) Set(id ulid.ULID, held, stored bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.parts {
		if p.ID == id {
			p.Held, p.Stored = held, stored
		}
	}
}

// Open returns how many batches have been handed out and not released.
func (w *World) Open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, p := range w.parts {
		n += p.source.Open()
	}
	return n
}

// Push passes entries to all tails, as an ingester does with what it has just stored.
func (w *World) Push(b *ingester.TailBatch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.tails {
		ch <- b
	}
}

// Known returns the parts that the ingester was told to leave out when its tenant was last read.
func (w *World) Known() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known
}

// Tails returns how many tails are open.
func (w *World) Tails() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.tails)
}

// AwaitNoTails returns when no tail is open or ctx is done, and how many are open then.
func (w *World) AwaitNoTails(ctx context.Context) int {
	for {
		w.mu.Lock()
		if len(w.tails) == 0 {
			w.mu.Unlock()
			return 0
		}
		if w.left == nil {
			w.left = make(chan struct{})
		}
		left, n := w.left, len(w.tails)
		w.mu.Unlock()
		select {
		case <-left:
		case <-ctx.Done():
			return n
		}
	}
}

// snapshot returns the parts for which f holds.
func (w *World) snapshot(ctx context.Context, f func(*Part) bool) ([]*Part, error) {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []*Part
	for _, p := range w.parts {
		if id == w.Tenant && f(p) {
			some = append(some, p)
		}
	}
	return some, nil
}

// selectFrom yields the batches of parts in the order of the request.
func selectFrom(ctx context.Context, parts []*Part, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		inner := *req
		inner.Parts, inner.Known = nil, nil
		if len(parts) > 1 {
			inner.Project = nil
		}
		var all []*column.Batch
		for _, p := range parts {
			for b, err := range p.source.Select(ctx, &inner) {
				if err != nil {
					yield(nil, err)
					return
				}
				b.Part = p.ID.String()
				for i := range b.Runs {
					b.Runs[i].Shared = len(parts) > 1
				}
				all = append(all, b)
			}
		}
		slices.SortStableFunc(all, func(a, b *column.Batch) int {
			if req.Direction == logql.Forward {
				return cmp.Compare(a.MinTime, b.MinTime)
			}
			return cmp.Compare(b.MaxTime, a.MaxTime)
		})
		for i, b := range all {
			if !yield(b, nil) {
				for _, rest := range all[i+1:] {
					rest.Release()
				}
				return
			}
		}
	}
}

// Store returns the store of the world.
func (w *World) Store() logql.Source { return stored{w} }

type stored struct{ w *World }

func (s stored) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	parts, err := s.w.snapshot(ctx, func(p *Part) bool { return p.Stored && slices.Contains(req.Parts, p.ID.String()) })
	if err != nil {
		return fails[*column.Batch](err)
	}
	return selectFrom(ctx, parts, req)
}

func fails[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}

// Index returns the index of the world's segments.
func (w *World) Index() indexgw.Service { return index{w} }

type index struct{ w *World }

// now returns the index as it is at this moment.
func (x index) now(ctx context.Context) (*indexgwtest.Fake, error) {
	parts, err := x.w.snapshot(ctx, func(p *Part) bool { return p.Stored })
	return asIndex(x.w.Tenant, parts), err
}

func asIndex(tenant string, parts []*Part) *indexgwtest.Fake {
	f := &indexgwtest.Fake{}
	for _, p := range parts {
		g := indexgwtest.Segment{Tenant: tenant, ID: p.ID, Replaces: p.Replaces}
		for _, r := range p.Rows {
			i := slices.IndexFunc(g.Streams, func(s indexgwtest.Stream) bool { return labels.Equal(s.Labels, r.Stream) })
			if i < 0 {
				i = len(g.Streams)
				g.Streams = append(g.Streams, indexgwtest.Stream{Labels: r.Stream})
			}
			g.Streams[i].Times = append(g.Streams[i].Times, r.Time)
		}
		f.Segs = append(f.Segs, g)
	}
	return f
}

func (x index) Labels(ctx context.Context, start, end int64, m []*labels.Matcher) ([]string, error) {
	f, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	return f.Labels(ctx, start, end, m)
}

func (x index) LabelValues(ctx context.Context, name string, start, end int64, m []*labels.Matcher) ([]string, error) {
	f, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	return f.LabelValues(ctx, name, start, end, m)
}

func (x index) Series(ctx context.Context, start, end int64, m []*labels.Matcher) ([]labels.Labels, error) {
	f, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	return f.Series(ctx, start, end, m)
}

func (x index) Volumes(ctx context.Context, start, end int64, m []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	f, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	return f.Volumes(ctx, start, end, m, by, parts)
}

func (x index) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	f, err := x.now(ctx)
	if err != nil {
		return nil, err
	}
	segments, err := f.Segments(ctx, start, end)
	if x.w.AfterSegments != nil {
		x.w.AfterSegments()
	}
	return segments, err
}

// Heads returns the ingester of the world.
func (w *World) Heads() ingester.Service { return heads{w} }

type heads struct{ w *World }

var errReadOnly = errors.New("queriertest: the world is changed by its own methods")

func (heads) Push(context.Context, *ingester.PushRequest) error { return errReadOnly }

func (heads) Flush(context.Context, string) error { return errReadOnly }

func (h heads) held(ctx context.Context, known []string) ([]*Part, error) {
	if h.w.Err != nil {
		return nil, h.w.Err
	}
	return h.w.snapshot(ctx, func(p *Part) bool { return p.Held && !slices.Contains(known, p.ID.String()) })
}

func (h heads) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	if id, _ := tenant.TenantID(ctx); id == h.w.Tenant {
		h.w.mu.Lock()
		h.w.known = req.Known
		h.w.mu.Unlock()
	}
	parts, err := h.held(ctx, req.Known)
	if err != nil {
		return fails[*column.Batch](err)
	}
	return selectFrom(ctx, parts, req)
}

func (h heads) Labels(ctx context.Context, start, end int64, m []*labels.Matcher) ([]string, error) {
	parts, err := h.held(ctx, nil)
	if err != nil {
		return nil, err
	}
	return asIndex(h.w.Tenant, parts).Labels(ctx, start, end, m)
}

func (h heads) LabelValues(ctx context.Context, name string, start, end int64, m []*labels.Matcher) ([]string, error) {
	parts, err := h.held(ctx, nil)
	if err != nil {
		return nil, err
	}
	return asIndex(h.w.Tenant, parts).LabelValues(ctx, name, start, end, m)
}

func (h heads) Series(ctx context.Context, start, end int64, m []*labels.Matcher) ([]labels.Labels, error) {
	parts, err := h.held(ctx, nil)
	if err != nil {
		return nil, err
	}
	return asIndex(h.w.Tenant, parts).Series(ctx, start, end, m)
}

func (h heads) Volumes(ctx context.Context, start, end int64, m []*labels.Matcher, known []string) ([]logql.StreamVolume, error) {
	parts, err := h.held(ctx, known)
	if err != nil {
		return nil, err
	}
	return asIndex(h.w.Tenant, parts).Volumes(ctx, start, end, m, nil, nil)
}

func (h heads) Oldest(ctx context.Context, start, end int64, m []*labels.Matcher, known []string) (int64, error) {
	parts, err := h.held(ctx, known)
	if err != nil {
		return 0, err
	}
	oldest := int64(math.MaxInt64)
	for _, p := range parts {
		for _, r := range p.Rows {
			matches := !slices.ContainsFunc(m, func(m *labels.Matcher) bool { return !m.Matches(r.Stream.Get(m.Name)) })
			if matches && start <= r.Time && r.Time < end {
				oldest = min(oldest, r.Time)
			}
		}
	}
	return oldest, nil
}

// Tail subscribes when it is called.
func (h heads) Tail(ctx context.Context, _ []*labels.Matcher) iter.Seq2[*ingester.TailBatch, error] {
	ch := make(chan *ingester.TailBatch, 64)
	h.w.mu.Lock()
	if h.w.tails == nil {
		h.w.tails = map[chan *ingester.TailBatch]bool{}
	}
	h.w.tails[ch] = true
	h.w.mu.Unlock()
	leave := sync.OnceFunc(func() {
		h.w.mu.Lock()
		defer h.w.mu.Unlock()
		delete(h.w.tails, ch)
		if h.w.left != nil {
			close(h.w.left)
			h.w.left = nil
		}
	})
	context.AfterFunc(ctx, leave)
	return func(yield func(*ingester.TailBatch, error) bool) {
		defer leave()
		for {
			select {
			case <-ctx.Done():
				return
			case b := <-ch:
				if !yield(b, nil) {
					return
				}
			}
		}
	}
}
