package ingester

import (
	"context"
	"fmt"
	"math"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/store"
)

// TestRemember restarts an ingester right after a flush, without its log: queries with an older list of segments
// still read everything from it, and lists of labels have all streams.
func TestRemember(t *testing.T) {
	bucket, err := store.NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var passed atomic.Int64 // nanoseconds since
	ctx := user.InjectOrgID(context.Background(), "a")
	dir := t.TempDir()
	run := func(name string, use func(*Ingester)) {
		t.Helper()
		st, err := store.New(store.Config{Writer: name}, bucket, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(ctx, st); err != nil {
			t.Fatal(err)
		}
		i, err := New(Config{Dir: dir, Name: name, Now: func() time.Time { return began.Add(time.Duration(passed.Load())) }}, st, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(ctx, i); err != nil {
			t.Fatal(err)
		}
		use(i)
		for _, s := range []services.Service{i, st} {
			if err := services.StopAndAwaitTerminated(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.RemoveAll(dir); err != nil { // the disk is lost, too
			t.Fatal(err)
		}
	}
	look := func(i *Ingester, want int) {
		t.Helper()
		rows, err := tryRead(ctx, i, everything())
		if err != nil || len(rows) != want {
			t.Errorf("read %d rows, %v; want %d", len(rows), err, want)
		}
		series, err := i.HandedOver(ctx, time.Minute, math.MinInt64, math.MaxInt64, nil)
		if err != nil || len(series) != want {
			t.Errorf("handed over: %s, %v; want %d streams", series, err, want)
		}
	}
	run("one", func(i *Ingester) {
		for n := range 3 {
			ls := labels.FromStrings("app", fmt.Sprint(n))
			req := &PushRequest{Streams: []Stream{{Labels: ls, Hash: labels.StableHash(ls), Entries: []Entry{{Time: int64(n), Line: []byte("x")}}}}}
			if err := i.Push(ctx, req); err != nil {
				t.Fatal(err)
			}
		}
		if err := i.Flush(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		look(i, 3)
	})
	run("one", func(i *Ingester) { look(i, 3) })
	run("two", func(i *Ingester) { look(i, 0) }) // another one's segments
	run("one", func(i *Ingester) {
		look(i, 3)
		passed.Add(int64(2 * time.Minute))
		if series, err := i.HandedOver(ctx, time.Minute, math.MinInt64, math.MaxInt64, nil); err != nil || len(series) > 0 {
			t.Errorf("handed over two minutes later: %s, %v", series, err)
		}
		passed.Add(int64(10 * time.Hour))
	})
	run("one", func(i *Ingester) { look(i, 0) }) // long ago
}
