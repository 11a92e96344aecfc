package pipeline_test

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/pipeline/pipelinetest"
	"example.com/loki/logql/syntax"
)

// recorded holds entries and what Loki 3.7 answered to queries over them.
type recorded struct {
	Streams []struct {
		Labels map[string]string
		Rows   [][3]any // time, line, structured metadata
	}
	Cases []recordedCase
}

type recordedCase struct {
	Name       string
	Params     map[string]any
	Categorize bool
	Compare    string
	Result     []struct {
		Stream map[string]string
		Values [][]any
		Metric map[string]string
		Value  []any
	}
}

func loadRecorded(t *testing.T) (*recorded, []pipelinetest.Stream) {
	t.Helper()
	f, err := os.Open("testdata/recorded.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var r recorded
	if err := json.NewDecoder(z).Decode(&r); err != nil {
		t.Fatal(err)
	}
	var streams []pipelinetest.Stream
	for _, s := range r.Streams {
		st := pipelinetest.Stream{Labels: labels.FromMap(s.Labels)}
		for _, row := range s.Rows {
			ts, _ := strconv.ParseInt(row[0].(string), 10, 64)
			md := map[string]string{}
			for k, v := range row[2].(map[string]any) {
				md[k] = v.(string)
			}
			st.Rows = append(st.Rows, pipelinetest.Row{Time: ts, Line: row[1].(string), Metadata: md})
		}
		streams = append(streams, st)
	}
	return &r, streams
}

// TestRecorded runs the recorded log queries, and of the metric queries those whose leaf does all the
// work, over one batch of all matching streams.
func TestRecorded(t *testing.T) {
	r, streams := loadRecorded(t)
	ran := 0
	for _, c := range r.Cases {
		t.Run(c.Name, func(t *testing.T) {
			expr, err := syntax.Parse(c.Params["query"].(string))
			if c.Compare == "refused" {
				ran++
				checkRefused(t, expr, err)
				return
			}
			if err != nil {
				t.Fatalf("parse: %v", err)
			}
			switch e := expr.(type) {
			case *syntax.LogExpr:
				ran++
				checkStreams(t, c, e, streams)
			case syntax.MetricExpr:
				if leaf := newLeaf(e); leaf != nil && c.Params["time"] != nil {
					ran++
					checkVector(t, c, leaf, streams)
				}
			}
		})
	}
	if ran < 700 {
		t.Errorf("only %d recorded queries were run", ran)
	}
}

func matching(streams []pipelinetest.Stream, ms []*labels.Matcher) *column.Batch {
	var sel []pipelinetest.Stream
	for _, s := range streams {
		if !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(s.Labels.Get(m.Name)) }) {
			sel = append(sel, s)
		}
	}
	return pipelinetest.Batch(sel...)
}

func timeParam(t *testing.T, v any) int64 {
	t.Helper()
	s, _ := v.(string)
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Skipf("time %v", v)
	}
	if len(s) <= 10 {
		n *= 1e9
	}
	return n
}

// entry is a line of an answer.
type entry struct {
	time             int64
	stream           string
	line             string
	metadata, parsed string
}

func checkStreams(t *testing.T, c recordedCase, e *syntax.LogExpr, streams []pipelinetest.Stream) {
	start, end := timeParam(t, c.Params["start"]), timeParam(t, c.Params["end"])
	backward := !strings.EqualFold(fmt.Sprint(c.Params["direction"]), "forward")
	limit := 100
	if l, ok := c.Params["limit"].(string); ok {
		limit, _ = strconv.Atoi(l)
	}
	p, err := pipeline.Compile(e.Stages, pipeline.Options{
		Group: syntax.Grouping{Without: true}, KeepLine: true, Categorize: c.Categorize,
	})
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	w := p.Worker()
	var got []entry
	err = w.Run(t.Context(), matching(streams, e.Matchers), start, end, func(r *pipeline.Row) bool {
		x := entry{time: r.Time, stream: plain(w.Group(r.Group)), line: string(r.Line)}
		if !c.Categorize {
			if all := plain(r.Labels()); all != x.stream {
				t.Errorf("Labels() = %s, Group() = %s", all, x.stream)
			}
		}
		if c.Categorize {
			x.metadata = plain(labels.New(r.AppendMetadata(nil)...))
			x.parsed = plain(labels.New(r.AppendParsed(nil)...))
		}
		got = append(got, x)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.SortStableFunc(got, func(a, b entry) int {
		if backward {
			return cmp.Compare(b.time, a.time)
		}
		return cmp.Compare(a.time, b.time)
	})
	got = got[:min(limit, len(got))]
	var want []entry
	for _, s := range c.Result {
		for _, v := range s.Values {
			ts, _ := strconv.ParseInt(v[0].(string), 10, 64)
			x := entry{time: ts, stream: plain(labels.FromMap(s.Stream)), line: v[1].(string)}
			if len(v) > 2 {
				x.metadata = plainMap(v[2].(map[string]any)["structuredMetadata"])
				x.parsed = plainMap(v[2].(map[string]any)["parsed"])
			} else if c.Categorize {
				x.metadata, x.parsed = "{}", "{}"
			}
			want = append(want, x)
		}
	}
	order := func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.time, b.time), strings.Compare(a.stream, b.stream), strings.Compare(a.line, b.line))
	}
	slices.SortFunc(got, order)
	slices.SortFunc(want, order)
	for i := range max(len(got), len(want)) {
		var g, w entry
		if i < len(got) {
			g = got[i]
			g.line = strings.ToValidUTF8(g.line, "\uFFFD")
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			t.Fatalf("%s: entry %d of %d (want %d):\n got %+v\nwant %+v", c.Params["query"], i, len(got), len(want), g, w)
		}
	}
}

// plain prints labels without the details of errors, whose wording is ours.
func plain(ls labels.Labels) string {
	b := labels.NewScratchBuilder(ls.Len())
	ls.Range(func(l labels.Label) {
		if l.Name != "__error_details__" {
			b.Add(l.Name, strings.ToValidUTF8(l.Value, "\uFFFD"))
		}
	})
	b.Sort()
	return b.Labels().String()
}

func plainMap(v any) string {
	var ls []labels.Label
	m, _ := v.(map[string]any)
	for k, x := range m {
		ls = append(ls, labels.Label{Name: k, Value: x.(string)})
	}
	return plain(labels.New(ls...))
}

// checkRefused checks that a query with a bad stage doesn't get through parser and compiler.
func checkRefused(t *testing.T, expr syntax.Expr, err error) {
	if err != nil {
		return
	}
	log, ok := expr.(*syntax.LogExpr)
	if !ok {
		t.Skip("not a log query")
	}
	if _, err := pipeline.Compile(log.Stages, pipeline.Options{Group: all}); err == nil {
		t.Errorf("%s was accepted", expr)
	}
}

// leaf is a range aggregation, with a sum around it or without.
type leaf struct {
	agg   *syntax.RangeAggregation
	group syntax.Grouping
}

func newLeaf(e syntax.MetricExpr) *leaf {
	l := &leaf{group: syntax.Grouping{Without: true}}
	if v, ok := e.(*syntax.VectorAggregation); ok && v.Op == syntax.VectorSum {
		e = v.Inner
		l.group = syntax.Grouping{}
		if v.Grouping != nil {
			l.group = *v.Grouping
		}
	}
	var ok bool
	if l.agg, ok = e.(*syntax.RangeAggregation); !ok || l.agg.Grouping != nil || l.agg.Offset != 0 {
		return nil
	}
	switch l.agg.Op {
	case syntax.RangeCount, syntax.RangeRate, syntax.RangeBytes, syntax.RangeBytesRate, syntax.RangeSum:
		return l
	}
	return nil
}

func checkVector(t *testing.T, c recordedCase, l *leaf, streams []pipelinetest.Stream) {
	at := timeParam(t, c.Params["time"])
	p, err := pipeline.Compile(l.agg.Log.Stages, pipeline.Options{Group: l.group, Unwrap: l.agg.Unwrap})
	if err != nil {
		t.Fatalf("Compile: %v", err)
	}
	w := p.Worker()
	got, failed := map[string]float64{}, false
	err = w.Run(context.Background(), matching(streams, l.agg.Log.Matchers), at-int64(l.agg.Range)+1, at+1, func(r *pipeline.Row) bool {
		if r.Err != "" && c.Compare == "fails" {
			failed = true
			return false
		}
		if r.Err != "" {
			t.Fatalf("%s: error %s in %s", c.Params["query"], r.Err, r.Labels())
		}
		v := 1.0
		switch {
		case l.agg.Op == syntax.RangeBytes || l.agg.Op == syntax.RangeBytesRate:
			v = float64(r.LineLen)
		case l.agg.Unwrap != nil:
			v = r.Value
		}
		got[w.Group(r.Group).WithoutEmpty().String()] += v
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Compare == "fails" {
		if !failed {
			t.Errorf("%s: no row has an error", c.Params["query"])
		}
		return
	}
	if l.agg.Op == syntax.RangeRate || l.agg.Op == syntax.RangeBytesRate {
		for k := range got {
			got[k] /= l.agg.Range.Seconds()
		}
	}
	want := map[string]float64{}
	for _, s := range c.Result {
		f, _ := strconv.ParseFloat(s.Value[1].(string), 64)
		want[labels.FromMap(s.Metric).WithoutEmpty().String()] = f
	}
	for k, v := range want {
		if g, ok := got[k]; !ok || math.Abs(g-v) > 1e-9*math.Abs(v) || math.IsNaN(g) != math.IsNaN(v) {
			t.Errorf("%s: %s is %v (there: %v), want %v", c.Params["query"], k, g, ok, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d series, want %d: %v", c.Params["query"], len(got), len(want), got)
	}
}
