package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"example.com/loki/logql"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, concurrency int, q scheduler.Querier, reg prometheus.Registerer) *scheduler.Scheduler {
	t.Helper()
	s, err := scheduler.New(scheduler.Config{Concurrency: concurrency}, q, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func stop(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
		t.Error(err)
	}
}

func TestContract(t *testing.T) {
	schedulertest.Contract(t, func(t *testing.T, q scheduler.Querier) scheduler.Service {
		s := start(t, 1, q, nil)
		t.Cleanup(func() { stop(t, s) })
		return s
	})
}

func TestConfig(t *testing.T) {
	if _, err := scheduler.New(scheduler.Config{Concurrency: -1}, nil, nil, nil); err == nil {
		t.Error("New accepts a negative concurrency")
	}
}

// gate runs tasks that last until they are let go, and notes the order in which they began.
type gate struct {
	mu    sync.Mutex
	order []string
	next  chan struct{}
}

func (g *gate) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	id, _ := user.ExtractOrgID(ctx)
	g.mu.Lock()
	g.order = append(g.order, fmt.Sprint(id, t.From))
	g.mu.Unlock()
	select {
	case <-g.next:
		return &logql.Partial{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (g *gate) begun() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.order)
}

// TestTenantsTakeTurns has one tenant queue many tasks before others come with a few.
func TestTenantsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{next: make(chan struct{})}
		reg := prometheus.NewRegistry()
		s := start(t, 1, g, reg)
		defer stop(t, s)
		var wg sync.WaitGroup
		run := func(tenant string, n int) {
			wg.Go(func() {
				if _, err := s.Run(user.InjectOrgID(t.Context(), tenant), &logql.Task{From: int64(n)}); err != nil {
					t.Errorf("Run of %s%d: %v", tenant, n, err)
				}
			})
			synctest.Wait() // it runs or waits now
		}
		for i := range 5 {
			run("a", i)
		}
		run("b", 0)
		run("b", 1)
		run("c", 0)
		if got := value(t, reg, "loki_query_scheduler_queue_length"); got != 7 {
			t.Errorf("queue length %v, want 7", got)
		}
		for range 8 {
			g.next <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		want := []string{"a0", "a1", "b0", "c0", "a2", "b1", "a3", "a4"}
		if got := g.begun(); !slices.Equal(got, want) {
			t.Errorf("tasks ran in the order %v, want %v", got, want)
		}
		if got := value(t, reg, "loki_query_scheduler_inflight_requests"); got != 0 {
			t.Errorf("%v tasks run at the end", got)
		}
	})
}

func value(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestQueueTimeIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t, 1, schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) {
			time.Sleep(3 * time.Second) // of the bubble's clock
			return &logql.Partial{}, nil
		}), nil)
		defer stop(t, s)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				p, err := s.Run(user.InjectOrgID(t.Context(), "a"), &logql.Task{})
				if want := time.Duration(i) * 3 * time.Second; err != nil || p.Stats.QueueTime != want {
					t.Errorf("queue time %v, %v, want %v", p.Stats.QueueTime, err, want)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
	})
}

// TestCancelledWaitersLeaveTheQueue has waiters go away in all positions; those who stay get their turn.
func TestCancelledWaitersLeaveTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{next: make(chan struct{})}
		s := start(t, 1, g, nil)
		defer stop(t, s)
		var wg sync.WaitGroup
		leave, cancel := context.WithCancel(t.Context())
		for i := range 10 {
			ctx, gone := t.Context(), i%3 == 1
			if gone {
				ctx = leave
			}
			wg.Go(func() {
				_, err := s.Run(user.InjectOrgID(ctx, fmt.Sprint("t", i%2, "-")), &logql.Task{From: int64(i)})
				if gone != errors.Is(err, context.Canceled) {
					t.Errorf("Run of task %d = %v", i, err)
				}
			})
			synctest.Wait()
		}
		cancel()
		synctest.Wait()
		for range 7 {
			g.next <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		want := []string{"t0-0", "t1-3", "t0-2", "t1-5", "t0-6", "t1-9", "t0-8"}
		if got := g.begun(); !slices.Equal(got, want) {
			t.Errorf("tasks ran in the order %v, want %v", got, want)
		}
	})
}

func TestStopEndsAllTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{next: make(chan struct{})}
		s := start(t, 2, g, nil)
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				_, err := s.Run(user.InjectOrgID(t.Context(), "a"), &logql.Task{From: int64(i)})
				if !errors.Is(err, scheduler.ErrStopped) {
					t.Errorf("Run of task %d = %v, want %v", i, err, scheduler.ErrStopped)
				}
			})
		}
		synctest.Wait()
		stop(t, s)
		wg.Wait()
		if _, err := s.Run(user.InjectOrgID(t.Context(), "a"), &logql.Task{}); !errors.Is(err, scheduler.ErrStopped) {
			t.Errorf("Run after the stop = %v, want %v", err, scheduler.ErrStopped)
		}
		if n := len(g.begun()); n != 2 {
			t.Errorf("%d tasks began, want 2", n)
		}
	})
}

// TestManyTenantsAtOnce runs under the race detector.
func TestManyTenantsAtOnce(t *testing.T) {
	s := start(t, 4, schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return &logql.Partial{}, nil }), nil)
	defer stop(t, s)
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for j := range 50 {
				ctx, cancel := context.WithCancel(user.InjectOrgID(t.Context(), fmt.Sprint("tenant-", i%5)))
				if j%7 == 0 {
					go cancel()
				}
				if _, err := s.Run(ctx, &logql.Task{}); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("Run: %v", err)
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

func TestMetricNames(t *testing.T) {
	reg := prometheus.NewRegistry()
	s := start(t, 1, schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return &logql.Partial{}, nil }), reg)
	defer stop(t, s)
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func BenchmarkRunIdle(b *testing.B) {
	p := &logql.Partial{}
	s, err := scheduler.New(scheduler.Config{}, schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return p, nil }), nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(b.Context(), s); err != nil {
		b.Fatal(err)
	}
	defer services.StopAndAwaitTerminated(context.Background(), s)
	ctx := user.InjectOrgID(b.Context(), "a")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Run(ctx, &logql.Task{}); err != nil {
			b.Fatal(err)
		}
	}
}
