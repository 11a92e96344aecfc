package frontend_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
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
	} {
		if got, err := ask(); err != nil || fmt.Sprint(got) != what {
			t.Errorf("got %v, %v, want %s", got, err, what)
		}
	}
	volume, err := f.Volume(both, &frontend.VolumeRequest{Start: start, End: end, Matchers: is("app", "x")})
	if err != nil || len(volume.Series) != 1 || volume.Series[0].Points[0].Value != 80 {
		t.Errorf("Volume = %+v, %v, want 80 bytes in one series", volume, err)
	}
	for _, err := range f.Tail(both, &querier.TailRequest{Query: `{app="x"}`}) {
		if !errors.Is(err, user.ErrTooManyOrgIDs) {
			t.Errorf("Tail = %v, want %v", err, user.ErrTooManyOrgIDs)
		}
	}

	single := newFrontend(t, frontend.Config{}, q, q, limits.Default())
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
