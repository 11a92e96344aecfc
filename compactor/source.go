package compactor

import (
	"context"
	"iter"
	"math"

	"github.com/grafana/dskit/user"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// Deletes tells which rows queries must not see any more.
type Deletes interface {
	// Deleted returns the predicates of a tenant that are in force. It takes no time. The slice must not
	// be changed.
	Deleted(tenant string) []*Predicate

	// Generation names what Deleted returns: the name changes whenever that does. It takes no time.
	Generation(tenant string) string
}

// FilterDeleted returns a source without the rows that delete requests of the tenant of ctx name, src itself if
// there are none. Where no request is about the range of a read, it hands on what src yields. A querier should
// wrap what it reads heads and segments through.
func FilterDeleted(ctx context.Context, src logql.Source, d Deletes) logql.Source {
	tenant, err := user.ExtractOrgID(ctx)
	if err == nil && len(d.Deleted(tenant)) == 0 {
		return src
	}
	return &filtered{src, d}
}

type filtered struct {
	logql.Source
	deletes Deletes
}

// Select implements logql.Source.
func (f *filtered) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	tenant, err := user.ExtractOrgID(ctx)
	if err != nil {
		return f.Source.Select(ctx, req) // it will say so
	}
	var about []*Predicate
	for _, p := range f.deletes.Deleted(tenant) {
		if req.Start < req.End && p.overlaps(req.Start, req.End-1) {
			about = append(about, p)
		}
	}
	if len(about) == 0 {
		return f.Source.Select(ctx, req)
	}
	whole := *req
	whole.Wants, whole.Project = nil, nil // a request may name rows by what the query does not look at
	return func(yield func(*column.Batch, error) bool) {
		r := newRemover(about)
		for b, err := range f.Source.Select(ctx, &whole) {
			if err != nil {
				yield(nil, err)
				return
			}
			own := *b // the runs of b may be shared with others
			if _, err := r.narrow(ctx, &own, math.MinInt64, math.MaxInt64); err != nil {
				b.Release()
				yield(nil, err)
				return
			}
			if len(own.Runs) == 0 {
				b.Release()
				continue
			}
			if !yield(&own, nil) {
				return
			}
		}
	}
}
