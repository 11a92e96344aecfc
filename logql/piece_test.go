package logql_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
)

// TestPieces cuts the leaves of random queries into pieces, takes the answer of each piece over from a query
// of another time range, and compares what comes out with the answer to the whole.
func TestPieces(t *testing.T) {
	reused := 0
	for seed := range uint64(1500) {
		r := rand.New(rand.NewPCG(seed, 7))
		src := logqltest.NewSource(randomRows(r, 60), logqltest.Layout{})
		params := randomQuery(r)
		if r.IntN(8) == 0 {
			params.Start, params.Step = params.End, 0
		}
		plan, err := logql.NewPlan(params)
		if err != nil {
			continue
		}
		shifted := params
		by := time.Duration(r.IntN(9)-4) * params.Step
		shifted.Start += int64(by)
		if params.Step > 0 {
			shifted.End = max(shifted.Start, params.End+int64(r.IntN(200)-100)*int64(time.Second))
		} else {
			shifted.Start = shifted.End + int64(r.IntN(20))*int64(time.Second)
			shifted.End = shifted.Start
		}
		other, err := logql.NewPlan(shifted)
		if err != nil {
			continue
		}
		points := func(p logql.Params) bool { return p.Step > 0 && p.End-p.Start >= int64(p.Step) }
		related := points(params) == points(shifted) // a single point has no step
		want, err := logql.Query(t.Context(), params, src, logql.Options{})
		if err != nil {
			continue // rows that don't parse fail in both
		}
		partials := make([][]*logql.Partial, len(plan.Leaves))
		usable := true
		for leaf, l := range plan.Leaves {
			for _, c := range cuts(r, l.Start, l.End) {
				task, key, ok := plan.Piece(leaf, c[0], c[1])
				if !ok {
					usable = false
					break
				}
				if o := other.Leaves[leaf]; o.Start <= c[0] && c[1] <= o.End && related {
					theirs, same, ok := other.Piece(leaf, c[0], c[1])
					if !ok || same != key {
						t.Fatalf("seed %d: %+v: key %q, of a query from %d to %d it is %q", seed, params, key, shifted.Start, shifted.End, same)
					}
					if !strings.HasPrefix(key, "log") {
						task = theirs
						reused++
					}
				}
				part, err := logql.Execute(t.Context(), task, src, logql.Options{})
				if err == nil {
					part, err = plan.Adopt(&task, part)
				}
				if err != nil {
					t.Fatalf("seed %d: %+v: %v", seed, params, err)
				}
				partials[leaf] = append(partials[leaf], part)
			}
		}
		if !usable {
			if params.Interval == 0 {
				t.Errorf("seed %d: %+v can't be cut", seed, params)
			}
			continue
		}
		got, err := plan.Finish(t.Context(), partials, logql.Options{})
		if err != nil {
			t.Fatal(err)
		}
		byStream := params.Limit == 0
		if got, want := logqltest.Format(got, byStream, params.Direction), logqltest.Format(want, byStream, params.Direction); got != want {
			t.Errorf("seed %d: %+v\nin pieces:\n%s\nwhole:\n%s", seed, params, got, want)
		}
	}
	if reused < 500 {
		t.Errorf("only %d pieces were taken over from another query", reused)
	}
}

// cuts cuts a range into a few.
func cuts(r *rand.Rand, start, end int64) [][2]int64 {
	edges := []int64{start, end}
	for range r.IntN(5) {
		if at := start + r.Int64N(end-start); at > start {
			edges = append(edges, at)
		}
	}
	slices.Sort(edges)
	edges = slices.Compact(edges)
	var all [][2]int64
	for i := range len(edges) - 1 {
		all = append(all, [2]int64{edges[i], edges[i+1]})
	}
	return all
}

func TestPieceKeys(t *testing.T) {
	const minute = int64(time.Minute)
	key := func(p logql.Params) string {
		t.Helper()
		plan, err := logql.NewPlan(p)
		if err != nil {
			t.Fatal(err)
		}
		_, key, ok := plan.Piece(0, 60*minute, 70*minute)
		if !ok {
			return "none"
		}
		return key
	}
	base := logql.Params{Query: `rate({a="b"}[5m])`, Start: 30 * minute, End: 90 * minute, Step: time.Minute}
	change := func(f func(*logql.Params)) string {
		p := base
		f(&p)
		return key(p)
	}
	all := map[string]string{
		"base":    key(base),
		"query":   change(func(p *logql.Params) { p.Query = `rate({a="c"}[5m])` }),
		"range":   change(func(p *logql.Params) { p.Query = `rate({a="b"}[6m])` }),
		"offset":  change(func(p *logql.Params) { p.Query = `rate({a="b"}[5m] offset 1s)` }),
		"step":    change(func(p *logql.Params) { p.Step = 2 * time.Minute }),
		"phase":   change(func(p *logql.Params) { p.Start += 7 }),
		"instant": change(func(p *logql.Params) { p.Query, p.Start, p.Step = `rate({a="b"}[1h])`, p.End, 0 }),
		"log":     change(func(p *logql.Params) { p.Query = `{a="b"}` }),
	}
	seen := map[string]string{}
	for name, k := range all {
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have the same key %q", name, other, k)
		}
		seen[k] = name
	}
	if k := change(func(p *logql.Params) { p.Start -= 20 * minute; p.End += minute }); k != all["base"] {
		t.Errorf("a longer query has the key %q, want %q", k, all["base"])
	}
	if k := change(func(p *logql.Params) { p.Query, p.Limit, p.Direction = `{a="b"}`, 7, logql.Forward }); k != all["log"] {
		t.Errorf("a limit makes the key %q of %q", k, all["log"])
	}
	if k := change(func(p *logql.Params) { p.Query, p.Interval = `{a="b"}`, 7 }); k != "none" {
		t.Errorf("a query with an interval has the key %q", k)
	}
	if k := change(func(p *logql.Params) { p.Query = `rate({a="b"}[365d])` }); k != "none" {
		t.Errorf("a query of very many points has the key %q", k)
	}
}

// TestLabel compares adding a label to partials with having it in all streams.
func TestLabel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	rows := randomRows(r, 100)
	tagged := slices.Clone(rows)
	for i := range tagged {
		tagged[i].Stream = labels.NewBuilder(tagged[i].Stream).Set("t", "x").Labels()
	}
	for _, query := range []string{
		`{app="api"}`, `count_over_time({app="api"}[1h])`, `sum by (t) (count_over_time({app=~".+"}[1h]))`,
		`sum by (app) (count_over_time({app=~".+"}[1h]))`, `sum without (app) (count_over_time({app=~".+"}[1h]))`,
		`sum without (t) (count_over_time({app=~".+"}[1h]))`, `sum(count_over_time({app=~".+"}[1h]))`,
		`max_over_time({app=~".+"} | logfmt | unwrap v [1h]) by (app, t)`, `topk(2, count_over_time({app=~".+"}[1h]))`,
	} {
		p := logql.Params{Query: query, Start: logqltest.Base, End: logqltest.Base + int64(time.Hour)}
		if query[0] != '{' {
			p.Start = p.End
		}
		plan, err := logql.NewPlan(p)
		if err != nil {
			t.Fatal(err)
		}
		part, err := logql.Execute(t.Context(), logql.Task{Params: p, From: plan.Leaves[0].Start, Through: plan.Leaves[0].End}, logqltest.NewSource(rows, logqltest.Layout{}), logql.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := plan.Finish(t.Context(), [][]*logql.Partial{{plan.Label(0, part, "t", "x")}}, logql.Options{})
		if err != nil {
			t.Fatal(err)
		}
		want, err := logql.Query(t.Context(), p, logqltest.NewSource(tagged, logqltest.Layout{}), logql.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := logqltest.Format(got, true, 0), logqltest.Format(want, true, 0); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", query, got, want)
		}
	}
	plan, err := logql.NewPlan(logql.Params{Query: `{app="api"}`, End: 10, Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	src := logqltest.NewSource([]logqltest.Row{{Stream: labels.FromStrings("app", "api", "t", "own"), Time: 5, Line: "l"}}, logqltest.Layout{})
	part, err := logql.Execute(t.Context(), logql.Task{Params: plan.Params, Through: 10}, src, logql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	res, err := plan.Finish(t.Context(), [][]*logql.Partial{{plan.Label(0, part, "t", "x")}}, logql.Options{})
	if want := `{app="api", original_t="own", t="x"}`; err != nil || fmt.Sprint(res.Streams[0].Labels) != want {
		t.Errorf("labels %v, %v, want %s", res.Streams[0].Labels, err, want)
	}
}
