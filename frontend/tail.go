package frontend

import (
	"context"
	"iter"
	"sync"

	"github.com/grafana/dskit/tenant"

	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
)

// tailCounts is how many tails each tenant has open.
type tailCounts struct {
	mu    sync.Mutex
	count map[string]int // only tenants with tails
}

// enter counts a tail unless there are most already.
func (t *tailCounts) enter(tenant string, most int) (count int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.count[tenant]
	if most > 0 && n >= most {
		return n, false
	}
	if t.count == nil {
		t.count = map[string]int{}
	}
	t.count[tenant] = n + 1
	return n + 1, true
}

func (t *tailCounts) leave(tenant string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count[tenant]--; t.count[tenant] == 0 {
		delete(t.count, tenant)
	}
}

// Tail implements Service. A tenant may have Limits.MaxConcurrentTailRequests at once.
func (f *Frontend) Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
	return func(yield func(*querier.TailResponse, error) bool) {
		id, err := f.checkTail(ctx, req)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.tails.leave(id)
		f.metrics.tails.Inc()
		defer f.metrics.tails.Dec()
		for res, err := range f.querier.Tail(ctx, req) {
			if !yield(res, err) {
				return
			}
		}
	}
}

// checkTail compares a tail with the tenant's limits and enters it among the tenant's tails.
func (f *Frontend) checkTail(ctx context.Context, req *querier.TailRequest) (string, error) {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return "", err
	}
	lim := f.limits(id)
	log, err := syntax.ParseLog(req.Query)
	if err != nil {
		return "", err
	}
	if err := checkMatchers(log.Matchers, lim); err != nil {
		return "", err
	}
	if most := lim.MaxEntriesLimitPerQuery; most > 0 && req.Limit > most {
		return "", limitErrorf("max_entries_limit_per_query", "max entries limit per query exceeded, limit > max_entries_limit_per_query (%d > %d)", req.Limit, most)
	}
	if n, ok := f.tails.enter(id, lim.MaxConcurrentTailRequests); !ok {
		return "", limitErrorf("max_concurrent_tail_requests", "max concurrent tail requests limit exceeded, count > limit (%d > %d)", n+1, lim.MaxConcurrentTailRequests)
	}
	return id, nil
}
