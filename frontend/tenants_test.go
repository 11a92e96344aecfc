package frontend_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/tenant"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
)

// TestSeveralTenants asks for the lines of two tenants, which have as many as twins says.
func TestSeveralTenants(t *testing.T) {
	q := twins(t)
	c := newCache(t)
	f := newFrontend(t, frontend.Config{MultiTenant: true, Cache: c, InstantCache: c}, q, q, limits.Default())
	end := frontendtest.Now.UnixNano()
	start := end - 10*minute
	for range 2 { // the second time with kept answers
		for _, tt := range []struct {
			tenants, query string
			want           string
		}{
			{"a", `sum(count_over_time({app="x"}[10m]))`, `{} 3`},
			{"a|a", `sum(count_over_time({app="x"}[10m]))`, `{} 3`},
			{"a|b", `sum(count_over_time({app="x"}[10m]))`, `{} 8`},
			{"b|a", `sum(count_over_time({app="x"}[10m]))`, `{} 8`},
			{"a|b|none", `sum by (__tenant_id__) (count_over_time({app="x"}[10m]))`, `{__tenant_id__="a"} 3 {__tenant_id__="b"} 5`},
			{"a|b", `count_over_time({app="x"}[10m])`, `{__tenant_id__="a", app="x", own="a"} 3 {__tenant_id__="b", app="x", own="b"} 5`},
			{"a|b", `sum without (own, __tenant_id__) (count_over_time({app="x"}[10m]))`, `{app="x"} 8`},
			{"a|b", `topk(1, sum by (__tenant_id__, app) (count_over_time({app="x"}[10m])))`, `{__tenant_id__="b", app="x"} 5`},
			{"a|b", `sum(count_over_time({app="x", __tenant_id__="b"}[10m]))`, `{} 5`},
			{"a|b", `sum(count_over_time({app="x", __tenant_id__!~"b|c"}[10m]))`, `{} 3`},
			{"a|b", `sum(count_over_time({app="x", __tenant_id__="c"}[10m]))`, ``},
			{"a|b", `sum(count_over_time({app="x"}[10m])) / sum(count_over_time({app="x"}[10m] offset -1m))`, `{} 1`},
		} {
			res, err := f.Query(user.InjectOrgID(t.Context(), tt.tenants), &logql.Params{Query: tt.query, Start: end, End: end})
			if err != nil {
				t.Errorf("%s: %s: %v", tt.tenants, tt.query, err)
				continue
			}
			slices.SortFunc(res.Series, func(a, b logql.SeriesResult) int { return labels.Compare(a.Labels, b.Labels) })
			got := ""
			for i, s := range res.Series {
				if i > 0 {
					got += " "
				}
				got += fmt.Sprint(s.Labels, " ", s.Points[0].Value)
			}
			if got != tt.want {
				t.Errorf("%s: %s = %s, want %s", tt.tenants, tt.query, got, tt.want)
			}
		}
	}

	both := user.InjectOrgID(t.Context(), "a|b")
	res, err := f.Query(both, &logql.Params{Query: `{app="x"}`, Start: start, End: end, Limit: 3})
	want := `[{__tenant_id__="a", app="x", own="a"} a0 {__tenant_id__="b", app="x", own="b"} b0]`
	if err != nil || res.Stats.Returned != 3 {
		t.Fatalf("Query = %+v, %v", res, err)
	}
	var newest []string
	for _, s := range res.Streams {
		newest = append(newest, fmt.Sprint(s.Labels, " ", s.Entries[0].Line))
	}
	if got := fmt.Sprint(newest); got != want {
		t.Errorf("log lines %s, want %s", got, want)
	}
	var refused *logql.QueryError
	if _, err := f.Query(both, &logql.Params{Query: `sum(rate({app="x",__tenant_id__="a"}[1m])) + sum(rate({app="x"}[1m]))`, Start: end, End: end}); !errors.As(err, &refused) {
		t.Errorf("Query of selectors that choose other tenants = %v", err)
	}

	is := func(name, value string) []*labels.Matcher {
		return []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, name, value)}
	}
	for what, ask := range map[string]func() (any, error){
		`[__tenant_id__ app own]`: func() (any, error) { return f.Labels(both, start, end, nil) },
		`[a b]`:                   func() (any, error) { return f.LabelValues(both, "__tenant_id__", start, end, nil) },
		`[b]`:                     func() (any, error) { return f.LabelValues(both, "own", start, end, is("__tenant_id__", "b")) },
		`[x]`:                     func() (any, error) { return f.LabelValues(both, "app", start, end, nil) },
		`[{__tenant_id__="a", app="x", own="a"} {__tenant_id__="b", app="x", own="b"}]`: func() (any, error) {
			return f.Series(both, start, end, [][]*labels.Matcher{is("app", "x"), is("own", "a")})
		},
		`{2 2 8 80}`: func() (any, error) { return f.IndexStats(both, start, end, nil) },
		`[{0 18446744073709551615 {2 2 8 80}}]`: func() (any, error) {
			return f.IndexShards(both, start, end, nil, 1000)
		},
	} {
		if got, err := ask(); err != nil || fmt.Sprint(got) != what {
			t.Errorf("got %v, %v, want %s", got, err, what)
		}
	}
	volume, err := f.Volume(both, &frontend.VolumeRequest{Start: start, End: end, Matchers: is("app", "x")})
	if err != nil || len(volume.Series) != 1 || volume.Series[0].Points[0].Value != 80 {
		t.Errorf("Volume = %+v, %v, want 80 bytes in one series", volume, err)
	}

	single := newFrontend(t, frontend.Config{}, q, q, limits.Default())
	for _, err := range single.Tail(both, &querier.TailRequest{Query: `{app="x"}`}) {
		if !errors.Is(err, user.ErrTooManyOrgIDs) {
			t.Errorf("Tail though it is off = %v, want %v", err, user.ErrTooManyOrgIDs)
		}
	}
	if _, err := single.Query(both, &logql.Params{Query: `{app="x"}`, Start: start, End: end, Limit: 3}); !errors.Is(err, user.ErrTooManyOrgIDs) {
		t.Errorf("Query though it is off = %v, want %v", err, user.ErrTooManyOrgIDs)
	}
}

// TestStrictestLimits gives two tenants different limits.
func TestStrictestLimits(t *testing.T) {
	q := twins(t)
	byTenant := func(id string) *limits.Limits {
		l := limits.Default()
		l.MaxQueryLookback = map[string]time.Duration{"a": 0, "b": 2*time.Minute + time.Second}[id]
		l.VolumeEnabled = id == "a"
		return &l
	}
	f, err := frontend.New(frontend.Config{MultiTenant: true, Now: now}, q, q, byTenant, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	end := frontendtest.Now.UnixNano()
	for tenants, want := range map[string]int64{"a": 3, "b": 2, "a|b": 4} {
		res, err := f.Query(user.InjectOrgID(t.Context(), tenants), &logql.Params{Query: `{app="x"}`, Start: end - 10*minute, End: end, Limit: 10})
		if err != nil || res.Stats.Returned != want {
			t.Errorf("%s: %+v, %v, want %d lines", tenants, res, err, want)
		}
	}
	if _, err := f.Volume(user.InjectOrgID(t.Context(), "a|b"), &frontend.VolumeRequest{Start: end - minute, End: end}); !errors.Is(err, frontend.ErrLimit) {
		t.Errorf("Volume = %v, want %v", err, frontend.ErrLimit)
	}
}

// TestTailOfTenants tails two tenants at once.
func TestTailOfTenants(t *testing.T) {
	errGone := errors.New("gone")
	fail := make(chan struct{})
	var mu sync.Mutex
	asked := map[string]string{} // query by tenant
	q := &queriertest.Fake{TailFunc: func(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
		return func(yield func(*querier.TailResponse, error) bool) {
			id, err := tenant.TenantID(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			mu.Lock()
			asked[id] = req.Query
			mu.Unlock()
			res := &querier.TailResponse{Dropped: len(id), Lost: []logql.Lost{{Labels: labels.FromStrings("app", "y"), Time: 7}}, Streams: []logql.StreamResult{{
				Labels: labels.FromStrings("app", "x"), Entries: []logql.EntryResult{{Time: 1, Line: "line of " + id}},
			}}}
			if !yield(res, nil) {
				return
			}
			select {
			case <-ctx.Done():
			case <-fail:
				yield(nil, errGone)
			}
		}
	}}
	lim := limits.Default()
	lim.MaxConcurrentTailRequests = 1
	f := newFrontend(t, frontend.Config{MultiTenant: true}, q, q, lim)
	// take returns what the first n answers of a tail hold, sorted.
	take := func(tenants, query string, n int) (got []string, err error) {
		for res, err := range f.Tail(user.InjectOrgID(t.Context(), tenants), &querier.TailRequest{Query: query}) {
			if err != nil {
				return got, err
			}
			for _, s := range res.Streams {
				got = append(got, fmt.Sprint(s.Labels, " ", s.Entries[0].Line, " ", res.Dropped, " ", res.Lost[0].Labels))
			}
			if len(got) == n {
				break
			}
		}
		slices.Sort(got)
		return got, nil
	}
	a, bb := `{__tenant_id__="a", app="x"} line of a 1 {__tenant_id__="a", app="y"}`, `{__tenant_id__="bb", app="x"} line of bb 2 {__tenant_id__="bb", app="y"}`
	for range 2 { // nothing is left of the first that would count as a tail of these tenants
		if got, err := take("a|bb", `{app="x"} |= "line"`, 2); err != nil || !slices.Equal(got, []string{a, bb}) {
			t.Errorf("got %q, %v", got, err)
		}
	}
	clear(asked)
	if got, err := take("a|bb", `{app="x", __tenant_id__="bb"} |= "line"`, 1); err != nil || !slices.Equal(got, []string{bb}) {
		t.Errorf("got %q, %v", got, err)
	}
	if want := map[string]string{"bb": `{app="x"} |= "line"`}; !maps.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
	next, stop := iter.Pull2(f.Tail(user.InjectOrgID(t.Context(), "bb"), &querier.TailRequest{Query: `{app="x"}`}))
	if _, err, _ := next(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // that of a is not counted, as that of bb was refused
		if _, err := take("a|bb", `{app="x"}`, 1); !errors.Is(err, frontend.ErrLimit) {
			t.Errorf("one tail too many: %v", err)
		}
	}
	stop()
	close(fail)
	if _, err := take("a|bb", `{app="x"}`, 3); !errors.Is(err, errGone) {
		t.Errorf("one that fails: %v", err)
	}
	if _, err := take("a|bb", `{app=`, 1); err == nil {
		t.Error("a query that is none is taken")
	}
}
