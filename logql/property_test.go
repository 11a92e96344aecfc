package logql_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// randomRows returns rows that arrive in no order, with many equal times, and values that add up
// without rounding.
func randomRows(r *rand.Rand, n int) []logqltest.Row {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var rows []logqltest.Row
	for range n {
		b := labels.NewScratchBuilder(3)
		b.Add("app", pick("api", "web"))
		b.Add("pod", pick("p0", "p1", "p2"))
		if r.IntN(2) == 0 {
			b.Add("zone", pick("a", "b"))
		}
		b.Sort()
		m := labels.NewScratchBuilder(2)
		if r.IntN(3) > 0 {
			m.Add("detected_level", pick("info", "error"))
		}
		if r.IntN(5) == 0 {
			m.Add("pod", pick("meta")) // clashes with the label
		}
		if r.IntN(4) == 0 {
			m.Add("trace", pick("t1", "t2", "t3", "t4"))
		}
		m.Sort()
		line := fmt.Sprintf("level=%s v=%d user=%s", pick("info", "warn", "error"), r.IntN(50), pick("ann", "bob", "cyd"))
		if r.IntN(4) == 0 {
			line += " slow=true"
		}
		rows = append(rows, logqltest.Row{
			Stream: b.Labels(), Time: logqltest.Base + int64(r.IntN(600))*int64(time.Second),
			Line: line, Metadata: m.Labels(),
		})
	}
	return rows
}

// randomQuery returns a query and what else it needs.
func randomQuery(r *rand.Rand) logql.Params {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	second := int64(time.Second)
	p := logql.Params{
		Start: logqltest.Base + int64(r.IntN(300))*second,
		Step:  time.Duration(1+r.IntN(90)) * time.Second,
	}
	p.End = p.Start + int64(1+r.IntN(400))*second
	if r.IntN(2) == 0 {
		p.Direction = logql.Forward
	}
	selector := pick(`{app="api"}`, `{app=~"api|web"}`, `{app="web", zone!=""}`, `{pod=~"p[01]"}`)
	stages := pick("", "", "", ` |= "slow"`, ` | logfmt`, ` | logfmt | v > 20`, ` | detected_level="error"`, ` |= "ann" | logfmt | drop v`)
	if r.IntN(3) == 0 {
		p.Query = selector + stages
		p.Limit = pick2(r, 0, 1, 7, 40)
		p.Interval = time.Duration(pick2(r, 0, 0, 1, 13)) * time.Second
		p.Categorize = r.IntN(3) == 0
		return p
	}
	window := fmt.Sprintf("[%ds]", pick2(r, int(p.Step/time.Second), 2*int(p.Step/time.Second), 1+r.IntN(120), 1+r.IntN(5)))
	if r.IntN(4) == 0 {
		window += fmt.Sprintf(" offset %ds", r.IntN(60)-30)
	}
	var agg string
	switch r.IntN(3) {
	case 0:
		agg = fmt.Sprintf("%s(%s%s %s)", pick("count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time"), selector, stages, window)
	case 1:
		agg = fmt.Sprintf("%s(%s | logfmt | unwrap v %s)", pick("sum_over_time", "rate", "rate_counter"), selector, window)
	default:
		group := pick("", " by (user)", " by (pod, level)", " without (user, slow)")
		if r.IntN(3) == 0 {
			agg = fmt.Sprintf("quantile_over_time(0.%d, %s | logfmt | unwrap v %s)%s", 1+r.IntN(9), selector, window, group)
		} else {
			agg = fmt.Sprintf("%s(%s | logfmt | unwrap v %s)%s",
				pick("avg_over_time", "min_over_time", "max_over_time", "stddev_over_time", "stdvar_over_time", "first_over_time", "last_over_time"),
				selector, window, group)
		}
	}
	by := pick("", " by (pod)", " by (detected_level)", " by (app, trace, detected_level)", " by (pod_extracted)", " without (pod)", " by (user)")
	switch r.IntN(5) {
	case 0:
		p.Query = agg
	case 1:
		p.Query = fmt.Sprintf("%s%s (%s) / 3", pick("avg", "count", "stddev"), by, agg)
	case 2:
		p.Query = fmt.Sprintf("sum%s (%s) %s sum%s (%s)", by, agg, pick("+", "/", ">", "and", "or", "unless"), by, agg)
	default:
		p.Query = fmt.Sprintf("%s%s (%s)", pick("sum", "sum", "min", "max"), by, agg)
	}
	if r.IntN(3) == 0 {
		p.Start, p.Step = p.End, 0
	}
	return p
}

func pick2(r *rand.Rand, of ...int) int { return of[r.IntN(len(of))] }

// query runs a query in tasks: k for each leaf, in the direction of the query, each partial through
// its encoding; they merge in another order.
func query(t *testing.T, p logql.Params, src logql.Source, k, parallelism int) *logql.Result {
	t.Helper()
	plan, err := logql.NewPlan(p)
	if err != nil {
		t.Fatalf("%s: %v", p.Query, err)
	}
	o := logql.Options{Parallelism: parallelism}
	all := make([][]*logql.Partial, len(plan.Leaves))
	for i, leaf := range plan.Leaves {
		for n := range k {
			if p.Direction == logql.Backward {
				n = k - 1 - n
			}
			task := logql.Task{Params: p, Leaf: i, From: leaf.Start + (leaf.End-leaf.Start)*int64(n)/int64(k), Through: leaf.Start + (leaf.End-leaf.Start)*int64(n+1)/int64(k)}
			part, err := logql.Execute(t.Context(), task, src, o)
			if err != nil {
				t.Fatalf("%s: %v", p.Query, err)
			}
			data, err := part.MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			again := &logql.Partial{}
			if err := again.UnmarshalBinary(data); err != nil {
				t.Fatalf("%s: %v", p.Query, err)
			}
			all[i] = append(all[i], again)
			if plan.Enough(i, all[i]) {
				break
			}
		}
		rand.Shuffle(len(all[i]), func(a, b int) { all[i][a], all[i][b] = all[i][b], all[i][a] })
	}
	res, err := plan.Finish(t.Context(), all, o)
	if err != nil {
		t.Fatalf("%s: %v", p.Query, err)
	}
	return res
}

// TestLayoutDoesNotShow runs generated queries over generated rows, stored and split in different ways,
// and demands the same answer each time.
func TestLayoutDoesNotShow(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		rows := randomRows(r, 50+r.IntN(400))
		plain := logqltest.NewSource(rows, logqltest.Layout{})
		sources := map[string]*logqltest.Source{
			"one page":   plain,
			"many pages": logqltest.NewSource(rows, logqltest.Layout{PageRows: 1 + r.IntN(30)}),
			"parts":      logqltest.NewSource(rows, logqltest.Layout{PageRows: 1 + r.IntN(60), Parts: 2 + r.IntN(4)}),
			"doubles":    logqltest.NewSource(rows, logqltest.Layout{PageRows: 1 + r.IntN(60), Parts: 1 + r.IntN(3), Doubles: 1 + r.IntN(3)}),
		}
		for range 12 {
			p := randomQuery(r)
			want := query(t, p, plain, 1, 1)
			for name, src := range sources {
				k := 1 + r.IntN(5)
				got := query(t, p, src, k, 1+r.IntN(3))
				if d := difference(got, want); d != "" {
					t.Fatalf("round %d: %s\n%+v\non %s in %d tasks: %s", round, p.Query, p, name, k, d)
				}
				if n := src.Open(); n != 0 {
					t.Fatalf("%s: %d batches are not released", p.Query, n)
				}
			}
		}
	}
}

// TestMinutesDoNotShow runs generated counts over a source that knows what there is of each run in each
// minute, and demands the same answer as from rows. Many times and edges lie just at the end of minutes.
func TestMinutesDoNotShow(t *testing.T) {
	minute := int64(time.Minute)
	known := 0
	for round := range 40 {
		r := rand.New(rand.NewPCG(uint64(round), 9))
		pick := func(of ...string) string { return of[r.IntN(len(of))] }
		rows := randomRows(r, 100+r.IntN(600))
		for i := range rows {
			switch r.IntN(4) {
			case 0:
				rows[i].Time = logqltest.Base + r.Int64N(90)*minute + r.Int64N(3) - 1
			default:
				rows[i].Time = logqltest.Base + r.Int64N(90*minute)
			}
		}
		size := 20 + r.IntN(200)
		parts := 1 + r.IntN(2)
		plain := logqltest.NewSource(rows, logqltest.Layout{PageRows: size, Parts: parts})
		source := logqltest.NewSource(rows, logqltest.Layout{PageRows: size, Parts: parts, Totals: true})
		for range 12 {
			width := pick("1m", "1m", "2m", "10m", "30s", "7m", "61s")
			offset := pick("", "", "", " offset 1m", " offset -2m", " offset 1ns")
			p := logql.Params{
				Query: fmt.Sprintf("%s%s (%s({app=~\".+\"}[%s]%s))", pick("sum", "max"), pick("", " by (app)", " by (app, zone)", " by (pod)", " by (detected_level)", " by (trace, zone)"),
					pick("count_over_time", "rate", "bytes_over_time", "bytes_rate"), width, offset),
				Start: logqltest.Base + r.Int64N(60)*minute,
				Step:  time.Duration(pick2(r, 30, 60, 60, 120, 300, 600)) * time.Second,
			}
			if r.IntN(4) == 0 {
				p.Start += r.Int64N(3) - 1
			}
			p.End = p.Start + r.Int64N(60)*minute
			if r.IntN(5) == 0 {
				p.Start, p.Step = p.End, 0
			}
			k := pick2(r, 1, 1, 1, 2, 5)
			want := query(t, p, plain, 1, 1)
			got := query(t, p, source, k, 1+r.IntN(3))
			if d := difference(got, want); d != "" {
				t.Fatalf("round %d: %s\n%+v\nin %d tasks: %s", round, p.Query, p, k, d)
			}
			if got.Stats.PagesRead < want.Stats.PagesRead {
				known++
			}
		}
	}
	if known < 30 {
		t.Errorf("only %d of 480 queries read fewer pages", known)
	}
}

// TestPushdown compares aggregations that a leaf computes with the same ones made of series.
func TestPushdown(t *testing.T) {
	for round := range 8 {
		r := rand.New(rand.NewPCG(uint64(round), 6))
		src := logqltest.NewSource(randomRows(r, 300), logqltest.Layout{PageRows: 40})
		for _, by := range []string{"", " by (pod)", " by (detected_level, user)", " by (v)", " without (pod, trace)", " without ()", " by (pod_extracted, app)"} {
			for _, inner := range []string{
				`sum: count_over_time({app=~".+"}[90s])`,
				`sum: rate({app="api"} | logfmt [1m])`,
				`sum: bytes_over_time({app=~".+"} |= "slow" [2m])`,
				`sum: bytes_rate({app=~".+"} | logfmt | level="info" [2m])`,
				`sum: sum_over_time({app=~".+"} | logfmt | unwrap v [45s])`,
				`sum: rate({app=~".+"} | logfmt | unwrap v [45s])`,
				`min: min_over_time({app=~".+"} | logfmt | unwrap v [45s])`,
				`max: max_over_time({app=~".+"} | logfmt | unwrap v [45s])`,
			} {
				op, inner, _ := strings.Cut(inner, ": ")
				p := logql.Params{Start: logqltest.Base, End: logqltest.Base + int64(10*time.Minute), Step: time.Minute}
				p.Query = fmt.Sprintf("%s%s (%s)", op, by, inner)
				got := query(t, p, src, 2, 2)
				p.Query = fmt.Sprintf("%s%s (%s * 1)", op, by, inner)
				if d := difference(got, query(t, p, src, 1, 1)); d != "" {
					t.Fatalf("%s%s (%s): %s", op, by, inner, d)
				}
			}
		}
	}
}

// TestLimitIsPrefix checks that the answer with a limit is the beginning of the answer without.
func TestLimitIsPrefix(t *testing.T) {
	for round := range 20 {
		r := rand.New(rand.NewPCG(uint64(round), 2))
		rows := randomRows(r, 300)
		src := logqltest.NewSource(rows, logqltest.Layout{PageRows: 20, Parts: 3, Doubles: round % 3})
		for _, d := range []logql.Direction{logql.Backward, logql.Forward} {
			for _, interval := range []time.Duration{0, 3 * time.Second} {
				p := logql.Params{
					Query: `{app="api"}`, Start: logqltest.Base, End: logqltest.Base + int64(time.Hour),
					Direction: d, Interval: interval, Categorize: true,
				}
				all := inOrder(query(t, p, src, 1, 2), d)
				for _, limit := range []int{1, 2, 5, 33, 1000} {
					p.Limit = limit
					got := inOrder(query(t, p, src, 1+r.IntN(4), 2), d)
					if want := all[:min(limit, len(all))]; !slices.Equal(got, want) {
						t.Fatalf("round %d, %s, interval %s, limit %d:\ngot  %v\nwant %v", round, d, interval, limit, got, want)
					}
				}
			}
		}
	}
}

// inOrder returns the entries of all streams by time. The order of equal times over several streams
// is lost in a result, so those are sorted as text.
func inOrder(res *logql.Result, d logql.Direction) []string {
	type line struct {
		time int64
		text string
	}
	var all []line
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			all = append(all, line{e.Time, fmt.Sprint(e.Time, s.Labels, e.Line, e.Metadata)})
		}
	}
	slices.SortStableFunc(all, func(a, b line) int {
		if d == logql.Backward {
			a, b = b, a
		}
		return int(a.time - b.time)
	})
	out := make([]string, len(all))
	for i := range all {
		out[i] = all[i].text
	}
	return out
}

// difference describes how two results differ; numbers may differ by rounding.
func difference(got, want *logql.Result) string {
	if got.Type != want.Type {
		return fmt.Sprintf("type %s, want %s", got.Type, want.Type)
	}
	if g, w := fmt.Sprint(got.Streams), fmt.Sprint(want.Streams); g != w {
		return fmt.Sprintf("\ngot  %s\nwant %s", g, w)
	}
	if len(got.Series) != len(want.Series) {
		return fmt.Sprintf("\ngot  %v\nwant %v", got.Series, want.Series)
	}
	for i, g := range got.Series {
		w := want.Series[i]
		if !labels.Equal(g.Labels, w.Labels) || len(g.Points) != len(w.Points) {
			return fmt.Sprintf("\ngot  %v\nwant %v", g, w)
		}
		for j := range g.Points {
			if g.Points[j].Time != w.Points[j].Time || !near(g.Points[j].Value, w.Points[j].Value) {
				return fmt.Sprintf("%s:\ngot  %v\nwant %v", g.Labels, g.Points, w.Points)
			}
		}
	}
	return ""
}

func near(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1e-3)
}
