package pipeline_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/pipeline/pipelinetest"
	"example.com/loki/logql/syntax"
)

var all = syntax.Grouping{Without: true}

// result is a row that came out of a pipeline.
type result struct {
	stream string
	time   int64
	line   string
	labels labels.Labels
	group  labels.Labels
	err    string
	length int
	value  float64
}

func collect(t testing.TB, p *pipeline.Pipeline, b *column.Batch, from, through int64) []result {
	t.Helper()
	var out []result
	w := p.Worker()
	for range 2 { // what a worker has learned changes nothing
		out = out[:0]
		err := w.Run(t.Context(), b, from, through, func(r *pipeline.Row) bool {
			out = append(out, result{
				stream: b.Runs[r.Run].Stream.Labels.String(), time: r.Time, line: string(r.Line), labels: r.Labels(),
				group: w.Group(r.Group), err: r.Err, length: r.LineLen, value: r.Value,
			})
			if r.Index < b.Runs[r.Run].From || r.Index >= b.Runs[r.Run].To {
				t.Fatalf("row %d is not in run %d", r.Index, r.Run)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// randomBatch makes a batch of a few streams with short lines of few words, some of its rows in no run.
func randomBatch(r *rand.Rand) *column.Batch {
	words := []string{"a", "b", "ab", "error", "ERROR", "Err", "k", "\u212a", "ſ", "x=1", "level=info", "level=warn", `{"a":1}`, "\n", "é", "", " ", "10.0.0.1"}
	var streams []pipelinetest.Stream
	for s := range 1 + r.IntN(6) {
		st := pipelinetest.Stream{Labels: labels.FromStrings("app", pick(r, "a", "b"), "pod", fmt.Sprint(s))}
		for range r.IntN(30) {
			row := pipelinetest.Row{Time: int64(r.IntN(20)), Metadata: map[string]string{}}
			for range r.IntN(5) {
				row.Line += pick(r, words...) + pick(r, "", " ")
			}
			for _, name := range []string{"level", "user", "app", "x"} {
				if r.IntN(3) > 0 {
					row.Metadata[name] = pick(r, "ann", "bob", "info", "")
				}
			}
			st.Rows = append(st.Rows, row)
		}
		streams = append(streams, st)
	}
	b := pipelinetest.Batch(streams...)
	if r.IntN(3) == 0 {
		b.Runs = slices.DeleteFunc(b.Runs, func(column.Run) bool { return r.IntN(3) == 0 })
	}
	return b
}

func TestLineFiltersAgainstObvious(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	literals := []string{"", "a", "b", "ab", "error", "ERROR", "=", "é", "k", "r E", "\n", "10.0"}
	exprs := []string{"", "a|b", "(?i)error", "(?i)err|k", "(?i)s", "^a", "b$", "e.*r", ".*error.*", "x=\\d", "(a|b)b?", "[Ee]rr", "level=(info|warn)", "(?i)é", "."}
	patterns := []string{"a<_>", "<_>b", "error", "<_>", "", "<_>a<_>b<_>"}
	for range 600 {
		b := randomBatch(r)
		var stages []syntax.Stage
		var tests []func(string) bool
		for range 1 + r.IntN(3) {
			f := &syntax.LineFilter{Op: syntax.LineFilterOp(r.IntN(6))}
			var any []func(string) bool
			for range 1 + r.IntN(2) {
				var text string
				switch f.Op {
				case syntax.LineContains, syntax.LineNotContains:
					text = pick(r, literals...)
					any = append(any, func(s string) bool { return strings.Contains(s, text) })
				case syntax.LineMatches, syntax.LineNotMatches:
					text = pick(r, exprs...)
					any = append(any, regexp.MustCompile(text).MatchString)
				default:
					text = pick(r, patterns...)
					expr := `(?s)\A.*` + strings.ReplaceAll(text, "<_>", ".+") + `\z`
					if text == "" {
						expr = `\A\z`
					}
					any = append(any, regexp.MustCompile(expr).MatchString)
				}
				f.Operands = append(f.Operands, syntax.LineOperand{Text: text})
			}
			negated := f.Op == syntax.LineNotContains || f.Op == syntax.LineNotMatches || f.Op == syntax.LineNotPattern
			tests = append(tests, func(s string) bool {
				return slices.ContainsFunc(any, func(f func(string) bool) bool { return f(s) }) != negated
			})
			stages = append(stages, f)
		}
		from, through := int64(r.IntN(10)), int64(8+r.IntN(14))
		var want []string
		cols := pipelinetest.Of(b)
		times, _ := cols.Times(t.Context())
		lines, _ := cols.Lines(t.Context())
		for _, run := range b.Runs {
			for i := run.From; i < run.To; i++ {
				line := string(lines.Row(i))
				if times[i] >= from && times[i] < through && !slices.ContainsFunc(tests, func(f func(string) bool) bool { return !f(line) }) {
					want = append(want, fmt.Sprintf("%s %d %q %d", run.Stream.Labels, times[i], line, len(line)))
				}
			}
		}
		p, err := pipeline.Compile(stages, pipeline.Options{KeepLine: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range collect(t, p, b, from, through) {
			got = append(got, fmt.Sprintf("%s %d %q %d", x.stream, x.time, x.line, x.length))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v on rows %d..%d:\n got %q\nwant %q", stages, from, through, got, want)
		}
	}
}

// TestLeadingLabelFiltersAgainstObvious compares filters that are decided for whole runs and
// dictionaries with the same filters on the labels of each row.
func TestLeadingLabelFiltersAgainstObvious(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		b := randomBatch(r)
		var filter func(depth int) syntax.LabelFilter
		filter = func(depth int) syntax.LabelFilter {
			if depth > 0 && r.IntN(2) == 0 {
				if r.IntN(2) == 0 {
					return &syntax.AndFilter{Left: filter(depth - 1), Right: filter(depth - 1)}
				}
				return &syntax.OrFilter{Left: filter(depth - 1), Right: filter(depth - 1)}
			}
			return &syntax.MatchFilter{Matcher: labels.MustNewMatcher(labels.MatchType(r.IntN(4)),
				pick(r, "app", "pod", "level", "user", "app_extracted", "nosuch", "x"), pick(r, "", "a", "b", "ann", "info", "1"))}
		}
		f := filter(3)
		var want []string
		for _, x := range collect(t, compile(t, "", pipeline.Options{Group: all}), b, 0, 100) {
			if obvious(f, x.labels) {
				want = append(want, fmt.Sprint(x.time, x.labels))
			}
		}
		p, err := pipeline.Compile([]syntax.Stage{&syntax.LabelFilterStage{Filter: f}}, pipeline.Options{Group: all})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range collect(t, p, b, 0, 100) {
			got = append(got, fmt.Sprint(x.time, x.labels))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s:\n got %q\nwant %q", f, got, want)
		}
	}
}

func obvious(f syntax.LabelFilter, ls labels.Labels) bool {
	switch f := f.(type) {
	case *syntax.AndFilter:
		return obvious(f.Left, ls) && obvious(f.Right, ls)
	case *syntax.OrFilter:
		return obvious(f.Left, ls) || obvious(f.Right, ls)
	}
	m := f.(*syntax.MatchFilter).Matcher
	return m.Matches(ls.Get(m.Name))
}

// TestGroupsAgainstAllLabels checks that what is left out because nobody needs it doesn't show: groups
// by some labels are those that follow from all labels.
func TestGroupsAgainstAllLabels(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	stages := []string{
		``, `| logfmt`, `| json`, `| logfmt | x="1"`, `|= "a" | logfmt`, `| json | label_format y=a`, "| label_format y=`{{.user}}-{{.level}}`",
		`| logfmt | drop level="info"`, `| logfmt | keep level, pod, x`, "| pattern `<x> <_>`", "| regexp `(?P<x>[a-z]+)`", `| json v="a" | logfmt`,
		`| logfmt | level_extracted="info"`, `| user="ann" | logfmt`, "| line_format `x={{.pod}}` | logfmt", `| drop app`, `| decolorize | unpack`,
	}
	names := []string{"app", "pod", "level", "user", "app_extracted", "level_extracted", "x", "x_extracted", "y", "a", "v", "nosuch"}
	for range 600 {
		b := randomBatch(r)
		st := pick(r, stages...) + " " + pick(r, "", `| __error__=""`)
		g := syntax.Grouping{}
		for range r.IntN(4) {
			g.Names = append(g.Names, pick(r, names...))
		}
		if len(g.Names) == 0 && strings.Contains(st, `="`) == false {
			st = strings.TrimSuffix(st, `| __error__=""`)
		}
		full := collect(t, compile(t, st, pipeline.Options{Group: all, KeepLine: true}), b, 0, 100)
		some := collect(t, compile(t, st, pipeline.Options{Group: g}), b, 0, 100)
		if len(full) != len(some) {
			t.Fatalf("%s by %v: %d rows, want %d", st, g.Names, len(some), len(full))
		}
		for i, x := range full {
			want := labels.NewScratchBuilder(4)
			sorted := slices.Clone(g.Names)
			slices.Sort(sorted)
			for _, n := range slices.Compact(sorted) {
				if v := x.labels.Get(n); v != "" {
					want.Add(n, v)
				}
			}
			if !labels.Equal(some[i].group, want.Labels()) || some[i].time != x.time || some[i].length != x.length {
				t.Fatalf("%s by %v: row %d of %d has group %s and length %d, want %s and %d; all labels: %s", st, g.Names, i, len(full),
					some[i].group, some[i].length, want.Labels(), x.length, x.labels)
			}
			if !labels.Equal(x.group, x.labels) {
				t.Fatalf("%s: group %s of labels %s", st, x.group, x.labels)
			}
		}
	}
}
