package frontend

import (
	"context"
	"iter"
	"slices"
	"sync"

	"github.com/grafana/dskit/user"

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

// Tail implements Service. A tenant may have Limits.MaxConcurrentTailRequests at once. A tail of several tenants is one
// of each of them, with its own history, and ends with the first that fails.
func (f *Frontend) Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
	return func(yield func(*querier.TailResponse, error) bool) {
		ids, err := f.tenants(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		several := len(ids) > 1
		if several {
			if ids, req, err = tailsOf(ids, req); err != nil {
				yield(nil, err)
				return
			}
		}
		for n, id := range ids {
			if err := f.checkTail(id, req); err != nil {
				for _, id := range ids[:n] {
					f.tails.leave(id)
				}
				yield(nil, err)
				return
			}
		}
		f.metrics.tails.Inc()
		defer f.metrics.tails.Dec()
		defer func() {
			for _, id := range ids {
				f.tails.leave(id)
			}
		}()
		if several {
			f.tailAll(ctx, ids, req, yield)
			return
		}
		for res, err := range f.querier.Tail(user.InjectOrgID(ctx, ids[0]), req) {
			if !yield(res, err) {
				return
			}
		}
	}
}

// tailsOf takes the matchers of TenantLabel out of a request, and returns the tenants that they leave.
func tailsOf(ids []string, req *querier.TailRequest) ([]string, *querier.TailRequest, error) {
	log, err := syntax.ParseLog(req.Query)
	if err != nil {
		return nil, nil, err
	}
	if ids, err = chooseTenants(ids, log); err != nil {
		return nil, nil, err
	}
	one := *req
	one.Query = log.String()
	return ids, &one, nil
}

// tailAll yields what the tails of several tenants do, as it comes.
func (f *Frontend) tailAll(ctx context.Context, ids []string, req *querier.TailRequest, yield func(*querier.TailResponse, error) bool) {
	ctx, cancel := context.WithCancel(ctx)
	type answer struct {
		res *querier.TailResponse
		err error
	}
	answers := make(chan answer)
	var tails sync.WaitGroup
	for _, id := range ids {
		tails.Go(func() {
			for res, err := range f.querier.Tail(user.InjectOrgID(ctx, id), req) {
				if err == nil {
					res = tailOfTenant(res, id)
				}
				select {
				case answers <- answer{res, err}:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() {
		tails.Wait()
		close(ended)
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for {
		select {
		case a := <-answers:
			if !yield(a.res, a.err) || a.err != nil {
				return
			}
		case <-ended:
			return
		}
	}
}

// tailOfTenant returns a response that says whose it is.
func tailOfTenant(res *querier.TailResponse, id string) *querier.TailResponse {
	own := *res
	own.Streams = slices.Clone(res.Streams) // it may be the querier's
	for i := range own.Streams {
		own.Streams[i].Labels = ofTenant(own.Streams[i].Labels, id)
	}
	own.Lost = slices.Clone(res.Lost)
	for i := range own.Lost {
		own.Lost[i].Labels = ofTenant(own.Lost[i].Labels, id)
	}
	return &own
}

// checkTail compares a tail with the tenant's limits and enters it among the tenant's tails.
func (f *Frontend) checkTail(id string, req *querier.TailRequest) error {
	lim := f.limits(id)
	log, err := syntax.ParseLog(req.Query)
	if err != nil {
		return err
	}
	if err := f.checkBlocked([]string{id}, req.Query, log, lim); err != nil {
		return err
	}
	if err := checkSelectors(log, lim); err != nil {
		return err
	}
	if most := lim.MaxEntriesLimitPerQuery; most > 0 && req.Limit > most {
		return limitErrorf("max_entries_limit_per_query", "max entries limit per query exceeded, limit > max_entries_limit_per_query (%d > %d)", req.Limit, most)
	}
	if n, ok := f.tails.enter(id, lim.MaxConcurrentTailRequests); !ok {
		return limitErrorf("max_concurrent_tail_requests", "max concurrent tail requests limit exceeded, count > limit (%d > %d)", n+1, lim.MaxConcurrentTailRequests)
	}
	return nil
}
