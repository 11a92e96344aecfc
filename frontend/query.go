package frontend

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/grafana/dskit/user"
	"golang.org/x/sync/errgroup"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// Query implements Service.
func (f *Frontend) Query(ctx context.Context, p *logql.Params) (*logql.Result, error) {
	begin := time.Now()
	ids, lim, ctx, cancel, err := f.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	f.metrics.inProgress.Inc()
	defer f.metrics.inProgress.Dec()

	rec := record{tenant: strings.Join(ids, "|"), params: p, begin: begin}
	res, err := f.query(ctx, *p, ids, lim, &rec)
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
func (f *Frontend) query(ctx context.Context, p logql.Params, ids []string, lim *limits.Limits, rec *record) (*logql.Result, error) {
	expr, err := syntax.Parse(p.Query)
	if err != nil {
		return nil, err
	}
	rec.expr = expr
	if err := f.checkBlocked(ids, p.Query, expr, lim); err != nil {
		return nil, err
	}
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
	several := len(ids) > 1
	if several {
		if ids, err = chooseTenants(ids, expr); err != nil {
			return nil, err
		}
		if len(ids) == 0 {
			return nothing(isLog, &p), nil
		}
		p.Query = expr.String()
	}
	plan, err := logql.NewPlan(p)
	if err != nil {
		return nil, err
	}
	runs := f.runs(ctx, ids, plan, lim)
	var bytes int64
	for _, r := range runs {
		n, err := r.checkCost(user.InjectOrgID(ctx, r.tenant))
		if err != nil {
			return nil, err
		}
		bytes += n
	}
	if err := checkBytes(bytes, lim); err != nil {
		return nil, err
	}
	partials, err := f.partialsOf(ctx, runs, several)
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
func (r *run) checkCost(ctx context.Context) (int64, error) {
	if r.limits.MaxQueryBytesRead <= 0 {
		return 0, nil
	}
	var bytes int64
	for leaf := range r.plan.Leaves {
		n, err := r.volume(ctx, leaf)
		if err != nil {
			return 0, err
		}
		bytes += n
	}
	return bytes, nil
}

// runs returns the query's run of each tenant.
func (f *Frontend) runs(ctx context.Context, ids []string, plan *logql.Plan, lim *limits.Limits) []*run {
	all := make([]*run, len(ids))
	for i, id := range ids {
		r := &run{Frontend: f, plan: plan, limits: lim, tenant: id}
		r.answers.cache = f.cfg.Cache
		if _, isLog := plan.Expr.(*syntax.LogExpr); !isLog && plan.Params.Step == 0 {
			r.answers.cache = f.cfg.InstantCache
		}
		if f.cfg.Generation != nil && r.answers.cache != nil {
			r.generation = f.cfg.Generation(user.InjectOrgID(ctx, id), id)
		}
		all[i] = r
	}
	return all
}

// partialsOf returns the partials of each leaf, of all tenants.
func (f *Frontend) partialsOf(ctx context.Context, runs []*run, several bool) ([][]*logql.Partial, error) {
	if len(runs) == 1 && !several {
		return runs[0].partials(user.InjectOrgID(ctx, runs[0].tenant))
	}
	answers := make([][][]*logql.Partial, len(runs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(tenantsAtOnce)
	for i, r := range runs {
		g.Go(func() (err error) {
			answers[i], err = r.partials(user.InjectOrgID(ctx, r.tenant))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var all [][]*logql.Partial
	for i, r := range runs {
		if all == nil {
			all = make([][]*logql.Partial, len(r.plan.Leaves))
		}
		for leaf, some := range answers[i] {
			for _, part := range some {
				all[leaf] = append(all[leaf], r.plan.Label(leaf, part, TenantLabel, r.tenant))
			}
		}
	}
	return all, nil
}

// tenantsAtOnce is how many tenants of one query are worked for at once.
const tenantsAtOnce = 8
