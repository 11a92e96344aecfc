package frontend_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/cache"
	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
	"example.com/loki/scheduler/schedulertest"
)

func newCache(t testing.TB) *cache.Memory {
	t.Helper()
	c, err := cache.New(cache.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestContractWithCache(t *testing.T) {
	for _, split := range []bool{false, true} {
		t.Run(fmt.Sprintf("split=%v", split), func(t *testing.T) {
			frontendtest.Contract(t, func(t *testing.T, w *queriertest.World, lim limits.Limits) frontend.Service {
				c := newCache(t)
				return over(t, frontend.Config{SplitTasks: split, TaskBytes: 1, Cache: c, InstantCache: c}, w, lim)
			})
		})
	}
}

// ledger is a world that changes as a store does: rows come, also late ones, parts are cut and merged.
type ledger struct {
	*queriertest.World
	r            *rand.Rand
	next         uint64
	held, stored []*queriertest.Part
	now          int64
}

func (l *ledger) rows(n int) []logqltest.Row {
	var rows []logqltest.Row
	for i := range n {
		app := []string{"api", "web"}[l.r.IntN(2)]
		age := l.r.Int64N(10 * minute)
		if l.r.IntN(3) == 0 {
			age = l.r.Int64N(300 * minute) // late
		}
		rows = append(rows, logqltest.Row{
			Stream: labels.FromStrings("app", app), Time: l.now - age,
			Line: fmt.Sprintf("n=%d i=%d slow=%v", l.r.IntN(50), i, l.r.IntN(40) == 0),
		})
	}
	return rows
}

func (l *ledger) add(rows []logqltest.Row, replaces ...*queriertest.Part) *queriertest.Part {
	l.next++
	p := &queriertest.Part{ID: queriertest.ID(l.next), Rows: rows, Held: len(replaces) == 0, Stored: len(replaces) > 0}
	for _, o := range replaces {
		p.Replaces = append(append(p.Replaces, o.ID), o.Replaces...)
	}
	l.Add(p)
	return p
}

// step changes something.
func (l *ledger) step() {
	l.now += l.r.Int64N(2 * minute)
	switch {
	case len(l.held) > 0 && l.r.IntN(3) == 0: // cut; the ingester keeps the part for a while
		p := l.held[0]
		l.held = l.held[1:]
		l.Set(p.ID, l.r.IntN(2) == 0, true)
		l.stored = append(l.stored, p)
	case len(l.stored) > 3 && l.r.IntN(3) == 0: // merge
		sources := slices.Clone(l.stored[:2])
		p := l.add(slices.Concat(sources[0].Rows, sources[1].Rows), sources...)
		for _, s := range sources {
			l.Set(s.ID, false, false)
		}
		l.stored = append(l.stored[2:], p)
	default:
		l.held = append(l.held, l.add(l.rows(1+l.r.IntN(8))))
	}
}

// someQueries returns a few, so that each is asked often.
func someQueries(r *rand.Rand) []logql.Params {
	var some []logql.Params
	for range 3 {
		unwrapped := `{app=~".+"} | logfmt | unwrap n [%s]`
		template := []string{
			`sum by (app) (count_over_time({app=~".+"}[%s]))`, `rate({app="api"}[%s])`, `sum(bytes_rate({app="web"}[%s]))`,
			`avg_over_time(` + unwrapped + `)`, `quantile_over_time(0.5, ` + unwrapped + `)`, `max_over_time(` + unwrapped + `)`,
			`absent_over_time({app="api"} |= "slow=true" [%s])`, `{app=~".+"} |= "slow=true"`, `{app="web"} |= "slow=true"`,
			`sum(count_over_time({app="api"}[%[1]s])) / sum(count_over_time({app=~".+"}[%[1]s] offset 20m))`,
		}[r.IntN(10)]
		p := logql.Params{Query: template, Step: 5 * time.Minute}
		if template[0] != '{' {
			p.Query = fmt.Sprintf(template, []string{"1m", "10m", "90s", "1h"}[r.IntN(4)])
			if r.IntN(4) == 0 {
				p.Query, p.Step = fmt.Sprintf(template, "3h"), 0
			}
		}
		some = append(some, p)
	}
	return some
}

// TestKeptAnswersAreTrue asks a frontend with a cache and one without the same while the world changes.
func TestKeptAnswersAreTrue(t *testing.T) {
	var tasks [2]int // of the first and the second time
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 3))
		l := &ledger{World: &queriertest.World{Tenant: "a"}, r: r, now: frontendtest.Now.UnixNano()}
		lim := limits.Default()
		lim.MaxQueryLength = 0
		c := newCache(t)
		plain := over(t, frontend.Config{}, l.World, lim)
		kept := over(t, frontend.Config{Cache: c, InstantCache: c, SplitTasks: seed%2 == 0, TaskBytes: 200}, l.World, lim)
		ctx := user.InjectOrgID(t.Context(), "a")
		asked := someQueries(r)
		for range 80 {
			for range 1 + r.IntN(3) {
				l.step()
			}
			p := asked[r.IntN(len(asked))]
			p.Start, p.End, p.Limit = l.now-240*minute, l.now, []int{3, 1000}[r.IntN(2)]
			if p.Step == 0 {
				p.Start = p.End
			}
			want, err := plain.Query(ctx, &p)
			if err != nil {
				t.Fatalf("%s: %v", p.Query, err)
			}
			for try := range 2 {
				got, err := kept.Query(ctx, &p)
				if err != nil {
					t.Fatalf("%s: %v", p.Query, err)
				}
				tasks[try] += got.Stats.Tasks
				a, b := got, *want
				a.Stats, b.Stats = logql.Stats{}, logql.Stats{}
				byStream := p.Limit == 1000
				if got, want := logqltest.Format(a, byStream, 0), logqltest.Format(&b, byStream, 0); got != want {
					t.Fatalf("seed %d, try %d: %s from %d to %d:\n%s\nwithout a cache:\n%s", seed, try, p.Query, p.Start, p.End, got, want)
				}
			}
		}
	}
	if tasks[1] > tasks[0]*9/10 {
		t.Errorf("%d tasks the first time, %d the second: few answers were kept", tasks[0], tasks[1])
	}
}

// twoTenants is a querier to which each tenant has a world of its own.
type twoTenants map[string]querier.Service

func (q twoTenants) of(ctx context.Context) querier.Service {
	id, _ := user.ExtractOrgID(ctx)
	if s, ok := q[id]; ok {
		return s
	}
	return &queriertest.Fake{}
}

func (q twoTenants) fake() *queriertest.Fake {
	return &queriertest.Fake{
		RunFunc: func(ctx context.Context, t *logql.Task) (*logql.Partial, error) { return q.of(ctx).Run(ctx, t) },
		SurveyFunc: func(ctx context.Context, req *querier.SurveyRequest) ([]querier.SurveyPiece, error) {
			return q.of(ctx).Survey(ctx, req)
		},
		LabelsFunc: func(ctx context.Context, start, end int64, m []*labels.Matcher) ([]string, error) {
			return q.of(ctx).Labels(ctx, start, end, m)
		},
		LabelValuesFunc: func(ctx context.Context, name string, start, end int64, m []*labels.Matcher) ([]string, error) {
			return q.of(ctx).LabelValues(ctx, name, start, end, m)
		},
		SeriesFunc: func(ctx context.Context, start, end int64, m []*labels.Matcher) ([]labels.Labels, error) {
			return q.of(ctx).Series(ctx, start, end, m)
		},
		VolumesFunc: func(ctx context.Context, start, end int64, m []*labels.Matcher) ([]logql.StreamVolume, error) {
			return q.of(ctx).Volumes(ctx, start, end, m, nil)
		},
	}
}

// twins returns a querier of the tenants a and b, whose segments have the same names but other rows: a has
// three lines, b five.
func twins(t *testing.T) *queriertest.Fake {
	t.Helper()
	q := twoTenants{}
	for id, n := range map[string]int{"a": 3, "b": 5} {
		w := &queriertest.World{Tenant: id}
		var rows []logqltest.Row
		for i := range n {
			at := frontendtest.Now.UnixNano() - int64(i+1)*minute
			rows = append(rows, logqltest.Row{Stream: labels.FromStrings("app", "x", "own", id), Time: at, Line: fmt.Sprint(id, i)})
		}
		w.Add(&queriertest.Part{ID: ulid.MustNew(1, nil), Rows: rows, Stored: true})
		s, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		q[id] = s
	}
	return q.fake()
}

// TestTenantsShareNoAnswers has two tenants ask the same of segments with the same names.
func TestTenantsShareNoAnswers(t *testing.T) {
	q := twins(t)
	c := newCache(t)
	f := newFrontend(t, frontend.Config{Cache: c, InstantCache: c}, q, q, limits.Default())
	end := frontendtest.Now.UnixNano()
	for _, p := range []logql.Params{
		{Query: `sum(count_over_time({app="x"}[10m]))`, Start: end, End: end},
		{Query: `sum(count_over_time({app="x"}[10m]))`, Start: end, End: end, Step: time.Hour},
	} {
		for range 2 {
			for id, want := range map[string]float64{"a": 3, "b": 5} {
				res, err := f.Query(user.InjectOrgID(t.Context(), id), &p)
				if err != nil || len(res.Series) != 1 || res.Series[0].Points[0].Value != want {
					t.Errorf("tenant %s: %+v, %v, want %v", id, res, err, want)
				}
			}
		}
	}
}

// TestGeneration changes what answers depend on.
func TestGeneration(t *testing.T) {
	q := twins(t)
	var runs atomic.Int64
	s := schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
		runs.Add(1)
		return q.Run(ctx, task)
	})
	generation := "1"
	f := newFrontend(t, frontend.Config{
		Cache: newCache(t), Generation: func(_ context.Context, id string) string { return id + generation },
	}, s, q, limits.Default())
	end := frontendtest.Now.UnixNano() / int64(time.Hour) * int64(time.Hour)
	ask := func() int64 {
		t.Helper()
		runs.Store(0)
		p := &logql.Params{Query: `count_over_time({app="x"}[10m])`, Start: end - int64(time.Hour), End: end, Step: time.Minute}
		if _, err := f.Query(user.InjectOrgID(t.Context(), "a"), p); err != nil {
			t.Fatal(err)
		}
		return runs.Load()
	}
	first, second := ask(), ask()
	if first == 0 || second != 0 {
		t.Errorf("%d tasks at first, %d then", first, second)
	}
	generation = "2"
	if n := ask(); n != first {
		t.Errorf("%d tasks after a change, want %d", n, first)
	}
	generation = "1"
	if n := ask(); n != 0 {
		t.Errorf("%d tasks when all is as before", n)
	}
}

// spoiler is a cache that changes what it keeps.
type spoiler struct {
	cache.Cache
	spoil func([]byte) []byte
}

func (s *spoiler) Get(ctx context.Context, keys ...string) [][]byte {
	values := s.Cache.Get(ctx, keys...)
	for i, v := range values {
		if v != nil {
			values[i] = s.spoil(slices.Clone(v))
		}
	}
	return values
}

// TestDamagedAnswers has a cache return other bytes than it was given.
func TestDamagedAnswers(t *testing.T) {
	q := twins(t)
	s := &spoiler{Cache: newCache(t)}
	f := newFrontend(t, frontend.Config{InstantCache: s}, q, q, limits.Default())
	end := frontendtest.Now.UnixNano()
	p := logql.Params{Query: `sum(count_over_time({app="x"}[10m]))`, Start: end, End: end}
	var some []byte
	for i := range 300 {
		s.spoil = func(v []byte) []byte {
			some = v
			switch {
			case i == 0:
				return v
			case i%2 == 0:
				return v[:i%len(v)]
			}
			v[i*7%len(v)] ^= 1 << (i % 8)
			return v
		}
		res, err := f.Query(user.InjectOrgID(t.Context(), "a"), &p)
		if err != nil || res.Series[0].Points[0].Value != 3 {
			t.Fatalf("Query = %+v, %v", res, err)
		}
	}
	other := p
	other.Query = `sum(count_over_time({app="x"}[9m]))` // asks under another key, and is given this one's
	s.spoil = func([]byte) []byte { return some }
	if res, err := f.Query(user.InjectOrgID(t.Context(), "b"), &other); err != nil || res.Series[0].Points[0].Value != 5 {
		t.Errorf("Query = %+v, %v", res, err)
	}
}

// TestOnlyWhatSettledIsKept counts tasks of queries over heads.
func TestOnlyWhatSettledIsKept(t *testing.T) {
	w := frontendtest.World() // its first hour is a segment
	q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var ran ranges
	s := schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
		if _, err := ran.Run(ctx, task); err != nil {
			return nil, err
		}
		return q.Run(ctx, task)
	})
	f := newFrontend(t, frontend.Config{Cache: newCache(t)}, s, q, limits.Default())
	end := frontendtest.Now.UnixNano()
	p := logql.Params{Query: `count_over_time({app="web"}[1m])`, Start: end - 120*minute, End: end, Step: time.Minute}
	for _, want := range []string{"first", "second"} {
		ran.all = nil
		if _, err := f.Query(user.InjectOrgID(t.Context(), "a"), &p); err != nil {
			t.Fatal(err)
		}
		if want == "second" && len(ran.all) != 1 {
			t.Errorf("the second time, the tasks were %v; want one over what is with the ingester", ran.all)
		}
		if want == "first" && len(ran.all) < 4 {
			t.Errorf("the first time, the tasks were %v", ran.all)
		}
	}
	// Log lines are not kept, that there are none is.
	none := logql.Params{Query: `{app="web"} |= "none"`, Start: end - 120*minute, End: end - 61*minute, Limit: 7}
	some := logql.Params{Query: `{app="web"}`, Start: end - 120*minute, End: end - 61*minute, Limit: 100}
	for range 2 {
		for _, p := range []*logql.Params{&none, &some} {
			ran.all = nil
			res, err := f.Query(user.InjectOrgID(t.Context(), "a"), p)
			if err != nil || p == &some && res.Stats.Returned != 6 {
				t.Fatalf("Query = %+v, %v", res, err)
			}
		}
		none.Limit, none.Direction = 9, logql.Forward // makes no difference
	}
	if len(ran.all) != 6 {
		t.Errorf("tasks %v of a log query, want the six pieces that have lines", ran.all)
	}
	ran.all = nil
	if _, err := f.Query(user.InjectOrgID(t.Context(), "a"), &none); err != nil || len(ran.all) != 0 {
		t.Errorf("tasks %v, %v where it is known that there is nothing", ran.all, err)
	}
}
