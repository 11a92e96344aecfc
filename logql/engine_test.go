package logql_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/logql/logqltest"
	"example.com/loki/logql/syntax"
)

// oneAMinute returns n rows of a stream, one each minute from 0s on.
func oneAMinute(n int) []logqltest.Row {
	stream := labels.FromStrings("app", "api")
	rows := make([]logqltest.Row, n)
	for i := range rows {
		rows[i] = logqltest.Row{
			Stream: stream, Time: logqltest.Base + int64(i)*int64(time.Minute),
			Line:     fmt.Sprintf("level=info id=%d v=%d", i, i%10),
			Metadata: labels.FromStrings("detected_level", []string{"info", "error"}[i%2]),
		}
	}
	return rows
}

// hour makes Params for a query over n hours.
func hours(q string, n int) logql.Params {
	return logql.Params{Query: q, Start: logqltest.Base, End: logqltest.Base + int64(n)*int64(time.Hour), Step: time.Minute}
}

func TestErrors(t *testing.T) {
	src := logqltest.NewSource(oneAMinute(600), logqltest.Layout{PageRows: 100})
	instant := func(q string) logql.Params { p := hours(q, 10); p.Start, p.Step = p.End, 0; return p }
	for _, test := range []struct {
		name   string
		params logql.Params
		opts   logql.Options
		kind   logql.Kind
		text   string
	}{
		{"log query at an instant", instant(`{app="api"}`), logql.Options{}, logql.KindInstantLog, "range query type"},
		{"negative step", logql.Params{Query: `vector(1)`, Step: -1}, logql.Options{}, logql.KindParams, "step"},
		{"negative limit", logql.Params{Query: `{app="api"}`, Limit: -1, End: 1}, logql.Options{}, logql.KindParams, "limit"},
		{"negative interval", logql.Params{Query: `{app="api"}`, Interval: -1, End: 1}, logql.Options{}, logql.KindParams, "interval"},
		{"end before start", logql.Params{Query: `vector(1)`, Start: 2, End: 1, Step: 1}, logql.Options{}, logql.KindParams, "before"},
		{"too many points", logql.Params{Query: `vector(1)`, End: 1e6, Step: 1}, logql.Options{}, logql.KindPoints, "11,000"},
		{"points of all time", logql.Params{Query: `vector(1)`, Start: -1 << 63, End: 1<<63 - 1, Step: 1}, logql.Options{}, logql.KindPoints, "11,000"},
		{"pipeline error", hours(`sum_over_time({app="api"} | logfmt | unwrap level [1m])`, 10), logql.Options{}, logql.KindPipeline, "SampleExtractionErr"},
		{"pipeline error shows labels that the query doesn't name", hours(`sum(sum_over_time({detected_level="", app=~".+"} | logfmt | unwrap level [1m]))`, 10), logql.Options{}, logql.KindPipeline, `app="api"`},
		{"pipeline error of a parser", hours(`sum by (x) (count_over_time({app=~".+"} | json x="x" [1m]))`, 10), logql.Options{}, logql.KindPipeline, `app="api"`},
		{"series limit", instant(`count_over_time({app="api"} | logfmt [10h])`), logql.Options{MaxSeries: 10}, logql.KindSeriesLimit, "(10)"},
		{"memory of series", instant(`count_over_time({app="api"} | logfmt [10h])`), logql.Options{MaxMemory: 10_000}, logql.KindMemoryLimit, "10000 bytes"},
		{"memory of samples", instant(`quantile_over_time(0.5, {app="api"} | logfmt | unwrap v [10h]) by ()`), logql.Options{MaxMemory: 4000}, logql.KindMemoryLimit, "samples"},
		{"memory of entries", hours(`{app="api"}`, 10), logql.Options{MaxMemory: 10_000}, logql.KindMemoryLimit, "log entries"},
		{"many to many", instant(`count_over_time({app="api"}[1h]) * on (app) count_over_time({app="api"}[1h])`), logql.Options{}, logql.KindMatching, "many-to-many"},
		{"many to one", instant(`count_over_time({app="api"}[1h]) * on (app) sum by (app) (count_over_time({app="api"}[1h]))`), logql.Options{}, logql.KindMatching, "group_left"},
		{"equal labels", instant(`label_replace(count_over_time({app="api"}[1h]), "detected_level", "", "app", ".*")`), logql.Options{}, logql.KindLabels, "label_replace"},
		{"bad label", instant(`label_replace(count_over_time({app="api"}[1h]), "a-b", "x", "app", ".*")`), logql.Options{}, logql.KindLabels, "a-b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := logql.Query(t.Context(), test.params, src, test.opts)
			var q *logql.QueryError
			if !errors.As(err, &q) || !errors.Is(err, test.kind) || !strings.Contains(err.Error(), test.text) {
				t.Errorf("Query(%q) = %v, want a QueryError of kind %q with %q", test.params.Query, err, test.kind, test.text)
			}
			if n := src.Open(); n != 0 {
				t.Errorf("%d batches are not released", n)
			}
		})
	}
}

// TestErrorsOfStagesHaveAPlace checks that what is wrong with a stage is said with its place in the query.
func TestErrorsOfStagesHaveAPlace(t *testing.T) {
	_, err := logql.NewPlan(hours("sum(rate({app=\"api\"}\n  |~ \"(\" [1m]))", 1))
	var parse *syntax.ParseError
	if !errors.As(err, &parse) || parse.Line != 2 || parse.Col != 3 {
		t.Errorf("NewPlan = %v, want a ParseError at line 2, col 3", err)
	}
}

// TestCosts checks that what batches say of themselves is in the statistics.
func TestCosts(t *testing.T) {
	mem := logqltest.NewSource(oneAMinute(600), logqltest.Layout{PageRows: 100})
	src := sourceFunc(func(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
		return func(yield func(*column.Batch, error) bool) {
			n := 0
			for b, err := range mem.Select(ctx, req) {
				if n++; n <= 2 {
					b.Head = true
				} else {
					b.Fetched = func() int64 { return 5 }
				}
				b.RawBytes, b.MetadataBytes = 1000, 10
				if !yield(b, err) {
					return
				}
			}
		}
	})
	for _, test := range []struct {
		query string
		want  logql.Stats
	}{
		{`count_over_time({app="api"} |= "id=" [10h])`, logql.Stats{Rows: 600, HeadRows: 200, LineBytes: 6000, HeadBytes: 2000, MetadataBytes: 60, ReadBytes: 20}},
		{`sum by (detected_level) (count_over_time({app="api"} [10h]))`, logql.Stats{Rows: 600, HeadRows: 200, MetadataBytes: 60, ReadBytes: 20}},
	} {
		p := hours(test.query, 10)
		p.Start, p.End, p.Step = p.End-1, p.End-1, 0
		res, err := logql.Query(t.Context(), p, src, logql.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := res.Stats
		got := logql.Stats{Rows: s.Rows, HeadRows: s.HeadRows, LineBytes: s.LineBytes, HeadBytes: s.HeadBytes, MetadataBytes: s.MetadataBytes, ReadBytes: s.ReadBytes}
		if got != test.want {
			t.Errorf("%s cost %+v, want %+v", test.query, got, test.want)
		}
	}
}

// sourceFunc is a source that is a function.
type sourceFunc func(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error]

func (f sourceFunc) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return f(ctx, req)
}

// TestMemoryIsReturned checks that a log query with a limit is charged for what it keeps, not for all
// that it has seen.
func TestMemoryIsReturned(t *testing.T) {
	src := logqltest.NewSource(oneAMinute(5000), logqltest.Layout{PageRows: 100})
	p := hours(`{app="api"}`, 100)
	p.Limit = 10
	res, err := logql.Query(t.Context(), p, src, logql.Options{MaxMemory: 20_000})
	if err != nil {
		t.Fatal(err)
	}
	if res.Stats.Returned != 10 {
		t.Errorf("returned %d entries, want 10", res.Stats.Returned)
	}
}

// TestStopsEarly checks that a limited query reads no page that cannot matter.
func TestStopsEarly(t *testing.T) {
	src := logqltest.NewSource(oneAMinute(1000), logqltest.Layout{PageRows: 10})
	for _, d := range []logql.Direction{logql.Backward, logql.Forward} {
		p := hours(`{app="api"}`, 100)
		p.Limit, p.Direction = 15, d
		res, err := logql.Query(t.Context(), p, src, logql.Options{Parallelism: 1})
		if err != nil {
			t.Fatal(err)
		}
		if res.Stats.PagesRead != 2 || res.Stats.PagesTotal > 3 {
			t.Errorf("%s: read %d pages, looked at %d; want 2 and at most 3", d, res.Stats.PagesRead, res.Stats.PagesTotal)
		}
	}
}

// TestIntervalIsInOrder runs interval queries over so many rows that some are decided on before all
// have been read, and checks that a limited one stops reading.
func TestIntervalIsInOrder(t *testing.T) {
	rows := oneAMinute(6000)
	plain := logqltest.NewSource(rows, logqltest.Layout{})
	pages := logqltest.NewSource(rows, logqltest.Layout{PageRows: 37, Doubles: 3})
	for _, d := range []logql.Direction{logql.Backward, logql.Forward} {
		for _, limit := range []int{0, 5} {
			p := hours(`{app="api"}`, 100)
			p.Interval, p.Limit, p.Direction = 7*time.Minute+time.Second, limit, d
			want, got := query(t, p, plain, 1, 1), query(t, p, pages, 1, 1)
			if diff := difference(got, want); diff != "" {
				t.Errorf("%s, limit %d: %s", d, limit, diff)
			}
			if limit > 0 && got.Stats.PagesRead > 100 {
				t.Errorf("%s: read %d pages for %d entries", d, got.Stats.PagesRead, limit)
			}
			if diff := difference(query(t, p, pages, 7, 1), want); diff != "" {
				t.Errorf("%s, limit %d, seven tasks: %s", d, limit, diff)
			}
		}
	}
}

// TestEnough runs a limited query as tasks and stops when it may.
func TestEnough(t *testing.T) {
	src := logqltest.NewSource(oneAMinute(600), logqltest.Layout{})
	p := hours(`{app="api"} |= "v=3"`, 10)
	p.Limit = 7
	plan, err := logql.NewPlan(p)
	if err != nil {
		t.Fatal(err)
	}
	if !plan.Leaves[0].Ordered {
		t.Error("a limited log query is not Ordered")
	}
	var partials []*logql.Partial
	for h := 9; h >= 0 && !plan.Enough(0, partials); h-- {
		from := logqltest.Base + int64(h)*int64(time.Hour)
		part, err := logql.Execute(t.Context(), logql.Task{Params: p, From: from, Through: from + int64(time.Hour)}, src, logql.Options{})
		if err != nil {
			t.Fatal(err)
		}
		partials = append(partials, part)
	}
	if len(partials) != 2 { // six entries an hour
		t.Errorf("%d tasks were run, want 2", len(partials))
	}
}

// TestCountsWithoutLines checks that counts are made from times, lengths and metadata alone, and that
// batches within one window need no column.
func TestCountsWithoutLines(t *testing.T) {
	rows := oneAMinute(600)
	for _, test := range []struct {
		query string
		pages int64 // read
	}{
		{`sum(count_over_time({app="api"}[10h]))`, 0},
		{`sum by (app) (rate({app="api"}[20h]))`, 0},
		{`sum by (app) (bytes_over_time({app="api"}[10h]))`, 6},
		{`sum by (detected_level) (count_over_time({app="api"}[10h]))`, 6},
		{`count_over_time({app="api"}[10m])`, 6},
		{`sum(count_over_time({app="api"} | json | logfmt [10h]))`, 0},
		{`totals: sum by (app) (bytes_over_time({app="api"}[10h]))`, 0},
		{`totals: sum by (app) (count_over_time({app="api"}[10m]))`, 0},
		{`totals: sum(bytes_rate({app="api"}[10m]))`, 0},
		{`totals: sum by (detected_level) (count_over_time({app="api"}[10m]))`, 6},
		{`totals: sum(count_over_time({app="api"}[10m] offset 1s))`, 6},
	} {
		query, totals := strings.CutPrefix(test.query, "totals: ")
		src := logqltest.NewSource(rows, logqltest.Layout{PageRows: 100, Totals: totals})
		p := hours(query, 10)
		p.Start, p.End, p.Step = p.End-1, p.End-1, 0
		if strings.Contains(test.query, "[10m]") {
			p = hours(query, 10)
		}
		res, err := logql.Query(t.Context(), p, src, logql.Options{})
		if err != nil {
			t.Fatalf("%s: %v", test.query, err)
		}
		if src.LinesRead() != 0 || res.Stats.LineBytes != 0 {
			t.Errorf("%s read lines of %d pages", test.query, src.LinesRead())
		}
		if res.Stats.PagesRead != test.pages {
			t.Errorf("%s read %d pages, want %d", test.query, res.Stats.PagesRead, test.pages)
		}
		if res.Stats.Rows != 600 || res.Stats.RowsKept < 599 || res.Stats.Streams != 1 {
			t.Errorf("%s: stats %+v", test.query, res.Stats)
		}
	}
}

// TestSkipsGaps checks that pages between windows are not read.
func TestSkipsGaps(t *testing.T) {
	src := logqltest.NewSource(oneAMinute(600), logqltest.Layout{PageRows: 10})
	p := hours(`sum(count_over_time({app="api"} |= "info" [1m]))`, 9)
	p.Step = time.Hour
	res, err := logql.Query(t.Context(), p, src, logql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Stats.PagesRead != 10 || len(res.Series[0].Points) != 10 {
		t.Errorf("read %d pages for %d points, want 10 and 10", res.Stats.PagesRead, len(res.Series[0].Points))
	}
}

// failing yields some batches, then fails.
type failing struct {
	logql.Source
	after int
	err   error
}

func (f failing) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		n := 0
		for b, err := range f.Source.Select(ctx, req) {
			if n++; n > f.after {
				b.Release()
				yield(nil, f.err)
				return
			}
			if !yield(b, err) {
				return
			}
		}
	}
}

func TestSourceErrors(t *testing.T) {
	src := logqltest.NewSource(oneAMinute(600), logqltest.Layout{PageRows: 10})
	broken := errors.New("page 7 is damaged")
	for _, q := range []string{`{app="api"}`, `sum(rate({app="api"} |= "v" [1m]))`} {
		for _, parallelism := range []int{1, 3} {
			_, err := logql.Query(t.Context(), hours(q, 10), failing{src, 7, broken}, logql.Options{Parallelism: parallelism})
			if !errors.Is(err, broken) {
				t.Errorf("%s with %d goroutines: error %v, want %v", q, parallelism, err, broken)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := logql.Query(ctx, hours(q, 10), src, logql.Options{Parallelism: parallelism}); !errors.Is(err, context.Canceled) {
				t.Errorf("%s with %d goroutines, cancelled: error %v", q, parallelism, err)
			}
		}
	}
	if n := src.Open(); n != 0 {
		t.Errorf("%d batches are not released", n)
	}
}

func TestExplain(t *testing.T) {
	got, err := logql.Explain(hours(`topk(3, sum by (app) (rate({app="api"} |= "error" [5m])) / sum by (app) (rate({app="api"}[5m])))`, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"61 points", "topk", "leaf 0", "leaf 1", `may hold "error"`, "groups by app", "sum together with rate", "reads no line"} {
		if !strings.Contains(got, want) {
			t.Errorf("the plan lacks %q:\n%s", want, got)
		}
	}
}

func TestReport(t *testing.T) {
	p := hours(`sum(count_over_time({app="api"} |= "v=3" [10m]))`, 10)
	plan, err := logql.NewPlan(p)
	if err != nil {
		t.Fatal(err)
	}
	src := logqltest.NewSource(oneAMinute(600), logqltest.Layout{PageRows: 100})
	part, err := plan.Execute(t.Context(), logql.Task{Params: p, From: plan.Leaves[0].Start, Through: plan.Leaves[0].End}, src, logql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := plan.Report([][]*logql.Partial{{part}})
	for _, want := range []string{"ran as 1 tasks", "read 6 of 6 pages, 600 rows of 1 streams", "kept 60 rows in 1 series"} {
		if !strings.Contains(got, want) {
			t.Errorf("the report lacks %q:\n%s", want, got)
		}
	}
	if _, err := plan.Finish(t.Context(), [][]*logql.Partial{{part, nil}}, logql.Options{}); err == nil {
		t.Error("Finish takes a missing partial for an empty one")
	}
}

// TestEqualLeavesAreOne checks that a part that a query has twice is executed once.
func TestEqualLeavesAreOne(t *testing.T) {
	plan, err := logql.NewPlan(hours(`sum(rate({app="api"}[1m])) / sum(rate({app="api"}[1m])) > 0 or vector(1)`, 1))
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Leaves) != 1 {
		t.Errorf("%d leaves, want 1", len(plan.Leaves))
	}
}

// TestImports checks that a program can use the language without the rest.
func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Skipf("go list: %v\n%s", err, out)
	}
	for _, forbidden := range []struct{ text, reason string }{
		{"google.golang.org/grpc", "querying in process needs no gRPC"},
		{"k8s.io/", "nothing here runs in Kubernetes only"},
		{"github.com/aws/", "the language does not know where lines come from"},
		{"github.com/Azure/", "the language does not know where lines come from"},
		{"cloud.google.com/", "the language does not know where lines come from"},
		{"objstore", "the language does not know where lines come from"},
		{"example.com/loki/store", "imports go down only"},
		{"example.com/loki/ingester", "imports go down only"},
		{"net/http\n", "HTTP is another layer"},
	} {
		if strings.Contains(string(out), forbidden.text) {
			t.Errorf("logql links %s: %s", strings.TrimSpace(forbidden.text), forbidden.reason)
		}
	}
}
