// Package schedulertest has the tests that every scheduler.Service must pass, and a fake.
package schedulertest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/grafana/dskit/user"

	"example.com/loki/logql"
	"example.com/loki/scheduler"
)

// Fake is a scheduler.Service that runs each task at once with a function.
type Fake func(ctx context.Context, t *logql.Task) (*logql.Partial, error)

// Run implements scheduler.Service.
func (f Fake) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) { return f(ctx, t) }

// Contract tests a scheduler that newService makes: running, with one task at a time on the querier q.
// newService sees to it that the scheduler is stopped at the end of the test.
func Contract(t *testing.T, newService func(t *testing.T, q scheduler.Querier) scheduler.Service) {
	t.Run("answer", func(t *testing.T) {
		s := newService(t, Fake(func(_ context.Context, task *logql.Task) (*logql.Partial, error) {
			return &logql.Partial{Stats: logql.Stats{Rows: task.From}}, nil
		}))
		p, err := s.Run(tenant(t, "a"), &logql.Task{From: 42})
		if err != nil || p.Stats.Rows != 42 {
			t.Errorf("Run = %+v, %v, want the querier's answer", p, err)
		}
	})
	t.Run("errors pass through", func(t *testing.T) {
		want := &logql.QueryError{Kind: logql.KindSeriesLimit, Message: "too many series"}
		s := newService(t, Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return nil, want }))
		_, err := s.Run(tenant(t, "a"), &logql.Task{})
		var got *logql.QueryError
		if !errors.As(err, &got) || got.Message != want.Message || !errors.Is(err, logql.KindSeriesLimit) {
			t.Errorf("Run = %v, want %v", err, want)
		}
	})
	t.Run("without tenant", func(t *testing.T) {
		s := newService(t, Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return &logql.Partial{}, nil }))
		if _, err := s.Run(t.Context(), &logql.Task{}); !errors.Is(err, user.ErrNoOrgID) {
			t.Errorf("Run = %v, want %v", err, user.ErrNoOrgID)
		}
	})
	t.Run("cancel running", func(t *testing.T) {
		begun := make(chan struct{})
		s := newService(t, Fake(func(ctx context.Context, _ *logql.Task) (*logql.Partial, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		ctx, cancel := context.WithCancel(tenant(t, "a"))
		go func() {
			<-begun
			cancel()
		}()
		if _, err := s.Run(ctx, &logql.Task{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want %v", err, context.Canceled)
		}
	})
	t.Run("cancel waiting", func(t *testing.T) {
		begun, end := make(chan struct{}), make(chan struct{})
		var once sync.Once
		s := newService(t, Fake(func(context.Context, *logql.Task) (*logql.Partial, error) {
			once.Do(func() { close(begun) })
			<-end
			return &logql.Partial{}, nil
		}))
		var wg sync.WaitGroup
		defer wg.Wait()
		defer close(end)
		ctx := tenant(t, "a")
		wg.Go(func() {
			if _, err := s.Run(ctx, &logql.Task{}); err != nil {
				t.Errorf("Run of the first task: %v", err)
			}
		})
		<-begun
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.Run(cancelled, &logql.Task{}); !errors.Is(err, context.Canceled) {
			t.Errorf("Run while another task runs = %v, want %v", err, context.Canceled)
		}
	})
}

func tenant(t *testing.T, id string) context.Context {
	return user.InjectOrgID(t.Context(), id)
}
