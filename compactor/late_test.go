package compactor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// otherStore is the store of another process over the same bucket.
func (b *bench) otherStore() *store.Store {
	b.t.Helper()
	s, err := store.New(store.Config{RefreshInterval: -1}, b.bucket, nil, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	start(b.t, s)
	b.t.Cleanup(func() { stop(b.t, s) })
	return s
}

// late puts a segment with a row of the app "a", an hour old, that another process writes. The ID says when it was begun.
func (b *bench) late(s *store.Store, begun time.Time, number byte) ulid.ULID {
	b.t.Helper()
	id := ulid.ULID{15: number}
	if err := id.SetTime(uint64(begun.UnixMilli())); err != nil {
		b.t.Fatal(err)
	}
	storetest.Put(b.t, tenant(), s, id, []storetest.Entry{
		{Labels: labels.FromStrings("app", "a"), Time: b.now.Add(-time.Hour).UnixNano(), Line: "late"},
		{Labels: labels.FromStrings("app", "b"), Time: b.now.Add(-time.Hour).UnixNano(), Line: "late"},
	})
	return id
}

// TestDeletesWhatIngestersStoreWhenAsked: rows that an ingester of another process stores because a delete request makes
// it do so are removed too, and seen at no time.
func TestDeletesWhatIngestersStoreWhenAsked(t *testing.T) {
	var b *bench
	var ingester *store.Store
	flushes := 0
	b = newBench(t, func(c *Config) {
		c.Flush = func(context.Context, string) error {
			if flushes++; flushes == 1 {
				b.late(ingester, b.now, 200)
			}
			return nil
		}
	})
	ingester = b.otherStore()
	b.put(10, 30*time.Hour, "a", "b")
	for range 2 { // two requests, for which the ingesters store what they hold once
		if _, err := b.comp.Delete(tenant(), `{app="a"}`, 0, b.now.UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
	for pass := range 5 {
		b.run()
		if n := b.rows("a"); n != 0 {
			t.Fatalf("%d deleted rows are seen after pass %d", n, pass)
		}
	}
	if n := b.rows("b"); n != 11 {
		t.Errorf("%d rows are left of b, want 11", n)
	}
	if list, err := b.comp.Requests(tenant()); err != nil || list[0].Status() != "processed" {
		t.Errorf("requests: %+v, %v", list, err)
	}
	if flushes != 1 {
		t.Errorf("ingesters have stored what they hold %d times, want once", flushes)
	}
}

// TestDeletesWhatAnotherCompactorWrites: one that began to merge before a request was due may end when the request is
// all but processed.
func TestDeletesWhatAnotherCompactorWrites(t *testing.T) {
	b := newBench(t, nil)
	b.put(10, 30*time.Hour, "a", "b")
	if _, err := b.comp.Delete(tenant(), `{app="a"}`, 0, b.now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	begun := b.now
	b.run()
	b.late(b.otherStore(), begun, 200)
	for pass := range 4 {
		b.now = b.now.Add(time.Minute)
		b.run()
		if n := b.rows("a"); n != 0 {
			t.Fatalf("%d deleted rows are seen after pass %d", n, pass)
		}
	}
	if list, err := b.comp.Requests(tenant()); err != nil || list[0].Status() != "processed" {
		t.Errorf("requests: %+v, %v", list, err)
	}
}

// TestDeleteEnds: what is pushed into the range of a request again and again, later than the request, does not keep it
// from being processed.
func TestDeleteEnds(t *testing.T) {
	b := newBench(t, func(c *Config) { c.MinAge = time.Hour })
	b.put(10, 30*time.Hour, "a", "b")
	b.now = b.now.Add(2 * time.Hour)
	if _, err := b.comp.Delete(tenant(), `{app="a"}`, 0, b.now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	ingester := b.otherStore()
	for n := range byte(10) {
		b.comp.written[segmentKey{tenantName, b.late(ingester, b.now, 200+n)}] = b.now // as the bucket would say
		b.run()
		b.now = b.now.Add(10 * time.Minute)
	}
	if list, err := b.comp.Requests(tenant()); err != nil || list[0].Status() != "processed" {
		t.Errorf("requests: %+v, %v", list, err)
	}
}

// TestCountsDeletedLines once, also where a segment comes apart into several days.
func TestCountsDeletedLines(t *testing.T) {
	b := newBench(t, nil)
	b.put(3000, time.Hour, "a", "b")
	if _, err := b.comp.Delete(tenant(), `{app="a"} |= "row 1"`, 0, b.now.UnixNano()); err != nil {
		t.Fatal(err)
	}
	before := b.rows("a")
	b.run()
	n, err := entries(b.store)
	if err != nil {
		t.Fatal(err)
	}
	gone := float64(6000 - len(n))
	if got := testutil.ToFloat64(b.comp.metrics.deletedLines.WithLabelValues(tenantName)); got != gone || gone != float64(3000-before) {
		t.Errorf("%v lines are counted as deleted, %v are gone, want %d", got, gone, 3000-before)
	}
}

// TestCancelAtAnother: a request that another process has just taken can be cancelled.
func TestCancelAtAnother(t *testing.T) {
	b := newBench(t, func(c *Config) { c.FollowEvery = time.Hour })
	other, err := New(b.comp.cfg, b.store, b.bucket, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, other)
	defer stop(t, other)
	r, err := other.Delete(tenant(), `{app="a"}`, 0, b.now.UnixNano())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.comp.Cancel(tenant(), "none", false); !errors.Is(err, ErrNotFound) {
		t.Errorf("cancel what nobody has taken: %v", err)
	}
	if err := b.comp.Cancel(tenant(), r.ID, false); err != nil {
		t.Error(err)
	}
	if err := other.requests.load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, err := other.Requests(tenant()); err != nil || len(list) != 0 {
		t.Errorf("requests: %v, %v", list, err)
	}
}

// TestRunWaitsNoLonger than its context for a pass under way.
func TestRunWaitsNoLonger(t *testing.T) {
	b := newBench(t, nil)
	if err := b.comp.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer b.comp.leave()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := b.comp.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run beside a pass: %v", err)
	}
}

// TestPreviewOrder: what goes first is told first, also if it was merged last.
func TestPreviewOrder(t *testing.T) {
	b := newBench(t, func(c *Config) { c.DryRun = true })
	b.limits.RetentionBytes = 1
	for _, days := range []time.Duration{10, 30, 20} {
		b.put(50, days*24*time.Hour, "a")
	}
	s := b.otherStore()
	storetest.Put(t, tenant(), s, ulid.ULID{15: 100}, []storetest.Entry{{Labels: labels.FromStrings("app", "a"), Time: b.now.UnixNano(), Line: "newest"}})
	b.run()
	plan, err := b.comp.Preview(tenant(), 0)
	if err != nil || len(plan) != 4 {
		t.Fatalf("preview: %v, %v", plan, err)
	}
	for i := range plan[1:] {
		if plan[i].MaxTime > plan[i+1].MaxTime {
			t.Errorf("%v is told before %v", plan[i], plan[i+1])
		}
	}
}
