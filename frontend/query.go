package frontend

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// Query implements Service.
func (f *Frontend) Query(ctx context.Context, p *logql.Params) (*logql.Result, error) {
	begin := time.Now()
	id, lim, ctx, cancel, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	f.metrics.inProgress.Inc()
	defer f.metrics.inProgress.Dec()

	rec := record{tenant: id, params: p, begin: begin}
	res, err := f.query(ctx, *p, lim, &rec)
	err = cause(ctx, err)
	took := time.Since(begin)
	if res != nil {
		res.Stats.ExecTime = took
	}
	f.done(ctx, &rec, res, err, took)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// query runs a query within the limits. It notes what it learns about the query in rec.
func (f *Frontend) query(ctx context.Context, p logql.Params, lim *limits.Limits, rec *record) (*logql.Result, error) {
	expr, err := syntax.Parse(p.Query)
	if err != nil {
		return nil, err
	}
	rec.expr = expr
	if err := checkQuery(&p, expr, lim); err != nil {
		return nil, err
	}
	_, isLog := expr.(*syntax.LogExpr)
	if !isLog && p.Step > 0 && lim.SplitQueriesByInterval > 0 {
		p.Start, p.End = align(p.Start, p.End, int64(p.Step))
	}
	if from := lookback(p.Start, lim, f.cfg.Now()); from > p.Start {
		if from > p.End {
			return nothing(isLog, &p), nil
		}
		if !isLog && p.Step > 0 { // the points stay where they were
			from = p.Start + (from-p.Start+int64(p.Step)-1)/int64(p.Step)*int64(p.Step)
			if from > p.End {
				return nothing(isLog, &p), nil
			}
		}
		p.Start = from
	}
	plan, err := logql.NewPlan(p)
	if err != nil {
		return nil, err
	}
	if err := f.checkCost(ctx, plan, lim); err != nil {
		return nil, err
	}
	partials, err := f.run(ctx, plan, lim)
	if err != nil {
		return nil, err
	}
	return plan.Finish(ctx, partials, logql.Options{MaxMemory: lim.MaxQueryMemory, MaxSeries: lim.MaxQuerySeries})
}

// nothing is the answer to a query of a range that the tenant may not see.
func nothing(isLog bool, p *logql.Params) *logql.Result {
	switch {
	case isLog:
		return &logql.Result{Type: logql.ResultStreams}
	case p.Step > 0:
		return &logql.Result{Type: logql.ResultMatrix}
	}
	return &logql.Result{Type: logql.ResultVector}
}

// align rounds start down and end up to multiples of step. Times at the edge of what can be said stay.
func align(start, end, step int64) (int64, int64) {
	floor := func(t int64) int64 {
		r := t % step
		if r < 0 {
			r += step
		}
		if t < math.MinInt64+r {
			return t
		}
		return t - r
	}
	start = floor(start)
	if f := floor(end); f != end && f <= math.MaxInt64-step {
		end = f + step
	}
	return start, end
}

// checkCost compares what the plan has to read with the tenant's limit, if there is one.
func (f *Frontend) checkCost(ctx context.Context, plan *logql.Plan, lim *limits.Limits) error {
	if lim.MaxQueryBytesRead <= 0 {
		return nil
	}
	var bytes int64
	for _, leaf := range plan.Leaves {
		volumes, err := f.querier.Volumes(ctx, leaf.Start, leaf.End, leaf.Matchers)
		if err != nil {
			return fmt.Errorf("estimate what the query reads: %w", err)
		}
		for _, v := range volumes {
			bytes += v.Bytes
		}
	}
	return checkBytes(bytes, lim)
}

// run runs all leaves of a plan and returns the partials of each.
func (f *Frontend) run(ctx context.Context, plan *logql.Plan, lim *limits.Limits) ([][]*logql.Partial, error) {
	partials := make([][]*logql.Partial, len(plan.Leaves))
	if len(plan.Leaves) == 1 {
		tasks := f.tasks(plan, 0, lim)
		if plan.Leaves[0].Ordered || len(tasks) == 1 {
			var err error
			partials[0], err = f.runOrdered(ctx, plan, 0, tasks)
			return partials, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, lim.MaxQueryParallelism))
	for i := range plan.Leaves {
		tasks := f.tasks(plan, i, lim)
		partials[i] = make([]*logql.Partial, len(tasks))
		for j := range tasks {
			g.Go(func() (err error) {
				partials[i][j], err = f.scheduler.Run(ctx, &tasks[j])
				return err
			})
		}
	}
	return partials, g.Wait()
}

// runOrdered runs tasks one after another until no further one can change the answer.
func (f *Frontend) runOrdered(ctx context.Context, plan *logql.Plan, leaf int, tasks []logql.Task) ([]*logql.Partial, error) {
	var partials []*logql.Partial
	for i := range tasks {
		p, err := f.scheduler.Run(ctx, &tasks[i])
		if err != nil {
			return nil, err
		}
		partials = append(partials, p)
		if i < len(tasks)-1 && plan.Leaves[leaf].Ordered && plan.Enough(leaf, partials) {
			break
		}
	}
	return partials, nil
}

// maxTasks bounds how many tasks a leaf is cut into; of a longer range each is longer.
const maxTasks = 4096

// tasks cuts a leaf into tasks, in the direction of the query.
func (f *Frontend) tasks(plan *logql.Plan, leaf int, lim *limits.Limits) []logql.Task {
	l := plan.Leaves[leaf]
	task := logql.Task{Params: plan.Params, Leaf: leaf, From: l.Start, Through: l.End}
	width := int64(lim.SplitQueriesByInterval)
	// With an interval, which entries count depends on all those before.
	if !f.cfg.SplitTasks || plan.Params.Interval > 0 || width <= 0 || l.End-l.Start <= width || l.End < l.Start {
		return []logql.Task{task}
	}
	for (l.End-l.Start)/width > maxTasks {
		width *= 2
	}
	var tasks []logql.Task
	for from := l.Start; from < l.End; {
		_, through := align(from, from+1, width) // the next multiple
		t := task
		t.From, t.Through = from, min(through, l.End)
		tasks = append(tasks, t)
		from = t.Through
	}
	if l.Ordered && plan.Params.Direction == logql.Backward {
		slices.Reverse(tasks)
	}
	return tasks
}
