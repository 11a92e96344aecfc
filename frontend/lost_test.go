package frontend_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"google.golang.org/grpc"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

// TestQuerierDiesInAQuery has queriers fetch the tasks of a query over gRPC. One of them dies while it works
// on a task, another one joins then; the connection to the scheduler breaks too, and comes back. The answer is
// that of a single process, and no task but the lost ones is run twice.
func TestQuerierDiesInAQuery(t *testing.T) {
	w := frontendtest.World()
	plain := over(t, frontend.Config{}, w, limits.Default())
	q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scheduler.New(scheduler.Config{}, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, s)
	serve := func() *wiretest.Peer {
		return wiretest.Serve(t, wire.Config{}, func(r grpc.ServiceRegistrar) {
			scheduler.RegisterServer(r, s)
			scheduler.RegisterDispatcher(r, s)
		})
	}
	queriers, frontends := serve(), serve()

	var mu sync.Mutex
	runs := map[string]int{}
	note := func(task *logql.Task) int {
		mu.Lock()
		defer mu.Unlock()
		key := fmt.Sprint(task.Leaf, task.From)
		runs[key]++
		return runs[key]
	}
	join := func(conn *grpc.ClientConn, run func(context.Context, *logql.Task) (*logql.Partial, error)) {
		worker, err := querier.NewWorker(querier.WorkerConfig{Parallelism: 1}, conn, schedulertest.Fake(run), nil)
		if err != nil {
			t.Fatal(err)
		}
		start(t, worker)
	}
	// The first takes one task and dies of it.
	mortal := queriers.Dial(t, wire.Config{})
	died := make(chan struct{})
	join(mortal, func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
		note(task)
		if err := mortal.Close(); err != nil {
			return nil, err
		}
		close(died)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	toScheduler := frontends.Dial(t, wire.Config{})
	var broken sync.Once
	sched := schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
		var err error
		broken.Do(func() {
			gone := frontends.Dial(t, wire.Config{}) // to a process that goes away before it answers
			call, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			if err = gone.Close(); err == nil {
				_, err = scheduler.NewClient(gone).Run(call, task)
			}
		})
		if err != nil {
			return nil, err
		}
		return scheduler.NewClient(toScheduler).Run(ctx, task)
	})
	f := newFrontend(t, frontend.Config{SplitTasks: true, TaskBytes: 1}, sched, q, limits.Default())

	var joined sync.WaitGroup
	defer joined.Wait()
	joined.Go(func() {
		<-died
		join(queriers.Dial(t, wire.Config{}), func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
			note(task)
			return q.Run(ctx, task)
		})
	})
	end := frontendtest.Now.UnixNano()
	ctx := user.InjectOrgID(t.Context(), "a")
	p := &logql.Params{Query: `sum by (app) (count_over_time({app=~".+"}[25m]))`, Start: end - 120*minute, End: end, Step: 5 * time.Minute}
	want, err := plain.Query(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := f.Query(ctx, p)
	if err != nil {
		t.Fatal(err)
	}
	got.Stats, want.Stats = logql.Stats{}, logql.Stats{}
	if got, want := logqltest.Format(got, true, 0), logqltest.Format(want, true, 0); got != want {
		t.Errorf("the answer is\n%s\nwant\n%s", got, want)
	}
	twice := 0
	for _, n := range runs {
		if n == 2 {
			twice++
		} else if n != 1 {
			t.Errorf("a task was run %d times", n)
		}
	}
	if len(runs) < 4 || twice != 1 {
		t.Errorf("%d tasks, of which %d were run twice; want several, and one that was lost", len(runs), twice)
	}
}
