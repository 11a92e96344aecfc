package logqltest_test

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
)

func rows(n int) []logqltest.Row {
	var all []logqltest.Row
	for i := range n {
		all = append(all, logqltest.Row{
			Stream: labels.FromStrings("app", []string{"a", "b"}[i%2]), Time: int64(i*7%n) + 1, Line: "line",
			Metadata: labels.FromStrings("n", []string{"x", "y", "z"}[i%3]),
		})
	}
	return all
}

// TestSelect checks what a Source promises: the order of batches, the matchers, and which rows are there.
func TestSelect(t *testing.T) {
	app := labels.MustNewMatcher(labels.MatchEqual, "app", "a")
	for _, layout := range []logqltest.Layout{{}, {PageRows: 3}, {PageRows: 5, Parts: 3}, {PageRows: 4, Parts: 2, Doubles: 3}} {
		src := logqltest.NewSource(rows(60), layout)
		for _, d := range []logql.Direction{logql.Backward, logql.Forward} {
			var edges []int64
			found := map[int64]bool{}
			for b, err := range src.Select(t.Context(), &logql.SelectRequest{Matchers: []*labels.Matcher{app}, Start: 10, End: 50, Direction: d}) {
				if err != nil {
					t.Fatal(err)
				}
				edge := b.MinTime
				if d == logql.Backward {
					edge = -b.MaxTime
				}
				edges = append(edges, edge)
				times, err := b.Times(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, run := range b.Runs {
					if run.Stream.Labels.Get("app") != "a" {
						t.Errorf("%+v: a run of %s", layout, run.Stream.Labels)
					}
					if in := times[run.From:run.To]; !slices.IsSorted(in) || in[0] != run.MinTime || in[len(in)-1] != run.MaxTime {
						t.Errorf("%+v: run %+v has times %v", layout, run, in)
					}
					for _, at := range times[run.From:run.To] {
						found[at] = true
					}
				}
				b.Release()
			}
			if !slices.IsSorted(edges) {
				t.Errorf("%+v, %s: batches begin at %v", layout, d, edges)
			}
			for _, r := range rows(60) {
				if r.Stream.Get("app") == "a" && r.Time >= 10 && r.Time < 50 && !found[r.Time] {
					t.Errorf("%+v, %s: the row at %d is missing", layout, d, r.Time)
				}
			}
		}
		if n := src.Open(); n != 0 {
			t.Errorf("%d batches are open", n)
		}
	}
}

// TestRelease checks that what a released batch handed out cannot be mistaken for rows.
func TestRelease(t *testing.T) {
	src := logqltest.NewSource(rows(4), logqltest.Layout{})
	for b, err := range src.Select(t.Context(), &logql.SelectRequest{End: 100}) {
		if err != nil {
			t.Fatal(err)
		}
		lines, err := b.Lines(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if src.Open() != 1 || string(lines.Row(0)) != "line" {
			t.Errorf("%d batches are open, the first line is %q", src.Open(), lines.Row(0))
		}
		b.Release()
		if string(lines.Row(0)) == "line" {
			t.Error("lines outlive their batch")
		}
		defer func() {
			if recover() == nil {
				t.Error("a released batch can be read")
			}
		}()
		b.Times(t.Context())
	}
}
