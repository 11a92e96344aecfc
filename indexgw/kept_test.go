package indexgw_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/cache"
	"example.com/loki/indexgw"
	"example.com/loki/indexgw/indexgwtest"
	"example.com/loki/logql"
)

// countedStore counts what is computed, and changes while it does if told to.
type countedStore struct {
	memoryStore
	computed int
	change   func()
}

func (s *countedStore) count() {
	s.computed++
	if s.change != nil {
		s.change()
	}
}

func (s *countedStore) Labels(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error) {
	s.count()
	return s.memoryStore.Labels(ctx, start, end, ms)
}

func (s *countedStore) LabelValues(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error) {
	s.count()
	return s.memoryStore.LabelValues(ctx, name, start, end, ms)
}

func (s *countedStore) Series(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]labels.Labels, error) {
	s.count()
	return s.memoryStore.Series(ctx, start, end, ms)
}

func (s *countedStore) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	s.count()
	return s.memoryStore.Volumes(ctx, start, end, ms, by, parts)
}

func segment(n uint64, tenant, app string, times ...int64) indexgwtest.Segment {
	var id ulid.ULID
	if err := id.SetTime(n); err != nil {
		panic(err)
	}
	return indexgwtest.Segment{Tenant: tenant, ID: id, Streams: []indexgwtest.Stream{{Labels: labels.FromStrings("app", app), Times: times}}}
}

// questions are all that a gateway can be asked, of a tenant and a range.
func questions(g indexgw.Service, tenant string, start, end int64) map[string]func() (any, error) {
	ctx := user.InjectOrgID(context.Background(), tenant)
	app := []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "app", ".+")}
	return map[string]func() (any, error){
		"labels": func() (any, error) { return g.Labels(ctx, start, end, app) },
		"values": func() (any, error) { return g.LabelValues(ctx, "app", start, end, app) },
		"series": func() (any, error) { return g.Series(ctx, start, end, app) },
		"volumes": func() (any, error) {
			return g.Volumes(ctx, start, end, app, nil, nil)
		},
		"volumes by app":  func() (any, error) { return g.Volumes(ctx, start, end, app, []string{"app"}, nil) },
		"volumes of all":  func() (any, error) { return g.Volumes(ctx, start, end, app, []string{}, nil) },
		"volumes by none": func() (any, error) { return g.Volumes(ctx, start, end, app, []string{"none"}, nil) },
		"volumes of parts": func() (any, error) {
			segments, err := g.Segments(ctx, start, end)
			if err != nil {
				return nil, err
			}
			parts := []string{}
			for _, s := range segments {
				parts = append(parts, s.ID.String())
			}
			return g.Volumes(ctx, start, end, app, nil, parts)
		},
	}
}

// TestKeptAnswers asks everything twice in many states, and compares with a gateway that keeps nothing.
func TestKeptAnswers(t *testing.T) {
	st := &countedStore{}
	reg := prometheus.NewPedanticRegistry()
	g, err := indexgw.New(indexgw.Config{}, st, reg)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := indexgw.New(indexgw.Config{CacheBytes: -1}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	// check asks twice; the second time nothing may be computed.
	check := func(state, tenant string, start, end int64) {
		t.Helper()
		want := questions(plain, tenant, start, end)
		for name, ask := range questions(g, tenant, start, end) {
			want, err := want[name]()
			if err != nil {
				t.Fatal(err)
			}
			for n := range 2 {
				st.computed = 0
				got, err := ask()
				if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("%s, tenant %s, %d to %d: %s = %v, %v, want %v", state, tenant, start, end, name, got, err, want)
				}
				if n == 1 && st.computed != 0 {
					t.Errorf("%s, tenant %s: %s are computed again", state, tenant, name)
				}
			}
		}
	}
	states := []struct {
		name string
		segs []indexgwtest.Segment
	}{
		{"nothing", nil},
		{"one", []indexgwtest.Segment{segment(1, "a", "api", 10, 20), segment(2, "b", "secret", 10, 20)}},
		{"another one", []indexgwtest.Segment{segment(1, "a", "api", 10, 20), segment(2, "b", "secret", 10, 20), segment(3, "a", "web", 30, 40)}},
		{"one is merged into another", []indexgwtest.Segment{segment(4, "a", "api", 10, 20, 30), segment(2, "b", "secret", 10, 20), segment(3, "a", "web", 30, 40)}},
		{"one has gone", []indexgwtest.Segment{segment(2, "b", "secret", 10, 20), segment(3, "a", "web", 30, 40)}},
	}
	for _, state := range states {
		st.Segs = state.segs
		for _, tenant := range []string{"a", "b"} {
			check(state.name, tenant, 0, 100)
			check(state.name, tenant, math.MinInt64, math.MaxInt64)
		}
		check(state.name, "a", 0, 25) // before another segment begins
	}

	// A range that ends after the last row may end anywhere; one that ends within may not.
	st.Segs = states[2].segs
	for _, end := range []int64{100, 101} {
		for name, ask := range questions(g, "a", 5, end) {
			st.computed = 0
			if _, err := ask(); err != nil {
				t.Fatal(err)
			}
			if end == 101 && st.computed != 0 {
				t.Errorf("%s are computed again for a range that ends later", name)
			}
		}
	}
	check("within segments", "a", 15, 35)
	for n, name := range []string{"series", "volumes", "volumes of parts"} {
		st.computed = 0
		if _, err := questions(g, "a", int64(16+n), 35)[name](); err != nil {
			t.Fatal(err)
		}
		if st.computed != 1 {
			t.Errorf("%s of a range within a segment are those of another one", name)
		}
	}
}

// TestNotKept checks that what is computed while segments change is not kept under the name of either state, that
// parts which don't count are not looked for among kept answers, and that errors are not kept.
func TestNotKept(t *testing.T) {
	before, after := segment(1, "a", "old", 10), segment(2, "a", "new", 10)
	st := &countedStore{memoryStore: memoryStore{Fake: indexgwtest.Fake{Segs: []indexgwtest.Segment{before}}}}
	g, err := indexgw.New(indexgw.Config{}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := user.InjectOrgID(t.Context(), "a")
	st.change = func() { st.Segs = []indexgwtest.Segment{after} }
	if got, err := g.LabelValues(ctx, "app", 0, 100, nil); err != nil || !slices.Equal(got, []string{"new"}) {
		t.Errorf("%q, %v", got, err)
	}
	st.change = nil
	for _, state := range []struct {
		seg  indexgwtest.Segment
		want string
	}{{before, "old"}, {after, "new"}} {
		st.Segs = []indexgwtest.Segment{state.seg}
		if got, err := g.LabelValues(ctx, "app", 0, 100, nil); err != nil || !slices.Equal(got, []string{state.want}) {
			t.Errorf("%q, %v, want %s", got, err, state.want)
		}
	}
	for range 2 {
		st.computed = 0
		if _, err := g.Volumes(ctx, 0, 100, nil, nil, []string{before.ID.String()}); err != nil {
			t.Fatal(err)
		}
		if st.computed != 1 {
			t.Error("the volumes of a segment that does not count are kept")
		}
	}
	broken, err := indexgw.New(indexgw.Config{}, &brokenStore{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := broken.Labels(ctx, 0, 1, nil); !errors.Is(err, errDisk) {
			t.Errorf("Labels = %v, want %v", err, errDisk)
		}
	}
}

// TestOwnCaches checks that each kind of answer goes where Config says.
func TestOwnCaches(t *testing.T) {
	st := &countedStore{memoryStore: memoryStore{Fake: indexgwtest.Fake{Segs: []indexgwtest.Segment{segment(1, "a", "x", 10)}}}}
	none := cache.None()
	g, err := indexgw.New(indexgw.Config{Series: none}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"labels": 1, "values": 1, "series": 2, "volumes": 1} {
		st.computed = 0
		for range 2 {
			if _, err := questions(g, "a", 0, 100)[name](); err != nil {
				t.Fatal(err)
			}
		}
		if st.computed != want {
			t.Errorf("%s are computed %d times, want %d", name, st.computed, want)
		}
	}
}
