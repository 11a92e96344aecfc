package compactor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

var (
	modelSteps = flag.Int("model.steps", 100, "steps of each run of the model test")
	modelSeeds = flag.Int("model.seeds", 3, "runs of the model test")
)

var errInjected = errors.New("injected failure")

// faultyBucket fails writes now and then, before or after they took effect.
type faultyBucket struct {
	objstore.Bucket
	rnd  *rand.Rand // nil: never fail
	rate float64
	hits int
}

func (b *faultyBucket) fails() (before, after bool) {
	if b.rnd == nil || b.rnd.Float64() >= b.rate {
		return false, false
	}
	b.hits++
	before = b.rnd.IntN(2) == 0
	return before, !before
}

func (b *faultyBucket) Upload(ctx context.Context, name string, r io.Reader, o ...objstore.ObjectUploadOption) error {
	before, after := b.fails()
	if before {
		return errInjected
	}
	err := b.Bucket.Upload(ctx, name, r, o...)
	if err == nil && after {
		err = errInjected
	}
	return err
}

func (b *faultyBucket) Delete(ctx context.Context, name string) error {
	before, after := b.fails()
	if before {
		return errInjected
	}
	err := b.Bucket.Delete(ctx, name)
	if err == nil && after {
		err = errInjected
	}
	return err
}

// world is stores and a compactor over one bucket, and what should be in them.
type world struct {
	t      *testing.T
	rnd    *rand.Rand
	bucket *faultyBucket
	store  *store.Store // of the compactor
	reader *store.Store // of another process
	comp   *Compactor
	limits limits.Limits
	now    time.Time
	parts  int
	clock  int // counts pushes and changes of requests

	rows     map[string]*modelRow
	requests []*modelRequest
	writes   int64
}

type modelRow struct {
	storetest.Entry
	pushes []int
	lapsed int // when retention could have dropped it, last
}

type modelRequest struct {
	id                 string
	stream, needle     string
	from, through      int64
	created, processed int // of the clock; 0: not yet
	gone               int // when it was cancelled
	started            bool
}

func (r *modelRequest) names(e *storetest.Entry) bool {
	return e.Labels.Get("app") == r.stream && strings.Contains(e.Line, r.needle) && r.from <= e.Time && e.Time <= r.through
}

const tenantName = "t1"

func tenant() context.Context { return user.InjectOrgID(context.Background(), tenantName) }

func newWorld(t *testing.T, seed uint64) *world {
	rnd := rand.New(rand.NewPCG(seed, 7))
	w := &world{
		t: t, rnd: rnd, bucket: &faultyBucket{Bucket: objstore.NewInMemBucket(), rate: 0.15},
		now: time.Now(), rows: make(map[string]*modelRow),
	}
	w.open()
	return w
}

func start(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

func stop(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
		t.Fatal(err)
	}
}

func (w *world) open() {
	var err error
	for _, s := range []**store.Store{&w.store, &w.reader} {
		if *s, err = store.New(store.Config{RefreshInterval: -1, PageBytes: 4 << 10}, w.bucket, nil, nil); err != nil {
			w.t.Fatal(err)
		}
		start(w.t, *s)
	}
	cfg := Config{
		Interval: -1, MinAge: -1, DeleteDelay: -1, Partition: time.Hour, FanIn: 3, MaxSegmentBytes: 64 << 10, BytesPerSecond: -1,
		CancelPeriod: time.Hour, Flush: func(context.Context, string) error { return nil }, Now: func() time.Time { return w.now },
		VerifyEvery: time.Hour,
	}
	w.comp, err = New(cfg, w.store, w.bucket, func(string) *limits.Limits { return &w.limits }, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	start(w.t, w.comp)
}

func (w *world) close() {
	stop(w.t, w.comp)
	stop(w.t, w.store)
	stop(w.t, w.reader)
}

func (w *world) key(e *storetest.Entry) string {
	return fmt.Sprint(e.Labels, e.Time, e.Line, e.Metadata)
}

// push stores a part of random rows, many of which were stored before.
func (w *world) push() {
	w.clock++
	n := 1 + w.rnd.IntN(60)
	base := w.now.Add(-time.Duration(w.rnd.IntN(20)) * 10 * time.Minute).UnixNano()
	spread := []int64{int64(time.Minute), int64(20 * time.Minute), int64(3 * time.Hour)}[w.rnd.IntN(3)]
	seen := make(map[string]bool)
	var entries []storetest.Entry
	known := make([]string, 0, len(w.rows))
	for k := range w.rows {
		known = append(known, k)
	}
	sort.Strings(known)
	for range n {
		var e storetest.Entry
		if len(known) > 0 && w.rnd.IntN(4) == 0 {
			e = w.rows[known[w.rnd.IntN(len(known))]].Entry
		} else {
			e = storetest.Entry{
				Labels: labels.FromStrings("app", string(rune('a'+w.rnd.IntN(4))), "i", fmt.Sprint(w.rnd.IntN(3))),
				Time:   (base - w.rnd.Int64N(spread)) / 1e9 * 1e9,
				Line:   fmt.Sprintf("line %d %s", w.rnd.IntN(4), []string{"secret", "open"}[w.rnd.IntN(2)]),
			}
			if w.rnd.IntN(2) == 0 {
				e.Metadata = labels.FromStrings("m", fmt.Sprint(w.rnd.IntN(2)), "n", "x")
			}
		}
		k := w.key(&e)
		if seen[k] {
			continue
		}
		seen[k] = true
		entries = append(entries, e)
	}
	w.parts++
	id, err := ulid.New(uint64(w.now.UnixMilli()), rndReader{w.rnd})
	if err != nil {
		w.t.Fatal(err)
	}
	for { // as an ingester does
		info, err := w.store.Put(tenant(), id, storetest.Rows(entries...))
		if err == nil {
			w.writes += info.SizeBytes
			break
		}
		if !errors.Is(err, errInjected) {
			w.t.Fatal(err)
		}
	}
	for _, e := range entries {
		k := w.key(&e)
		if w.rows[k] == nil {
			w.rows[k] = &modelRow{Entry: e}
		}
		w.rows[k].pushes = append(w.rows[k].pushes, w.clock)
	}
}

type rndReader struct{ *rand.Rand }

func (r rndReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.IntN(256))
	}
	return len(p), nil
}

func (w *world) request() {
	w.clock++
	r := &modelRequest{stream: string(rune('a' + w.rnd.IntN(4))), needle: []string{"secret", "open", "3", ""}[w.rnd.IntN(4)]}
	r.through = w.now.Add(-time.Duration(w.rnd.IntN(4)) * time.Hour).UnixNano()
	r.from = r.through - w.rnd.Int64N(int64(4*time.Hour))
	q := fmt.Sprintf(`{app=%q}`, r.stream)
	if r.needle != "" {
		q += fmt.Sprintf(` |= %q`, r.needle)
	}
	got, err := w.comp.Delete(tenant(), q, r.from, r.through)
	if err != nil {
		if !errors.Is(err, errInjected) {
			w.t.Fatal(err)
		}
		// It may have been written; whoever gets an error looks at the list.
		w.syncRequests(r)
		return
	}
	r.id, r.created = got.ID, w.clock
	w.requests = append(w.requests, r)
}

// syncRequests finds out whether a request that failed is there all the same.
func (w *world) syncRequests(r *modelRequest) {
	rnd := w.bucket.rnd
	w.bucket.rnd = nil
	defer func() { w.bucket.rnd = rnd }()
	if err := w.comp.requests.load(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	list, err := w.comp.Requests(tenant())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, got := range list {
		if !slices.ContainsFunc(w.requests, func(o *modelRequest) bool { return o.id == got.ID }) && r != nil {
			r.id, r.created = got.ID, w.clock
			w.requests = append(w.requests, r)
		}
	}
	for _, o := range w.requests {
		if o.gone == 0 && !slices.ContainsFunc(list, func(g Request) bool { return g.ID == o.id }) {
			o.gone = w.clock
		}
	}
}

func (w *world) cancel() {
	if len(w.requests) == 0 {
		return
	}
	w.clock++
	r := w.requests[w.rnd.IntN(len(w.requests))]
	err := w.comp.Cancel(tenant(), r.id, w.rnd.IntN(2) == 0)
	switch {
	case errors.Is(err, errInjected):
		w.syncRequests(nil)
	case err == nil && r.gone == 0:
		r.gone = w.clock
	case err == nil:
		w.t.Errorf("request %s was cancelled twice", r.id)
	}
}

// observe notes how far the requests are.
func (w *world) observe() {
	w.clock++
	for _, got := range w.comp.requests.list(tenantName) {
		for _, r := range w.requests {
			if r.id == got.ID {
				r.started = r.started || got.Started
				if !got.Processed.IsZero() && r.processed == 0 {
					r.processed = w.clock
				}
			}
		}
	}
}

// lapse notes what retention may drop.
func (w *world) lapse() {
	for _, r := range w.rows {
		period := w.limits.RetentionPeriod
		if len(w.limits.RetentionStream) > 0 && r.Labels.Get("app") == "a" {
			period = w.limits.RetentionStream[0].Period
		}
		if period > 0 && r.Time < w.now.Add(-period).UnixNano() {
			r.lapsed = w.clock
		}
	}
}

// check compares a query with what must, may and must not be seen.
func (w *world) check(step int, what string) {
	w.t.Helper()
	for name, src := range map[string]logql.Source{"compactor's store": w.store, "another process": w.reader} {
		if src == logql.Source(w.reader) {
			if err := w.reader.Refresh(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		}
		got, err := entries(FilterDeleted(tenant(), src, w.comp))
		if err != nil {
			w.t.Fatalf("step %d, %s, %s: %v", step, what, name, err)
		}
		seen := make(map[string]int)
		for _, k := range got {
			if seen[k]++; seen[k] > 1 {
				w.t.Fatalf("step %d, %s, %s: row seen twice: %s", step, what, name, k)
			}
			if w.rows[k] == nil {
				w.t.Fatalf("step %d, %s, %s: row was never pushed: %s", step, what, name, k)
			}
		}
		for k, r := range w.rows {
			must, may := w.expect(r)
			if must && seen[k] == 0 {
				w.t.Fatalf("step %d, %s, %s: row is missing: %s", step, what, name, k)
			}
			if !may && seen[k] > 0 {
				w.t.Fatalf("step %d, %s, %s: row should be deleted: %s", step, what, name, k)
			}
		}
	}
}

func (w *world) expect(r *modelRow) (must, may bool) {
	must, may = true, true
	last, first := slices.Max(r.pushes), slices.Min(r.pushes)
	for _, q := range w.requests {
		switch {
		case !q.names(&r.Entry):
		case q.gone > 0:
			if q.started && first < q.gone {
				must = false
			}
		case q.processed == 0:
			must, may = false, false
		case last < q.created:
			must, may = false, false
		case last < q.processed:
			must = false
		}
	}
	if r.lapsed > last {
		must = false
	}
	return must, may
}

// entries returns the keys of all rows of a source, as a query sees them.
func entries(src logql.Source) ([]string, error) {
	p := logql.Params{Query: `{app=~".+"}`, Start: 0, End: 1 << 62, Limit: 1 << 20, Direction: logql.Forward, Categorize: true}
	plan, err := logql.NewPlan(p)
	if err != nil {
		return nil, err
	}
	part, err := plan.Execute(tenant(), logql.Task{Params: p, From: 0, Through: 1 << 62}, src, logql.Options{Parallelism: 1})
	if err != nil {
		return nil, err
	}
	res, err := plan.Finish(tenant(), [][]*logql.Partial{{part}}, logql.Options{})
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			ls := labels.NewBuilder(s.Labels)
			e.Metadata.Range(func(l labels.Label) { ls.Del(l.Name) })
			out = append(out, fmt.Sprint(ls.Labels(), e.Time, e.Line, e.Metadata))
		}
	}
	return out, nil
}

// TestModel does everything at random, with failures of the bucket at any write, and compares what readers
// see with a model after each step.
func TestModel(t *testing.T) {
	for seed := range *modelSeeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed))
			defer func() { w.close() }()
			for step := range *modelSteps {
				w.bucket.rnd = nil
				if w.rnd.IntN(3) > 0 {
					w.bucket.rnd = w.rnd
				}
				var what string
				switch n := w.rnd.IntN(100); {
				case n < 45:
					what = "push"
					w.push()
				case n < 52:
					what = "delete"
					w.request()
				case n < 55:
					what = "cancel"
					w.cancel()
				case n < 60:
					what = "retention"
					w.limits = limits.Limits{}
					if w.rnd.IntN(2) == 0 {
						w.limits.RetentionPeriod = time.Duration(2+w.rnd.IntN(6)) * time.Hour
					}
					if w.rnd.IntN(2) == 0 {
						w.limits.RetentionStream = []limits.StreamRetention{{Selector: `{app="a"}`, Priority: 1, Period: time.Hour}}
					}
				case n < 65:
					what = "restart"
					w.bucket.rnd = nil
					w.close()
					w.open()
				default:
					what = "pass"
					if err := w.comp.Run(context.Background()); err != nil && !errors.Is(err, errInjected) {
						t.Fatalf("step %d: %v", step, err)
					}
				}
				w.now = w.now.Add(time.Duration(w.rnd.IntN(20)) * time.Minute)
				w.bucket.rnd = nil
				if what == "pass" {
					w.syncRequests(nil)
				}
				w.observe()
				w.lapse()
				w.check(step, what)
			}
			w.bucket.rnd = nil
			for range 3 {
				w.now = w.now.Add(48 * time.Hour)
				if err := w.comp.Run(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			w.observe()
			w.lapse()
			w.check(*modelSteps, "end")
			var current, replaced int
			held, err := w.store.Held(tenant())
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range held {
				if s.Replaced {
					replaced++
				} else if s.Rows > 0 {
					current++
				}
			}
			processed := 0
			for _, r := range w.requests {
				if r.processed > 0 {
					processed++
				} else if r.gone == 0 {
					t.Errorf("request %s was never processed", r.id)
				}
			}
			t.Logf("%d parts became %d segments (%d replaced ones left); %d of %d requests processed; %d failures; parts of %d bytes, %s",
				w.parts, current, replaced, processed, len(w.requests), w.bucket.hits, w.writes, "all rows as the model says")
			if replaced > 0 {
				t.Errorf("%d replaced segments were not removed", replaced)
			}
		})
	}
}
