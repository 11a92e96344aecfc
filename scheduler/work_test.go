package scheduler_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/logql"
	"example.com/loki/scheduler"
)

// TestWorkIsLimited has a tenant ask for more at once than it may: its tasks wait, those of others don't.
func TestWorkIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{next: make(chan struct{})}
		reg := prometheus.NewRegistry()
		s, err := scheduler.New(scheduler.Config{Concurrency: 10, TenantBytes: 100, MaxBytes: 1000}, g, nil, reg)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		defer stop(t, s)
		var wg sync.WaitGroup
		run := func(tenant string, n, bytes int64) {
			wg.Go(func() {
				if _, err := s.Run(user.InjectOrgID(t.Context(), tenant), &logql.Task{From: n, Bytes: bytes}); err != nil {
					t.Errorf("Run of %s%d: %v", tenant, n, err)
				}
			})
			synctest.Wait() // it runs or waits now
		}
		begun := func(want ...string) {
			t.Helper()
			if got := g.begun(); !slices.Equal(got, want) {
				t.Errorf("the tasks %v have begun, want %v", got, want)
			}
		}
		run("a", 0, 60)
		run("a", 1, 60) // too much beside the first
		run("a", 2, 1)  // keeps its place
		run("b", 0, 5000)
		run("c", 0, 10) // b takes all that there is
		begun("a0")
		if got := value(t, reg, "loki_query_scheduler_inflight_bytes"); got != 60 {
			t.Errorf("%v bytes run, want 60", got)
		}
		for range 6 {
			select {
			case g.next <- struct{}{}:
			case <-time.After(time.Minute):
			}
			synctest.Wait()
		}
		wg.Wait()
		if got := g.begun(); len(got) != 5 || slices.Index(got, "a1") > slices.Index(got, "a2") {
			t.Errorf("the tasks %v have run", got)
		}
		if got := value(t, reg, "loki_query_scheduler_inflight_bytes"); got != 0 {
			t.Errorf("%v bytes at the end", got)
		}
	})
}

// TestThousandsWait queues more tasks than any limit of numbers would let in. All are done.
func TestThousandsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{next: make(chan struct{})}
		s := start(t, 2, g, nil)
		defer stop(t, s)
		const n = 5000
		var wg sync.WaitGroup
		for i := range int64(n) {
			wg.Go(func() {
				if _, err := s.Run(user.InjectOrgID(t.Context(), "a"), &logql.Task{From: i, Bytes: 1 << 30}); err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		}
		for range n {
			g.next <- struct{}{}
		}
		wg.Wait()
	})
}

// TestDeadlineInTheQueue waits for a turn that doesn't come in time.
func TestDeadlineInTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{next: make(chan struct{})}
		s := start(t, 1, g, nil)
		defer stop(t, s)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.Run(user.InjectOrgID(t.Context(), "a"), &logql.Task{}); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		synctest.Wait()
		why := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(user.InjectOrgID(t.Context(), "a"), 3*time.Second, why)
		defer cancel()
		_, err := s.Run(ctx, &logql.Task{})
		if !errors.Is(err, why) || !strings.Contains(err.Error(), "waited 3s for its turn, while 1 others ran") {
			t.Errorf("Run = %v", err)
		}
		g.next <- struct{}{}
		wg.Wait()
	})
}
