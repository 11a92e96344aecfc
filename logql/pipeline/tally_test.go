package pipeline_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/pipeline/pipelinetest"
	"example.com/loki/logql/syntax"
)

// users returns a batch of rows of two streams, whose users are few or very many, with short names and long ones.
func users(r *rand.Rand, rows int) *column.Batch {
	streams := []pipelinetest.Stream{{Labels: labels.FromStrings("app", "a")}, {Labels: labels.FromStrings("app", "b", "user", "own")}}
	for i := range rows {
		user := fmt.Sprint(r.IntN(1 + r.IntN(2000)))
		if r.IntN(4) == 0 {
			user = strings.Repeat(user, 8)
		}
		line := fmt.Sprintf(`{"user":%q,"zone":"z%d"}`, user, r.IntN(3))
		if r.IntN(50) == 0 {
			line = "no json"
		}
		row := pipelinetest.Row{Time: int64(i), Line: line}
		if r.IntN(5) == 0 {
			row.Metadata = map[string]string{"zone": "meta"}
		}
		s := &streams[r.IntN(len(streams))]
		s.Rows = append(s.Rows, row)
	}
	return pipelinetest.Batch(streams...)
}

func TestCountIsRun(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, by := range [][]string{{"user"}, {"user", "zone"}, {"zone", "missing"}, {"app"}, {"user_extracted"}, {"user", "__error__"}} {
		p := compile(t, `| json`, pipeline.Options{Group: syntax.Grouping{Names: by}})
		ran, counted := p.Worker(), p.Worker()
		want, got := map[string]int64{}, map[string]int64{}
		var rows, tallied int64
		for range 5 {
			batch := users(r, 3000)
			batch.Runs[r.IntN(2)].Shared = r.IntN(2) == 0
			emit := func(w *pipeline.Worker, to map[string]int64) func(*pipeline.Row) bool {
				return func(row *pipeline.Row) bool {
					to[w.Group(row.Group).String()+row.Err]++
					return true
				}
			}
			all := emit(ran, want)
			err := ran.Run(t.Context(), batch, 10, 2900, func(row *pipeline.Row) bool { rows++; return all(row) })
			if err != nil {
				t.Fatal(err)
			}
			n, err := counted.Count(t.Context(), batch, 10, 2900, emit(counted, got))
			if err != nil {
				t.Fatal(err)
			}
			tallied += n
			if r.IntN(2) == 0 {
				take(t, counted, got)
			}
		}
		take(t, counted, got)
		take(t, counted, got) // there are none any more
		if !maps.Equal(got, want) {
			t.Errorf("by %v: counted %v, want %v", by, got, want)
		}
		if grouped := !slices.Contains(by, "app"); grouped && tallied < rows/3 || tallied > rows {
			t.Errorf("by %v: %d of %d rows were counted by the worker", by, tallied, rows)
		}
	}
}

// take adds what the worker has counted.
func take(t *testing.T, w *pipeline.Worker, to map[string]int64) {
	t.Helper()
	err := w.Counts(func(group int, rows int64) error {
		to[w.Group(group).String()] += rows
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkCount counts rows by an address of a hundred thousand: one by one in an array of cells as an aggregation
// did it before, and by the worker.
func BenchmarkCount(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(r, 1.1, 8, 100_000)
	var batches []*column.Batch
	for range 100 {
		s := pipelinetest.Stream{Labels: labels.FromStrings("app", "nginx")}
		for i := range 4096 {
			n := zipf.Uint64()*2654435761 + 7
			s.Rows = append(s.Rows, pipelinetest.Row{Time: int64(i), Line: fmt.Sprintf("%d.%d.%d.%d - - GET /x", n>>24&255, n>>16&255, n>>8&255, n&255)})
		}
		batches = append(batches, pipelinetest.Batch(s))
	}
	p := compile(b, "| pattern `<ip> - <_>`", pipeline.Options{Group: syntax.Grouping{Names: []string{"ip"}}})
	run := func(name string, do func(w *pipeline.Worker, batch *column.Batch, cells *[]int64) error) {
		b.Run(name, func(b *testing.B) {
			w := p.Worker()
			var cells []int64
			var bytes int64
			for _, batch := range batches {
				bytes += batch.RawBytes
			}
			yardstick.Bytes(b, bytes)
			for b.Loop() {
				for _, batch := range batches {
					if err := do(w, batch, &cells); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(4096*float64(len(batches))), "ns/row")
		})
	}
	run("emit", func(w *pipeline.Worker, batch *column.Batch, cells *[]int64) error {
		return w.Run(context.Background(), batch, 0, 1<<62, func(row *pipeline.Row) bool {
			for row.Group >= len(*cells) {
				*cells = append(*cells, 0)
			}
			(*cells)[row.Group]++
			return true
		})
	})
	run("tally", func(w *pipeline.Worker, batch *column.Batch, _ *[]int64) error {
		_, err := w.Count(context.Background(), batch, 0, 1<<62, func(*pipeline.Row) bool { return true })
		return err
	})
}
