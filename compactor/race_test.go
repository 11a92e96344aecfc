package compactor_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/compactor"
	"example.com/loki/indexgw"
	"example.com/loki/ingester"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/store"
)

// TestBesideReaders pushes, flushes, merges, removes and reads at once: each query counts all rows that were
// acknowledged before it began, and none twice.
func TestBesideReaders(t *testing.T) {
	bucket, err := store.NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.New(store.Config{RefreshInterval: 20 * time.Millisecond}, bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, st)
	ing, err := ingester.New(ingester.Config{Dir: t.TempDir(), Sync: ingester.SyncNever}, st, limits.Fixed(limits.Limits{}), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, ing)
	lim := limits.Default()
	lim.MaxQueryMemory = 0
	gate, err := indexgw.New(indexgw.Config{}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, gate)
	q, err := querier.New(querier.Config{Parallelism: 1}, ing, gate, st, limits.Fixed(lim), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, q)
	// Objects go half a second after they were replaced: longer than any query here.
	c, err := compactor.New(compactor.Config{
		Interval: -1, MinAge: -1, DeleteDelay: 500 * time.Millisecond, Partition: time.Hour, FanIn: 2, BytesPerSecond: -1, MinShare: 1,
	}, st, bucket, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, c)

	ctx, cancel := context.WithCancel(user.InjectOrgID(context.Background(), "a"))
	defer cancel()
	var acked, passes, reads atomic.Int64
	const pushes, lines = 80, 20
	base := time.Now().Add(-2 * time.Hour).UnixNano()
	var writers, others sync.WaitGroup
	writers.Go(func() {
		for n := range pushes {
			ls := labels.FromStrings("app", fmt.Sprint(n%3))
			s := ingester.Stream{Labels: ls, Hash: labels.StableHash(ls)}
			for k := range lines {
				s.Entries = append(s.Entries, ingester.Entry{
					Time: base + rand.Int64N(int64(2*time.Hour)), Line: fmt.Appendf(nil, "%d-%d", n, k),
				})
			}
			if err := ing.Push(ctx, &ingester.PushRequest{Streams: []ingester.Stream{s}}); err != nil {
				t.Error(err)
			}
			acked.Add(lines)
			if n%4 == 0 {
				if err := ing.Flush(ctx, "a"); err != nil {
					t.Error(err)
				}
			}
		}
	})
	others.Go(func() {
		for ctx.Err() == nil {
			if err := c.Run(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("pass: %v", err)
			}
			passes.Add(1)
		}
	})
	params := logql.Params{Query: `sum(count_over_time({app=~".+"}[1d]))`, Start: base + int64(3*time.Hour), End: base + int64(3*time.Hour)}
	plan, err := logql.NewPlan(params)
	if err != nil {
		t.Fatal(err)
	}
	count := func() (float64, error) {
		part, err := q.Run(ctx, &logql.Task{Params: params, From: 0, Through: 1 << 62})
		if err != nil {
			return 0, err
		}
		res, err := plan.Finish(ctx, [][]*logql.Partial{{part}}, logql.Options{})
		if err != nil || len(res.Series) == 0 {
			return 0, err
		}
		return res.Series[0].Points[0].Value, nil
	}
	for range 2 {
		others.Go(func() {
			for ctx.Err() == nil {
				before := acked.Load()
				n, err := count()
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("query: %v", err)
					}
					return
				}
				if after := acked.Load() + lines; int64(n) < before || int64(n) > after {
					t.Errorf("query counts %v rows; %d were acknowledged before and at most %d after it", n, before, after)
				}
				reads.Add(1)
			}
		})
	}
	writers.Wait()
	for range 3 {
		seen := passes.Load()
		for passes.Load() < seen+2 {
			if n, err := count(); err != nil || n != pushes*lines {
				t.Fatalf("query counts %v rows of %d: %v", n, pushes*lines, err)
			}
		}
	}
	cancel()
	others.Wait()
	infos, err := st.Segments(user.InjectOrgID(context.Background(), "a"), 0, 1<<62)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d passes, %d queries; %d segments at last", passes.Load(), reads.Load(), len(infos))
}
