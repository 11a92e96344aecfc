package logql_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/logql/logqltest"
)

// podsInTurn returns rows of as many streams, each of which has one in each second; the newest are those of the last ones.
func podsInTurn(pods, seconds, lineBytes int) []logqltest.Row {
	var rows []logqltest.Row
	for s := range seconds {
		for p := range pods {
			rows = append(rows, logqltest.Row{
				Stream: labels.FromStrings("app", "api", "pod", fmt.Sprintf("p%02d", p)),
				Time:   logqltest.Base + int64(s)*int64(time.Second) + int64(p),
				Line:   fmt.Sprintf("%d %s", p, strings.Repeat("x", lineBytes)),
			})
		}
	}
	return rows
}

// TestDisplacedPagesAreNotRead checks that a log query reads the lines of those pages alone that its answer comes from,
// though others had their turn before.
func TestDisplacedPagesAreNotRead(t *testing.T) {
	src := logqltest.NewSource(podsInTurn(30, 40, 10), logqltest.Layout{PageRows: 40})
	for _, query := range []string{`{app="api"}`, `{app="api"} | pod!="p00"`} {
		for limit, pages := range map[int]int{4: 4, 30: 29, 100: 29} {
			p := hours(query, 1)
			p.Limit = limit
			before := src.LinesRead()
			res, err := logql.Query(t.Context(), p, src, logql.Options{Parallelism: 2})
			if err != nil {
				t.Fatal(err)
			}
			if res.Stats.Returned != int64(limit) {
				t.Errorf("%s: %d entries, want %d", query, res.Stats.Returned, limit)
			}
			if n := src.LinesRead() - before; n > pages+1 {
				t.Errorf("%s, the newest %d: lines of %d pages were read, want %d", query, limit, n, pages)
			}
			if res.Stats.LineBytes == 0 {
				t.Errorf("%s: the lines that were read were not counted", query)
			}
		}
	}
	if n := src.Open(); n != 0 {
		t.Errorf("%d batches are not released", n)
	}
}

// TestHeldPagesAreBounded checks that pages with large lines are not all held until the end.
func TestHeldPagesAreBounded(t *testing.T) {
	src := logqltest.NewSource(podsInTurn(60, 1, 1<<20), logqltest.Layout{PageRows: 1})
	p := hours(`{app="api"}`, 1)
	p.Limit = 1000
	most := 0
	watch := watching{src, func() { most = max(most, src.Open()) }}
	res, err := logql.Query(t.Context(), p, watch, logql.Options{Parallelism: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range res.Streams {
		pod := strings.TrimLeft(strings.TrimPrefix(s.Labels.Get("pod"), "p"), "0")
		if len(s.Entries) != 1 || len(s.Entries[0].Line) < 1<<20 || !strings.HasPrefix(s.Entries[0].Line, pod) {
			t.Fatalf("the entries of %s are not those that were stored", s.Labels)
		}
	}
	if len(res.Streams) != 60 || most > 20 {
		t.Errorf("%d streams and up to %d pages held; want 60 and at most 20", len(res.Streams), most)
	}
	if n := src.Open(); n != 0 {
		t.Errorf("%d batches are not released", n)
	}
}

// TestFailureReleasesHeldPages runs into the memory limit while entries are made of held pages.
func TestFailureReleasesHeldPages(t *testing.T) {
	src := logqltest.NewSource(podsInTurn(30, 40, 1000), logqltest.Layout{PageRows: 40})
	p := hours(`{app="api"}`, 1)
	p.Limit = 1000
	for _, parallelism := range []int{1, 3} {
		_, err := logql.Query(t.Context(), p, src, logql.Options{Parallelism: parallelism, MaxMemory: 500_000})
		if err == nil || !strings.Contains(err.Error(), "memory") {
			t.Errorf("error %v, want one about memory", err)
		}
		if n := src.Open(); n != 0 {
			t.Errorf("%d batches are not released", n)
		}
	}
}

// watching calls a function beside each batch.
type watching struct {
	logql.Source
	look func()
}

func (w watching) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		for b, err := range w.Source.Select(ctx, req) {
			w.look()
			if !yield(b, err) {
				return
			}
		}
	}
}
