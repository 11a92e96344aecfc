package logql_test

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// operatorLines are the lines that operators are measured on.
var operatorLines = map[string]func(r *rand.Rand, b []byte) []byte{
	"json": func(r *rand.Rand, b []byte) []byte {
		return fmt.Appendf(b, `{"level":"%s","msg":"request done","method":"%s","path":"/v1/orders/%d","status":%d,"duration":"%dms","bytes":%d,"trace":"%016x","user":{"id":%d,"agent":"Mozilla/5.0 (X11; Linux x86_64)"}}`,
			level(r), method(r), r.IntN(1000), 200+100*r.IntN(4), r.IntN(2000), r.IntN(100000), r.Uint64(), r.IntN(50))
	},
	"logfmt": func(r *rand.Rand, b []byte) []byte {
		return fmt.Appendf(b, `level=%s caller=pay.go:%d msg="payment accepted by bank" amount=%d.50 customer=c-%d attempt=%d duration=%dms trace=%016x size=%dKB`,
			level(r), r.IntN(200), r.IntN(1000), r.IntN(3000), r.IntN(4), r.IntN(2000), r.Uint64(), r.IntN(100))
	},
	"packed": func(r *rand.Rand, b []byte) []byte {
		return fmt.Appendf(b, `{"container":"shop-%d","node":"node-%d.example.net","level":"%s","_entry":"POST /v1/orders/%d took %dms, \"accepted\" as %016x"}`,
			r.IntN(4), r.IntN(30), level(r), r.IntN(1000), r.IntN(2000), r.Uint64())
	},
	"nginx": func(r *rand.Rand, b []byte) []byte {
		return fmt.Appendf(b, `10.%d.1.20 - alice [01/Jan/2026:00:00:00 +0000] "%s /api/v1/items/%d HTTP/2.0" %d %d "-" "Mozilla/5.0 (X11; Linux x86_64)" 0.%03d`,
			r.IntN(255), method(r), r.IntN(1000), 200+100*r.IntN(4), r.IntN(100000), r.IntN(1000))
	},
}

func level(r *rand.Rand) string  { return []string{"info", "info", "info", "warn", "error"}[r.IntN(5)] }
func method(r *rand.Rand) string { return []string{"GET", "POST", "DELETE"}[r.IntN(3)] }

// storedPages are pages whose lines are compressed, as a store has them. Without plain, a source over
// them decompresses the lines when they are asked for.
type storedPages struct {
	batches []*column.Batch
	stored  [][]byte
	plain   []*decoded
	bytes   int64
}

// newStoredPages makes pages of some 512 KiB of lines, of two streams each.
func newStoredPages(b testing.TB, kind string, pages int) *storedPages {
	r := rand.New(rand.NewPCG(1, 2))
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	defer enc.Close()
	streams := []*column.Stream{
		column.NewStream(labels.FromStrings("app", "shop", "pod", "shop-1")), column.NewStream(labels.FromStrings("app", "shop", "pod", "shop-2")),
	}
	p := &storedPages{}
	day := int64(24 * time.Hour)
	for n := range pages {
		d := &decoded{metas: map[string]column.Metadata{}, lines: column.Lines{Offsets: []uint32{0}}}
		for len(d.lines.Data) < 512<<10 {
			d.lines.Data = operatorLines[kind](r, d.lines.Data)
			d.lines.Offsets = append(d.lines.Offsets, uint32(len(d.lines.Data)))
			d.lengths = append(d.lengths, d.lines.Offsets[len(d.lines.Offsets)-1]-d.lines.Offsets[len(d.lines.Offsets)-2])
			d.times = append(d.times, int64(n)*day/int64(pages)+r.Int64N(day/int64(pages)))
		}
		half := len(d.times) / 2
		slices.Sort(d.times[:half])
		slices.Sort(d.times[half:])
		batch := &column.Batch{Part: "01", Page: n, MinTime: day, RawBytes: int64(len(d.lines.Data)), Columns: d}
		for i, s := range streams {
			from, to := i*half, []int{half, len(d.times)}[i]
			batch.Runs = append(batch.Runs, column.Run{Stream: s, From: from, To: to, MinTime: d.times[from], MaxTime: d.times[to-1]})
			batch.MinTime, batch.MaxTime = min(batch.MinTime, d.times[from]), max(batch.MaxTime, d.times[to-1])
		}
		p.batches, p.plain = append(p.batches, batch), append(p.plain, d)
		p.stored = append(p.stored, enc.EncodeAll(d.lines.Data, nil))
		p.bytes += batch.RawBytes
	}
	return p
}

// withMinutes returns the pages as of a source that knows what there is of each run in each minute.
func (p *storedPages) withMinutes() *storedPages {
	out := *p
	out.batches = nil
	for i, b := range p.batches {
		c := *b
		totals := runTotals{}
		for _, r := range b.Runs {
			m := column.Minutes{First: column.MinuteOf(r.MinTime)}
			rows, bytes := uint32(0), uint32(0)
			for row := r.From; row < r.To; row++ {
				for m.First+int64(len(m.Rows)) < column.MinuteOf(p.plain[i].times[row]) {
					m.Rows, m.Bytes = append(m.Rows, rows), append(m.Bytes, bytes)
				}
				rows, bytes = rows+1, bytes+p.plain[i].lengths[row]
			}
			m.Rows, m.Bytes = append(m.Rows, rows), append(m.Bytes, bytes)
			totals[[2]int{r.From, r.To}] = m
		}
		c.Totals = totals
		out.batches = append(out.batches, &c)
	}
	return &out
}

// runTotals implements column.Totals.
type runTotals map[[2]int]column.Minutes

func (t runTotals) LineBytes(from, to int) (int64, bool) {
	m, ok := t[[2]int{from, to}]
	if !ok {
		return 0, false
	}
	return int64(m.Bytes[len(m.Bytes)-1]), true
}

func (t runTotals) Minutes(_ context.Context, from, to int) (column.Minutes, bool, error) {
	m, ok := t[[2]int{from, to}]
	return m, ok, nil
}

func (p *storedPages) Select(context.Context, *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		for _, b := range p.batches {
			c := *b
			if !yield(&c, nil) {
				return
			}
		}
	}
}

// BenchmarkOperators measures what one core does with line filters, parsers and range aggregations on
// pages that are decoded already. Before each it measures, on the same pages, a search for a string that
// does not occur (bytes.Index) and the decompression of the lines: of-index and of-zstd are the operator's
// speed as a multiple of theirs. An operator with an of-zstd above 1 costs less than the decompression that
// must go before it.
func BenchmarkOperators(b *testing.B) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	defer dec.Close()
	kinds := map[string]*storedPages{}
	for kind := range operatorLines {
		kinds[kind] = newStoredPages(b, kind, 8)
	}
	kinds["minutes"] = kinds["logfmt"].withMinutes()
	logs := func(stages string) string { return `sum(count_over_time({app="shop"} ` + stages + ` [10m]))` }
	for _, op := range []struct{ name, kind, query string }{
		{"filter/contains-rare", "logfmt", logs(`|= "nowhere to be found"`)},
		{"filter/contains-common", "logfmt", logs(`|= "error"`)},
		{"filter/not-contains", "logfmt", logs(`!= "level=info" != "level=warn"`)},
		{"filter/or", "nginx", logs(`|= "DELETE" or "nowhere" or "PUT"`)},
		{"filter/regexp-literal", "logfmt", logs(`|~ "(?i)LEVEL=ERROR"`)},
		{"filter/regexp-prefix", "logfmt", logs(`|~ "level=error.*duration=1\\d+ms"`)},
		{"filter/regexp-no-literal", "nginx", logs(`|~ "[A-Z]+ /[a-z]"`)},
		{"filter/pattern", "nginx", logs("|> `<_>\"DELETE <_>\" 500 <_>`")},
		{"filter/ip", "nginx", logs(`|= ip("10.1.0.0/16")`)},
		{"parse/json-one", "json", `sum by (status) (count_over_time({app="shop"} | json [10m]))`},
		{"parse/json-filter", "json", logs(`| json | status >= 500 | method="GET"`)},
		{"parse/logfmt-one", "logfmt", `sum by (level) (count_over_time({app="shop"} | logfmt [10m]))`},
		{"parse/logfmt-filter", "logfmt", logs(`| logfmt | duration > 1s | size > 50KB`)},
		{"parse/pattern", "nginx", "sum by (status) (count_over_time({app=\"shop\"} | pattern `<_>\" <status> <_>` [10m]))"},
		{"parse/template", "logfmt", "sum by (l) (count_over_time({app=\"shop\"} | logfmt | label_format l=`{{.level | upper}}` [10m]))"},
		{"parse/regexp", "nginx", "sum by (status) (count_over_time({app=\"shop\"} | regexp `\" (?P<status>\\d{3}) ` [10m]))"},
		{"parse/unpack", "packed", "sum by (level) (count_over_time({app=\"shop\"} | unpack [10m]))"},
		{"parse/unpack-filter", "packed", logs("| unpack | node=`node-7.example.net` |= `accepted`")},
		{"group/few", "json", `sum by (method, status) (count_over_time({app="shop"} | json [10m]))`},
		{"group/many", "logfmt", `topk(10, sum by (customer) (count_over_time({app="shop"} | logfmt [10m])))`},
		{"range/count", "logfmt", `sum by (pod) (count_over_time({app="shop"}[10m]))`},
		{"range/count-by-minutes", "minutes", `sum by (pod) (count_over_time({app="shop"}[10m]))`},
		{"range/count-of-rows", "logfmt", `sum by (pod) (count_over_time({app="shop"} |= "level" [10m]))`},
		{"range/bytes", "logfmt", `sum by (pod) (bytes_over_time({app="shop"}[10m]))`},
		{"range/bytes-by-minutes", "minutes", `sum by (pod) (bytes_over_time({app="shop"}[10m]))`},
		{"range/sum", "logfmt", `sum by (pod) (sum_over_time({app="shop"} | logfmt | unwrap duration(duration) [10m]))`},
		{"range/stddev", "logfmt", `stddev_over_time({app="shop"} | logfmt | unwrap duration(duration) [10m]) by (pod)`},
		{"range/quantile", "logfmt", `quantile_over_time(0.99, {app="shop"} | logfmt | unwrap duration(duration) [10m]) by (pod)`},
	} {
		b.Run(op.name, func(b *testing.B) {
			p := kinds[op.kind]
			params := logql.Params{Query: op.query, End: int64(24 * time.Hour), Step: 10 * time.Minute}
			var buf []byte
			var index, unzip time.Duration
			b.SetBytes(p.bytes)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				begin := time.Now()
				for _, d := range p.plain {
					if bytes.Contains(d.lines.Data, []byte("there is no such text")) {
						b.Fatal("found")
					}
				}
				middle := time.Now()
				for _, s := range p.stored {
					if buf, err = dec.DecodeAll(s, buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
				index, unzip = index+middle.Sub(begin), unzip+time.Since(middle)
				b.StartTimer()
				if _, err := logql.Query(b.Context(), params, p, logql.Options{Parallelism: 1}); err != nil {
					b.Fatal(err)
				}
			}
			took := b.Elapsed()
			b.ReportMetric(float64(index)/float64(took), "of-index")
			b.ReportMetric(float64(unzip)/float64(took), "of-zstd")
		})
	}
}
