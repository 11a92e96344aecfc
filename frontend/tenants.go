package frontend

import (
	"context"
	"slices"

	"github.com/grafana/dskit/tenant"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// A query of several tenants (a|b) is run for each of them as if that one had asked: on its own queue, with
// its own kept answers. What comes out has one more label that says whose it is.

// TenantLabel is the label that tells the streams and series of several tenants apart. Matchers for it choose
// among the tenants.
const TenantLabel = "__tenant_id__"

// tenants returns who asks.
func (f *Frontend) tenants(ctx context.Context) ([]string, error) {
	if f.cfg.MultiTenant {
		return tenant.TenantIDs(ctx)
	}
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return nil, err
	}
	return []string{id}, nil
}

// limitsOf returns the limits of a tenant, or for several of them the strictest of each.
func limitsOf(provider limits.Provider, ids []string) *limits.Limits {
	if len(ids) == 1 {
		return provider(ids[0])
	}
	all := *provider(ids[0])
	for _, id := range ids[1:] {
		l := provider(id)
		all.MaxQueryLength = least(all.MaxQueryLength, l.MaxQueryLength)
		all.MaxQueryLookback = least(all.MaxQueryLookback, l.MaxQueryLookback)
		all.MaxQueryRange = least(all.MaxQueryRange, l.MaxQueryRange)
		all.MaxQuerySeries = least(all.MaxQuerySeries, l.MaxQuerySeries)
		all.MaxEntriesLimitPerQuery = least(all.MaxEntriesLimitPerQuery, l.MaxEntriesLimitPerQuery)
		all.MaxStreamsMatchersPerQuery = least(all.MaxStreamsMatchersPerQuery, l.MaxStreamsMatchersPerQuery)
		all.MaxQueryBytesRead = least(all.MaxQueryBytesRead, l.MaxQueryBytesRead)
		all.MaxQueryMemory = least(all.MaxQueryMemory, l.MaxQueryMemory)
		all.MaxQueryParallelism = least(all.MaxQueryParallelism, l.MaxQueryParallelism)
		all.QueryTimeout = least(all.QueryTimeout, l.QueryTimeout)
		all.SplitQueriesByInterval = least(all.SplitQueriesByInterval, l.SplitQueriesByInterval)
		all.RequiredLabels = slices.Concat(all.RequiredLabels, l.RequiredLabels)
		all.MinimumLabelsNumber = max(all.MinimumLabelsNumber, l.MinimumLabelsNumber)
		all.BlockedQueries = slices.Concat(all.BlockedQueries, l.BlockedQueries)
		all.VolumeEnabled = all.VolumeEnabled && l.VolumeEnabled
		all.VolumeMaxSeries = least(all.VolumeMaxSeries, l.VolumeMaxSeries)
	}
	return &all
}

// least returns the stricter of two limits, of which 0 is none.
func least[T int | ~int64](a, b T) T {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// chosen returns the tenants for which all matchers of TenantLabel hold, and the other matchers.
func chosen(ids []string, matchers []*labels.Matcher) ([]string, []*labels.Matcher) {
	var others []*labels.Matcher
	some := slices.Clone(ids)
	for _, m := range matchers {
		if m.Name != TenantLabel {
			others = append(others, m)
			continue
		}
		some = slices.DeleteFunc(some, func(id string) bool { return !m.Matches(id) })
	}
	return some, others
}

// chooseTenants takes the matchers of TenantLabel out of a query and returns the tenants that they leave.
func chooseTenants(ids []string, expr syntax.Expr) ([]string, error) {
	chose := ids
	for i, log := range selections(expr) {
		some, others := chosen(ids, log.Matchers)
		if i > 0 && !slices.Equal(some, chose) {
			return nil, &logql.QueryError{
				Kind:    logql.KindQuery,
				Message: "all selectors of a query must choose the same tenants with " + TenantLabel,
			}
		}
		chose, log.Matchers = some, others
	}
	return chose, nil
}

// selections returns the log selections of an expression.
func selections(expr syntax.Expr) []*syntax.LogExpr {
	switch e := expr.(type) {
	case *syntax.LogExpr:
		return []*syntax.LogExpr{e}
	case *syntax.RangeAggregation:
		return []*syntax.LogExpr{e.Log}
	case *syntax.VectorAggregation:
		return selections(e.Inner)
	case *syntax.LabelReplace:
		return selections(e.Inner)
	case *syntax.Binary:
		return append(selections(e.Left), selections(e.Right)...)
	}
	return nil
}

// eachTenant calls ask for each tenant that the matchers of TenantLabel choose, with the other matchers and a
// context of that tenant alone.
func eachTenant(ctx context.Context, ids []string, matchers []*labels.Matcher, ask func(ctx context.Context, id string, matchers []*labels.Matcher) error) error {
	if len(ids) == 1 {
		return ask(user.InjectOrgID(ctx, ids[0]), ids[0], matchers)
	}
	some, others := chosen(ids, matchers)
	for _, id := range some {
		if err := ask(user.InjectOrgID(ctx, id), id, others); err != nil {
			return err
		}
	}
	return nil
}

// ofTenant returns the labels of a stream of a tenant.
func ofTenant(ls labels.Labels, id string) labels.Labels {
	b := labels.NewBuilder(ls)
	if old := ls.Get(TenantLabel); old != "" {
		b.Set("original_"+TenantLabel, old)
	}
	return b.Set(TenantLabel, id).Labels()
}
