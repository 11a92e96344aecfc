package pipeline_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/pipeline/pipelinetest"
	"example.com/loki/logql/syntax"
)

// kinds of lines that benchmarks run over.
var lineKinds = map[string]func(r *rand.Rand, i int) string{
	"json": func(r *rand.Rand, i int) string {
		return fmt.Sprintf(`{"ts":"2026-01-01T00:%02d:%02dZ","level":"%s","msg":"request done","method":"%s","path":"/v1/orders/%d","status":%d,"duration":"%dms","bytes":%d,"user":{"id":%d,"name":"Zo\u00eb"},"request":{"headers":{"User-Agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","X-Retry":"%d"}},"tags":["a","b"],"cached":%v}`,
			i/60%60, i%60, pick(r, "info", "info", "info", "warn", "error"), pick(r, "GET", "POST", "DELETE"), r.IntN(1000),
			200+100*r.IntN(4), r.IntN(2000), r.IntN(100000), r.IntN(50), r.IntN(3), r.IntN(2) == 0)
	},
	"gateway": func(r *rand.Rand, i int) string {
		status := 200
		if r.IntN(40) == 0 {
			status = 502
		}
		return fmt.Sprintf(`{"ts":"2026-01-01T00:%02d:%02d.%03dZ","level":"%s","service":"api-gateway","env":"production","version":"v2.31.7","pod":"api-gateway-11fa164f5-%05x","logger":"http.client","caller":"client.go:%d","msg":"outgoing call finished","method":"%s","path":"/api/v1/products/{id}/reviews","status":%d,"duration_ms":%d.%03d,"bytes":%d,"user_id":"u-%d","client_ip":"%d.%d.15.116","trace_id":"%016x%016x"}`,
			i/60%60, i%60, r.IntN(1000), pick(r, "info", "info", "debug", "warn"), r.IntN(1<<20), r.IntN(300), pick(r, "GET", "POST", "DELETE"),
			status, r.IntN(200), r.IntN(1000), r.IntN(20000), r.IntN(1000000), r.IntN(256), r.IntN(256), r.Uint64(), r.Uint64())
	},
	"logfmt": func(r *rand.Rand, i int) string {
		return fmt.Sprintf(`ts=2026-01-01T00:%02d:%02dZ level=%s caller=pay.go:%d msg="payment \"accepted\" by bank" amount=%d.50 currency=%s customer=c-%d attempt=%d duration=%dms size=%dKB`,
			i/60%60, i%60, pick(r, "info", "info", "info", "warn", "error"), r.IntN(200), r.IntN(1000), pick(r, "EUR", "USD", "CHF"),
			r.IntN(30), r.IntN(4), r.IntN(2000), r.IntN(100))
	},
	"nginx": func(r *rand.Rand, i int) string {
		return fmt.Sprintf(`%d.%d.1.20 - alice [01/Jan/2026:00:%02d:%02d +0000] "%s /api/v1/items/%d HTTP/2.0" %d %d "-" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" 0.%03d`,
			r.IntN(255), r.IntN(255), i/60%60, i%60, pick(r, "GET", "POST", "DELETE"), r.IntN(1000), 200+100*r.IntN(4), r.IntN(100000), r.IntN(1000))
	},
}

func pick(r *rand.Rand, s ...string) string { return s[r.IntN(len(s))] }

// page is a page of about 512 KiB with lines of 20 streams.
func page(kind string) *column.Batch {
	r := rand.New(rand.NewPCG(1, 2))
	var streams []pipelinetest.Stream
	n := 0
	for s := range 20 {
		st := pipelinetest.Stream{Labels: labels.FromStrings("app", "shop", "env", "prod", "pod", fmt.Sprintf("pod-%d", s), "service_name", "shop")}
		for range 100 {
			st.Rows = append(st.Rows, pipelinetest.Row{
				Time: int64(n) * 1e6, Line: lineKinds[kind](r, n),
				Metadata: map[string]string{"detected_level": pick(r, "info", "warn", "error"), "trace_id": fmt.Sprintf("%032x", r.Uint64())},
			})
			n++
		}
		streams = append(streams, st)
	}
	return pipelinetest.Batch(streams...)
}

// BenchmarkIndex is what the line filters are to be measured by: the search for a string over a page.
func BenchmarkIndex(b *testing.B) {
	batch := page("nginx")
	lines, err := batch.Lines(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(batch.RawBytes)
	for b.Loop() {
		if bytes.Contains(lines.Data, []byte("nowhere to be found")) {
			b.Fatal("found")
		}
	}
}

func BenchmarkStages(b *testing.B) {
	all := syntax.Grouping{Without: true}
	by := func(names ...string) syntax.Grouping { return syntax.Grouping{Names: names} }
	for _, c := range []struct {
		name, kind, stages string
		opts               pipeline.Options
	}{
		{"select", "nginx", ``, pipeline.Options{}},
		{"by stream label", "nginx", ``, pipeline.Options{Group: by("pod")}},
		{"by metadata", "nginx", ``, pipeline.Options{Group: by("detected_level")}},
		{"by all", "nginx", ``, pipeline.Options{Group: all}},
		{"contains rare", "nginx", `|= "nowhere to be found"`, pipeline.Options{}},
		{"contains", "nginx", `|= "DELETE"`, pipeline.Options{}},
		{"not contains", "nginx", `!= "DELETE"`, pipeline.Options{}},
		{"contains or", "nginx", `|= "DELETE" or "nowhere" or "POST"`, pipeline.Options{}},
		{"regexp literal", "nginx", `|~ "(?i)delete"`, pipeline.Options{}},
		{"regexp alternation", "nginx", `|~ "DELETE|PUT|nowhere"`, pipeline.Options{}},
		{"regexp prefilter", "nginx", `|~ "DELETE /api/v1/items/\\d+ .* 500 "`, pipeline.Options{}},
		{"regexp plain", "nginx", `|~ "[A-Z]+ /api"`, pipeline.Options{}},
		{"pattern filter", "nginx", `|> "<_>\"DELETE <_>\" 500 <_>"`, pipeline.Options{}},
		{"ip", "nginx", `|= ip("10.0.0.0/8")`, pipeline.Options{}},
		{"metadata filter", "nginx", `| trace_id="x"`, pipeline.Options{}},
		{"json all", "json", `| json`, pipeline.Options{Group: all}},
		{"json by one", "json", `| json`, pipeline.Options{Group: by("status")}},
		{"json by stream label", "json", `| json`, pipeline.Options{Group: by("pod", "status")}},
		{"json by nested", "json", `| json`, pipeline.Options{Group: by("request_headers_X_Retry")}},
		{"json filter", "json", `| json | status >= 500 | method="GET"`, pipeline.Options{Group: by("status")}},
		{"json all of few", "json", `| json | status >= 500 | bytes < 10000`, pipeline.Options{Group: all, LazyGroup: true}},
		{"json rare", "gateway", `| json | status >= 500`, pipeline.Options{Group: all, LazyGroup: true, KeepLine: true}},
		{"json path", "json", `| json s="status", ua="request.headers[\"User-Agent\"]"`, pipeline.Options{Group: by("s")}},
		{"logfmt all", "logfmt", `| logfmt`, pipeline.Options{Group: all}},
		{"logfmt by one", "logfmt", `| logfmt`, pipeline.Options{Group: by("level")}},
		{"logfmt filter", "logfmt", `| logfmt | duration > 1s | size > 50KB`, pipeline.Options{Group: by("level")}},
		{"pattern", "nginx", "| pattern `<ip> - <_> \"<method> <path> <_>\" <status> <_>`", pipeline.Options{Group: by("status")}},
		{"regexp", "nginx", "| regexp `\" (?P<status>\\d{3}) `", pipeline.Options{Group: by("status")}},
		{"line_format", "json", "| json | line_format `{{.status}} {{.method}}`", pipeline.Options{KeepLine: true}},
		{"line_format functions", "json", "| json | line_format `{{.status}} {{.method | lower}}`", pipeline.Options{KeepLine: true}},
		{"label_format", "logfmt", "| logfmt | label_format x=`{{.level}}-{{.currency}}`", pipeline.Options{Group: by("x")}},
		{"decolorize", "nginx", "| decolorize", pipeline.Options{KeepLine: true}},
		{"unwrap", "logfmt", "| logfmt", pipeline.Options{Group: by("level"), Unwrap: &syntax.Unwrap{Label: "duration", Convert: syntax.UnwrapDuration}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			batch := page(c.kind)
			p := compile(b, c.stages, c.opts)
			w := p.Worker()
			yardstick.Bytes(b, batch.RawBytes)
			rows := 0
			for b.Loop() {
				rows = 0
				if err := w.Run(b.Context(), batch, 0, 1<<62, func(*pipeline.Row) bool { rows++; return true }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(rows), "rows")
		})
	}
}

// compile compiles the stages behind a selector.
func compile(t testing.TB, stages string, o pipeline.Options) *pipeline.Pipeline {
	t.Helper()
	e, err := syntax.ParseLog(`{app="shop"} ` + stages)
	if err != nil {
		t.Fatalf("parse %s: %v", stages, err)
	}
	p, err := pipeline.Compile(e.Stages, o)
	if err != nil {
		t.Fatalf("compile %s: %v", stages, err)
	}
	return p
}
