package ingester

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/loki/logql"
	"example.com/loki/store"
)

// readAll reads as a querier does: a snapshot of the catalog first, then from the store what is in it and from
// the ingester the rest. It counts each row.
func readAll(ctx context.Context, i *Ingester, st store.Service, d logql.Direction) (map[string]int, error) {
	infos, err := st.Segments(ctx, math.MinInt64, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	known := make([]string, 0, len(infos))
	for _, s := range infos {
		known = append(known, s.ID.String())
	}
	rows := make(map[string]int)
	for _, src := range []struct {
		logql.Source
		parts, known []string
	}{{i, nil, known}, {st, known, nil}} {
		req := everything()
		req.Direction, req.Parts, req.Known = d, src.parts, src.known
		got, err := tryRead(ctx, src, req)
		if err != nil {
			return nil, err
		}
		for _, r := range got {
			rows[r]++
		}
	}
	return rows, nil
}

// TestHandover pushes, cuts and reads at once: each read sees all entries that were acknowledged before
// it began, and none twice.
func TestHandover(t *testing.T) {
	t.Run("fake store", func(t *testing.T) { testHandover(t, newMemStore()) })
	t.Run("real store", func(t *testing.T) {
		bucket, err := store.NewFilesystemBucket(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		st, err := store.New(store.Config{}, bucket, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), st); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = services.StopAndAwaitTerminated(context.Background(), st) })
		testHandover(t, st)
	})
}

func testHandover(t *testing.T, st store.Service) {
	i := start(t, Config{SegmentTarget: 20 << 10, WALFileSize: 8 << 10, WALTarget: 64 << 10, Sync: SyncNever}, st)
	ctx, cancel := context.WithCancel(tenantCtx(t, "a"))
	defer cancel()

	const pushers, pushes, lines = 3, 150, 5
	var acked [pushers]atomic.Int64 // pushes
	var wg, readers sync.WaitGroup
	for p := range pushers {
		wg.Go(func() {
			for n := range pushes {
				st := stream1(ls("p", fmt.Sprint(p)))
				for k := range lines {
					e := entry(int64(rand.IntN(1000)), fmt.Sprintf("%d-%d-%d %0100d", p, n, k, n), "n", fmt.Sprint(n))
					st.Entries = append(st.Entries, e)
				}
				push(t, i, "a", st)
				acked[p].Store(int64(n + 1))
			}
		})
	}
	wg.Go(func() {
		for range 20 {
			if err := i.Flush(ctx, "a"); err != nil {
				t.Errorf("flush: %v", err)
			}
		}
	})
	for r := range 2 {
		readers.Go(func() {
			for ctx.Err() == nil {
				before := int64(0)
				for p := range acked {
					before += acked[p].Load()
				}
				rows, err := readAll(ctx, i, st, logql.Direction(r))
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("read: %v", err)
					}
					return
				}
				if n := int64(len(rows)); n < before*lines || n%lines != 0 {
					t.Errorf("read %d rows where %d were acknowledged; pushes have %d each", n, before*lines, lines)
				}
				for row, n := range rows {
					if n != 1 {
						t.Errorf("row read %d times: %s", n, row)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	cancel()
	readers.Wait()
	rows, err := readAll(tenantCtx(t, "a"), i, st, logql.Forward)
	if err != nil || len(rows) != pushers*pushes*lines {
		t.Errorf("at last: %d rows, %v; want %d", len(rows), err, pushers*pushes*lines)
	}
	if n := testutil.ToFloat64(i.metrics.stored); n < 5 {
		t.Errorf("only %v segments were written: the test shows little", n)
	}
}

// TestShared checks that runs are marked where, and only where, parts overlap.
func TestShared(t *testing.T) {
	st := newMemStore()
	st.blocked = make(chan struct{})
	i := start(t, Config{}, st)
	ctx := tenantCtx(t, "a")
	push(t, i, "a", stream1(ls("s", "overlap"), entry(1, "a"), entry(5, "b")), stream1(ls("s", "apart"), entry(1, "a"), entry(5, "b")),
		stream1(ls("s", "once"), entry(1, "a"), entry(9, "b")))
	flushed := make(chan error)
	go func() { flushed <- i.Flush(ctx, "a") }()
	for changed := i.cutter.changed.wait(); i.cutter.len() == 0; changed = i.cutter.changed.wait() {
		<-changed
	}
	push(t, i, "a", stream1(ls("s", "overlap"), entry(5, "b"), entry(7, "c")), stream1(ls("s", "apart"), entry(6, "c")))
	shared := func(wantParts int) map[string]int {
		t.Helper()
		out, parts := map[string]int{}, map[string]bool{}
		for b, err := range i.Select(ctx, everything()) {
			if err != nil {
				t.Fatal(err)
			}
			parts[b.Part] = true
			for _, r := range b.Runs {
				if r.Shared {
					out[r.Stream.Labels.Get("s")]++
				}
			}
		}
		if len(parts) != wantParts {
			t.Errorf("%d parts, want %d", len(parts), wantParts)
		}
		return out
	}
	if got := shared(2); len(got) != 1 || got["overlap"] != 2 {
		t.Errorf("shared while cutting: %v", got)
	}
	close(st.blocked)
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	if got := shared(2); got["overlap"] != 2 || got["once"] != 0 {
		t.Errorf("shared with a stored part: %v", got)
	}
}
