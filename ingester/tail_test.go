package ingester

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
)

// TestSlowTail checks that a reader that does not read holds nobody up, and is told what it lost.
func TestSlowTail(t *testing.T) {
	i := start(t, Config{TailBuffer: 10}, newMemStore())
	ctx, cancel := context.WithCancel(tenantCtx(t, "a"))
	defer cancel()
	next, stopTail := iter.Pull2(i.Tail(ctx, []*labels.Matcher{matcher("a=b")}))
	defer stopTail()
	for n := range 25 {
		push(t, i, "a", stream1(ls("a", "b"), entry(int64(n), fmt.Sprint(n))), stream1(ls("a", "c"), entry(1, "x")))
	}
	b, err, ok := next()
	if !ok || err != nil || b.Dropped != 15 || len(b.Streams) != 1 || len(b.Streams[0].Entries) != 10 {
		t.Fatalf("got %+v, %v, %t", b, err, ok)
	}
	if first := b.Lost[0]; len(b.Lost) != 15 || first.Time != 10 || !labels.Equal(first.Labels, ls("a", "b")) {
		t.Errorf("%d are named, first %+v", len(b.Lost), first)
	}
	push(t, i, "a", stream1(ls("a", "b"), entry(100, "after")))
	if b, _, _ = next(); b.Dropped != 0 || b.Lost != nil || string(b.Streams[0].Entries[0].Line) != "after" {
		t.Errorf("got %+v", b)
	}
	if n := testutil.ToFloat64(i.metrics.tailers); n != 1 {
		t.Errorf("%v tailers", n)
	}
	cancel()
	if _, _, ok := next(); ok {
		t.Error("the sequence goes on after its context is done")
	}
	if n := testutil.ToFloat64(i.metrics.tailers); n != 0 {
		t.Errorf("%v tailers", n)
	}
}

func TestTailEndsWithIngester(t *testing.T) {
	i, err := tryStart(t, Config{}, newMemStore(), nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	tail := i.Tail(tenantCtx(t, "a"), nil)
	go func() {
		defer close(ended)
		for range tail {
		}
	}()
	stop(t, i)
	<-ended
}

// TestBackPressure checks that memory is bounded: pushes wait while the store does not take parts.
func TestBackPressure(t *testing.T) {
	st := newMemStore()
	st.blocked = make(chan struct{})
	i := start(t, Config{MaxHeadBytes: 1 << 20, CheckEvery: time.Hour, Sync: SyncNever}, st)
	line := strings.Repeat("x", 1<<10)
	pushed := make(chan int, 1000)
	go func() {
		defer close(pushed)
		for n := range 1000 {
			if err := i.Push(tenantCtx(t, fmt.Sprint(n%7)), &PushRequest{Streams: []Stream{stream1(ls("a", "b"), entry(int64(n), fmt.Sprintf("%d %s", n, line)))}}); err != nil {
				t.Errorf("push: %v", err)
			}
			pushed <- n
		}
	}()
	for testutil.ToFloat64(i.metrics.pushWaits) == 0 {
		<-pushed
	}
	if m := i.memory.Load(); m > 5<<18 {
		t.Errorf("%d bytes held, the bound is 1 MiB and what a block more takes", m)
	}
	ctx, cancel := context.WithCancel(tenantCtx(t, "a"))
	cancel()
	if err := i.Push(ctx, &PushRequest{Streams: []Stream{stream1(ls("a", "b"), entry(1, "x"))}}); err == nil {
		t.Error("a push whose context is done waits for memory")
	}
	close(st.blocked)
	for range pushed {
	}
	if n := testutil.ToFloat64(i.metrics.flushed.WithLabelValues(string(reasonMemory))); n == 0 {
		t.Error("no part was cut for memory")
	}
	rows := 0
	for n := range 7 {
		got, err := readAll(tenantCtx(t, fmt.Sprint(n)), i, st, 0)
		if err != nil {
			t.Fatal(err)
		}
		rows += len(got)
	}
	if rows != 1000 {
		t.Errorf("%d rows, want 1000", rows)
	}
}

func TestFlushOverHTTP(t *testing.T) {
	st := newMemStore()
	i, err := tryStart(t, Config{}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	push(t, i, "a", stream1(ls("a", "b"), entry(1, "x")))
	push(t, i, "b", stream1(ls("a", "b"), entry(1, "x")))
	h := Routes(i, nil)[0].Handler
	get := func() int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/flush", nil))
		return w.Code
	}
	if code := get(); code != http.StatusNoContent || st.puts != 2 {
		t.Errorf("status %d, %d segments", code, st.puts)
	}
	push(t, i, "a", stream1(ls("a", "b"), entry(2, "x")))
	st.fail(fmt.Errorf("bucket is away"))
	if code := get(); code != http.StatusInternalServerError {
		t.Errorf("status %d with a failing store", code)
	}
	want(t, read(t, tenantCtx(t, "a"), i, everything("a=b")), `{a="b"} 1 x`, `{a="b"} 2 x`)
	st.fail(nil)
	if code := get(); code != http.StatusNoContent || st.puts != 4 {
		t.Errorf("status %d, %d attempts", code, st.puts)
	}
	stop(t, i)
	if code := get(); code != http.StatusServiceUnavailable {
		t.Errorf("status %d after the stop", code)
	}
}

func TestFlushOnStop(t *testing.T) {
	st := newMemStore()
	i, err := tryStart(t, Config{FlushOnStop: time.Minute}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	push(t, i, "a", stream1(ls("a", "b"), entry(1, "x")))
	stop(t, i)
	want(t, read(t, tenantCtx(t, "a"), st, everything()), `{a="b"} 1 x`)
}
