package logql_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// pages is a source of pages that are decoded already, so that a benchmark measures the executor.
type pages struct {
	batches []*column.Batch
	rows    int
	bytes   int64
}

func (p *pages) Select(_ context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		for i := range p.batches {
			b := p.batches[i]
			if req.Direction == logql.Backward {
				b = p.batches[len(p.batches)-1-i]
			}
			if b.MaxTime < req.Start || b.MinTime >= req.End {
				continue
			}
			b2 := *b
			if !yield(&b2, nil) {
				return
			}
		}
	}
}

// decoded are columns in memory.
type decoded struct {
	times   []int64
	lengths []uint32
	lines   column.Lines
	names   []string
	metas   map[string]column.Metadata
}

func (d *decoded) Rows() int                                       { return len(d.times) }
func (d *decoded) Times(context.Context) ([]int64, error)          { return d.times, nil }
func (d *decoded) LineLengths(context.Context) ([]uint32, error)   { return d.lengths, nil }
func (d *decoded) Lines(context.Context) (column.Lines, error)     { return d.lines, nil }
func (d *decoded) MetadataNames(context.Context) ([]string, error) { return d.names, nil }
func (d *decoded) Release()                                        {}
func (d *decoded) Metadata(_ context.Context, n string) (column.Metadata, error) {
	return d.metas[n], nil
}

// newPages makes pages of 4096 rows over a day: 50 streams, a level and a random trace id as
// metadata, logfmt lines of some 120 bytes. shared marks all runs as doubled; abreast makes each page reach over all of the day.
func newPages(rows int, shared, abreast bool) *pages {
	const perPage, streams = 4096, 50
	r := rand.New(rand.NewPCG(1, 1))
	var ids []*column.Stream
	for i := range streams {
		ids = append(ids, column.NewStream(labels.FromStrings("app", fmt.Sprintf("app-%d", i%5), "pod", fmt.Sprintf("pod-%d", i), "service_name", "shop")))
	}
	day := int64(24 * time.Hour)
	p := &pages{rows: rows}
	levels := [][]byte{[]byte("info"), []byte("warn"), []byte("error")}
	for n := 0; n*perPage < rows; n++ {
		d := &decoded{names: []string{"detected_level", "trace_id"}, metas: map[string]column.Metadata{}}
		d.lines.Offsets = []uint32{0}
		level := column.Metadata{Values: levels}
		trace := column.Metadata{}
		from, width := day/int64(rows)*int64(n*perPage), day/int64(rows)*perPage
		if abreast {
			from, width = 0, day
		}
		b := &column.Batch{Part: "01", Page: n, MinTime: 1 << 62}
		for s := range 5 { // five streams a page
			times := make([]int64, perPage/5)
			for i := range times {
				times[i] = from + r.Int64N(width)
			}
			slices.Sort(times)
			run := column.Run{Stream: ids[(n*5+s)%streams], From: len(d.times), To: len(d.times) + len(times), MinTime: times[0], MaxTime: times[len(times)-1], Shared: shared}
			b.MinTime, b.MaxTime = min(b.MinTime, run.MinTime), max(b.MaxTime, run.MaxTime)
			b.Runs = append(b.Runs, run)
			for _, t := range times {
				l := r.IntN(20)
				line := fmt.Sprintf(`ts=%d level=%s method=GET path=/v1/orders/%d status=%d duration=%dms msg="order %s done"`,
					t, levels[min(2, l/8)], r.IntN(1000), 200+r.IntN(5), r.IntN(900), strings.Repeat("x", r.IntN(30)))
				d.times = append(d.times, t)
				d.lengths = append(d.lengths, uint32(len(line)))
				d.lines.Data = append(d.lines.Data, line...)
				d.lines.Offsets = append(d.lines.Offsets, uint32(len(d.lines.Data)))
				level.Index = append(level.Index, uint32(min(2, l/8))+1)
				trace.Values = append(trace.Values, fmt.Appendf(nil, "%016x", r.Uint64()))
				trace.Index = append(trace.Index, uint32(len(trace.Values)))
			}
		}
		d.metas["detected_level"], d.metas["trace_id"] = level, trace
		b.RawBytes, b.Columns = int64(len(d.lines.Data)), d
		p.bytes += b.RawBytes
		p.batches = append(p.batches, b)
	}
	return p
}

// BenchmarkQuery runs queries over a million rows on one core. MB/s are bytes of lines, whether they
// are read or not.
func BenchmarkQuery(b *testing.B) {
	const rows = 1_000_000
	plain, doubled, abreast := newPages(rows, false, false), newPages(rows, true, false), newPages(rows, false, true)
	day := int64(24 * time.Hour)
	for _, bench := range []struct {
		name, query string
		src         *pages
		params      logql.Params
	}{
		{"count/by-label", `sum by (app) (count_over_time({app=~".+"}[10m]))`, plain, logql.Params{Step: 10 * time.Minute}},
		{"count/by-label/overlapping", `sum by (app) (count_over_time({app=~".+"}[1h]))`, plain, logql.Params{Step: 7 * time.Minute}},
		{"count/by-level", `sum by (detected_level) (count_over_time({app=~".+"}[10m]))`, plain, logql.Params{Step: 10 * time.Minute}},
		{"count/instant", `sum(count_over_time({app=~".+"}[24h]))`, plain, logql.Params{}},
		{"count/filter", `sum by (app) (count_over_time({app=~".+"} |= "orders/99" [10m]))`, plain, logql.Params{Step: 10 * time.Minute}},
		{"count/all-rows-kept", `sum by (app) (count_over_time({app=~".+"} |= "order" [10m]))`, plain, logql.Params{Step: 10 * time.Minute}},
		{"count/doubles", `sum by (app) (count_over_time({app=~".+"} |= "orders/99" [10m]))`, doubled, logql.Params{Step: 10 * time.Minute}},
		{"bytes/by-label", `sum by (app) (bytes_over_time({app=~".+"}[10m]))`, plain, logql.Params{Step: 10 * time.Minute}},
		{"sum/unwrap", `sum by (app) (sum_over_time({app=~".+"} | logfmt | unwrap duration(duration) [10m]))`, plain, logql.Params{Step: 10 * time.Minute}},
		{"quantile", `quantile_over_time(0.99, {app=~".+"} | logfmt | unwrap duration(duration) [10m]) by (app)`, plain, logql.Params{Step: 10 * time.Minute}},
		{"newest/100", `{app=~".+"}`, plain, logql.Params{Limit: 100}},
		{"newest/1000-of-pages-abreast", `{app=~".+"}`, abreast, logql.Params{Limit: 1000}},
		{"newest/filter-rare", `{app=~".+"} |= "orders/99" |= "status=204"`, plain, logql.Params{Limit: 5000}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			p := bench.params
			p.Query, p.End = bench.query, day
			if p.Step == 0 && p.Limit == 0 {
				p.Start = day
			}
			b.SetBytes(bench.src.bytes)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := logql.Query(b.Context(), p, bench.src, logql.Options{Parallelism: 1}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(bench.src.rows), "ns/row")
		})
	}
}
