package frontend

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/grafana/dskit/backoff"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"

	"example.com/loki/internal/wire"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
	"example.com/loki/scheduler"
)

// partials runs all leaves of a plan and returns the partials of each.
func (r *run) partials(ctx context.Context) ([][]*logql.Partial, error) {
	partials := make([][]*logql.Partial, len(r.plan.Leaves))
	var all []*job
	for leaf := range r.plan.Leaves {
		jobs, err := r.jobs(ctx, leaf)
		if err != nil {
			return nil, err
		}
		if r.plan.Leaves[leaf].Ordered {
			partials[leaf], err = r.inOrder(ctx, leaf, jobs)
			return partials, err // a log query has one leaf
		}
		all = append(all, jobs...)
	}
	if len(all) == 1 { // in this goroutine
		if err := r.do(ctx, all[0]); err != nil {
			return nil, err
		}
	} else if err := r.atOnce(ctx, all); err != nil {
		return nil, err
	}
	for _, j := range all {
		partials[j.leaf] = append(partials[j.leaf], j.partial)
	}
	return partials, nil
}

// atOnce runs jobs in parallel. The first that fails for good ends the others.
func (r *run) atOnce(ctx context.Context, jobs []*job) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, r.limits.MaxQueryParallelism))
	for _, j := range jobs {
		if j.partial == nil {
			g.Go(func() error { return r.do(ctx, j) })
		}
	}
	return g.Wait()
}

// inOrder runs jobs of a limited log query until no further one can change the answer. It begins with one at
// a time; as long as that doesn't suffice, twice as many each time. What was begun in vain is cancelled.
func (r *run) inOrder(ctx context.Context, leaf int, jobs []*job) ([]*logql.Partial, error) {
	if len(jobs) == 1 { // in this goroutine
		err := r.do(ctx, jobs[0])
		return []*logql.Partial{jobs[0].partial}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer func() {
		cancel()
		wg.Wait()
	}()
	done := make([]chan error, len(jobs))
	start := func(i int) {
		done[i] = make(chan error, 1)
		if jobs[i].partial != nil {
			done[i] <- nil
			return
		}
		wg.Go(func() { done[i] <- r.do(ctx, jobs[i]) })
	}
	var partials []*logql.Partial
	begun, ahead := 0, 1
	for i, j := range jobs {
		for ; begun < min(i+ahead, len(jobs)); begun++ {
			start(begun)
		}
		if err := <-done[i]; err != nil {
			return nil, err
		}
		partials = append(partials, j.partial)
		if r.plan.Enough(leaf, partials) {
			break
		}
		ahead = max(1, min(2*ahead, r.limits.MaxQueryParallelism))
	}
	return partials, nil
}

// do runs a job, again if its querier is lost, and keeps the answer if it can be kept.
func (r *run) do(ctx context.Context, j *job) error {
	if j.partial != nil {
		return nil
	}
	part, err := retried(ctx, r.Frontend, func() (*logql.Partial, error) { return r.scheduler.Run(ctx, &j.task) })
	if err != nil {
		return err
	}
	j.partial = part
	if j.key == "" {
		return nil
	}
	if _, isLog := r.plan.Expr.(*syntax.LogExpr); part.Source != "" && (part.Empty() || !isLog) {
		r.answers.set(ctx, r.fullKey(j.key, part.Source), part)
	}
	j.partial, err = r.plan.Adopt(&j.task, part)
	return err
}

// retried calls f until it succeeds, fails in a way that another try would not cure, or has been tried
// Config.MaxRetries times more.
func retried[T any](ctx context.Context, f *Frontend, call func() (T, error)) (T, error) {
	pause := backoff.New(ctx, backoff.Config{MinBackoff: 20 * time.Millisecond, MaxBackoff: 2 * time.Second})
	for tries := 0; ; tries++ {
		answer, err := call()
		if err == nil || tries >= f.cfg.MaxRetries || ctx.Err() != nil || !curable(err) {
			f.metrics.retries.Observe(float64(tries))
			return answer, err
		}
		pause.Wait()
	}
}

// curable tells that an error is none of the query or the data, but of a process that went away or could not
// be reached. The context of the call is not over.
func curable(err error) bool {
	switch {
	case errors.Is(err, scheduler.ErrLost):
		return false // it has been tried by several queriers, which died of it
	case errors.Is(err, scheduler.ErrStopped), errors.Is(err, context.Canceled):
		return true // theirs, not ours
	}
	return wire.Code(err) == codes.Unavailable
}
