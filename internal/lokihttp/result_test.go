package lokihttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// dropStats removes the stats block, whose values the tests of results don't look at.
func dropStats(t *testing.T, raw []byte) string {
	t.Helper()
	var body map[string]json.RawMessage
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, raw)
	}
	i := bytes.Index(raw, []byte(`,"stats":`))
	if i < 0 {
		t.Fatalf("no stats in %s", raw)
	}
	return string(raw[:i])
}

func TestEncodeResult(t *testing.T) {
	stream := logql.StreamResult{
		Labels: labels.FromStrings("app", "api", "path", `C:\x "y"`),
		Entries: []logql.EntryResult{
			{Time: 1767225600000000001, Line: "a\tb\n\x01é\xff", Metadata: labels.FromStrings("trace_id", "1"), Parsed: labels.FromStrings("n", "2")},
			{Time: -5, Line: "", Metadata: labels.FromStrings("trace_id", "1")},
			{Time: 7, Line: "plain", Parsed: labels.FromStrings("n", "2")},
			{Time: 8, Line: "bare"},
		},
	}
	series := []logql.SeriesResult{
		{Labels: labels.FromStrings("app", "a"), Points: []logql.Point{{Time: 1767226200000, Value: 10}, {Time: 1767226201500, Value: 0.1}, {Time: 1767226202005, Value: math.NaN()}}},
		{Labels: labels.EmptyLabels(), Points: []logql.Point{{Time: -1500, Value: math.Inf(1)}, {Time: 0, Value: math.Inf(-1)}}},
	}
	tests := []struct {
		name       string
		res        logql.Result
		categorize bool
		want       string
	}{
		{
			name: "streams", res: logql.Result{Type: logql.ResultStreams, Streams: []logql.StreamResult{stream, {Labels: labels.FromStrings("app", "b")}}},
			want: `{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"api","path":"C:\\x \"y\""},"values":[` +
				`["1767225600000000001","a\tb\n\u0001é` + "\ufffd" + `"],["-5",""],["7","plain"],["8","bare"]]},{"stream":{"app":"b"},"values":[]}]`,
		},
		{
			name: "categorized", res: logql.Result{Type: logql.ResultStreams, Streams: []logql.StreamResult{stream}}, categorize: true,
			want: `{"status":"success","data":{"resultType":"streams","encodingFlags":["categorize-labels"],"result":[{"stream":{"app":"api","path":"C:\\x \"y\""},"values":[` +
				`["1767225600000000001","a\tb\n\u0001é` + "\ufffd" + `",{"structuredMetadata":{"trace_id":"1"},"parsed":{"n":"2"}}],` +
				`["-5","",{"structuredMetadata":{"trace_id":"1"}}],["7","plain",{"parsed":{"n":"2"}}],["8","bare",{}]]}]`,
		},
		{
			name: "matrix", res: logql.Result{Type: logql.ResultMatrix, Series: series, Warnings: []string{"w"}}, categorize: true,
			want: `{"status":"success","warnings":["w"],"data":{"resultType":"matrix","result":[{"metric":{"app":"a"},"values":[[1767226200,"10"],[1767226201.500,"0.1"],[1767226202.005,"NaN"]]},` +
				`{"metric":{},"values":[[-1.500,"+Inf"],[0,"-Inf"]]}]`,
		},
		{
			name: "vector", res: logql.Result{Type: logql.ResultVector, Series: []logql.SeriesResult{{Labels: labels.EmptyLabels(), Points: []logql.Point{{Time: 1000, Value: 1e21}}}}},
			want: `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1000000000000000000000"]}]`,
		},
		{
			name: "scalar", res: logql.Result{Type: logql.ResultScalar, Scalar: logql.Point{Time: 2000, Value: 2}},
			want: `{"status":"success","data":{"resultType":"scalar","result":[2,"2"]`,
		},
		{
			name: "nothing", res: logql.Result{Type: logql.ResultStreams},
			want: `{"status":"success","data":{"resultType":"streams","result":[]`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := EncodeResult(&buf, &tt.res, tt.categorize); err != nil {
				t.Fatal(err)
			}
			if got := dropStats(t, buf.Bytes()); got != tt.want {
				t.Errorf("EncodeResult =\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestStatsShape(t *testing.T) {
	var buf bytes.Buffer
	res := logql.Result{Type: logql.ResultStreams, Stats: logql.Stats{
		ExecTime: 2 * time.Second, QueueTime: time.Second, Tasks: 3, Rows: 100, RowsKept: 7, LineBytes: 1000, MetadataBytes: 24,
		HeadRows: 40, HeadBytes: 400, ReadBytes: 55, Returned: 5, PagesTotal: 9, PagesRead: 4,
	}}
	if err := EncodeResult(&buf, &res, false); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Data struct {
			Stats struct {
				Summary                         map[string]float64
				Querier, Ingester, Cache, Index map[string]any
			}
		}
	}
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, buf.Bytes())
	}
	want := map[string]float64{
		"bytesProcessedPerSecond": 512, "linesProcessedPerSecond": 50, "totalBytesProcessed": 1024, "totalLinesProcessed": 100,
		"execTime": 2, "queueTime": 1, "subqueries": 0, "totalEntriesReturned": 5, "splits": 3, "shards": 0,
		"totalPostFilterLines": 7, "totalStructuredMetadataBytesProcessed": 24,
	}
	s := got.Data.Stats
	if fmt.Sprint(s.Summary) != fmt.Sprint(want) {
		t.Errorf("summary = %v\nwant %v", s.Summary, want)
	}
	chunk := s.Querier["store"].(map[string]any)["chunk"].(map[string]any)
	if chunk["decompressedBytes"] != 600.0 || chunk["decompressedLines"] != 60.0 || chunk["compressedBytes"] != 55.0 {
		t.Errorf("querier.store.chunk = %v", chunk)
	}
	if s.Ingester["totalReached"] != 1.0 || s.Ingester["totalLinesSent"] != 40.0 {
		t.Errorf("ingester = %v", s.Ingester)
	}
	if len(s.Cache) != 8 || s.Index["totalChunks"] != 9.0 {
		t.Errorf("cache = %v, index = %v", s.Cache, s.Index)
	}
}

func TestEncodeLists(t *testing.T) {
	one := []logql.StreamResult{{Labels: labels.FromStrings("a", `"`), Entries: []logql.EntryResult{{Time: 1767225600000000001, Line: "x"}}}}
	tests := []struct {
		name   string
		encode func(w io.Writer) error
		want   string
	}{
		{"strings", func(w io.Writer) error { return EncodeStrings(w, []string{"a", `b"`}) }, `{"status":"success","data":["a","b\""]}`},
		{"no strings", func(w io.Writer) error { return EncodeStrings(w, nil) }, `{"status":"success","data":[]}`},
		{"old strings", func(w io.Writer) error { return EncodeOldStrings(w, []string{"a"}) }, `{"values":["a"]}`},
		{"series", func(w io.Writer) error {
			return EncodeSeries(w, []labels.Labels{labels.FromStrings("a", "b"), labels.FromStrings("c", "d", "e", "f")})
		}, `{"status":"success","data":[{"a":"b"},{"c":"d","e":"f"}]}`},
		{"numbers", func(w io.Writer) error { return EncodeNumbers(w, []string{"a", "b"}, []int64{1, -2}) }, `{"a":1,"b":-2}`},
		{"fields", func(w io.Writer) error { return EncodeFields(w, "status", "success", "data", "x\n") }, `{"status":"success","data":"x\n"}`},
		{"tail", func(w io.Writer) error {
			_, err := w.Write(AppendTail(nil, one, false, 0, nil, time.Time{}))
			return err
		}, `{"streams":[{"stream":{"a":"\""},"values":[["1767225600000000001","x"]]}]}`},
		{"tail with losses", func(w io.Writer) error {
			_, err := w.Write(AppendTail([]byte("junk")[:0], nil, true, 2, []logql.Lost{{Labels: labels.FromStrings("a", "b"), Time: 7}}, time.Unix(0, 9)))
			return err
		}, `{"streams":[],"encodingFlags":["categorize-labels"],"dropped_entries":[{"timestamp":"7","labels":{"a":"b"}},{"timestamp":"9","labels":{}}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var buf bytes.Buffer
			if err := tt.encode(&buf); err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(buf.String()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	frame := string(AppendOldTail(nil, one, 1, []logql.Lost{{Labels: labels.FromStrings("a", "b"), Time: 7}}, time.Unix(0, 9)))
	if want := `{"streams":[{"labels":"{a=\"\\\"\"}","entries":[{"ts":"2026-01-01T00:00:00.000000001Z","line":"x"}]}],"dropped_entries":[{"timestamp":"7","labels":{"a":"b"}}]}`; frame != want {
		t.Errorf("AppendOldTail = %s\nwant %s", frame, want)
	}
	var buf bytes.Buffer
	if err := EncodeOld(&buf, &logql.Result{Streams: one}); err != nil {
		t.Fatal(err)
	}
	want := `{"streams":[{"labels":"{a=\"\\\"\"}","entries":[{"ts":"2026-01-01T00:00:00.000000001Z","line":"x"}]}]`
	if got := dropStats(t, buf.Bytes()); got != want {
		t.Errorf("EncodeOld = %s\nwant %s", got, want)
	}
}

func TestDrilldownLimitsIsJSON(t *testing.T) {
	l := limits.Default()
	var buf bytes.Buffer
	if err := EncodeDrilldownLimits(&buf, &l); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Limits map[string]any
	}
	if err := json.Unmarshal(buf.Bytes(), &got); err != nil {
		t.Fatalf("%v\n%s", err, buf.Bytes())
	}
	if got.Limits["max_query_length"] != "30d1h" || got.Limits["max_query_series"] != 500.0 || len(got.Limits["log_level_fields"].([]any)) == 0 {
		t.Errorf("limits = %v", got.Limits)
	}
}

// failing is a client that is gone after n writes.
type failing struct{ n int }

func (f *failing) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestEncodingStopsWhenTheClientIsGone(t *testing.T) {
	res := &logql.Result{Type: logql.ResultStreams, Streams: []logql.StreamResult{{Entries: make([]logql.EntryResult, 1e5)}}}
	w := &failing{n: 2}
	if err := EncodeResult(w, res, false); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("EncodeResult = %v, want %v", err, io.ErrClosedPipe)
	}
	if w.n < -1 {
		t.Errorf("%d writes after the one that failed", -1-w.n)
	}
}

func TestStatus(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{&ParamError{Text: "x"}, 400},
		{fmt.Errorf("deep: %w", &syntax.ParseError{Msg: "x"}), 400},
		{&logql.QueryError{Message: "x"}, 400},
		{&http.MaxBytesError{}, 413},
		{user.ErrNoOrgID, 401},
		{context.DeadlineExceeded, 504},
		{fmt.Errorf("read: %w", context.Canceled), 499},
		{io.ErrUnexpectedEOF, 500},
	}
	for _, tt := range tests {
		if got := Status(tt.err); got != tt.want {
			t.Errorf("Status(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// FuzzAppendString compares with the standard library.
func FuzzAppendString(f *testing.F) {
	for _, s := range []string{"", "plain text of some length", `say "hi" \ bye`, "a\x00\x1f\x7f\u2028é\xff\xfe", "12345678\"", "1234567é12345678"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw := appendString(nil, s)
		if !utf8.Valid(raw) {
			t.Fatalf("appendString(%q) is not UTF-8: %q", s, raw)
		}
		var got, want string
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("appendString(%q) = %s: %v", s, raw, err)
		}
		std, _ := json.Marshal(s)
		_ = json.Unmarshal(std, &want)
		if got != want {
			t.Errorf("appendString(%q) reads as %q, want %q", s, got, want)
		}
	})
}

func BenchmarkEncodeStreams(b *testing.B) {
	const (
		logfmt = `2026-01-01T00:00:00Z level=info caller=handler.go:42 msg="request done" method=GET path=/api/v1/items/4711 status=200 duration=12.5ms`
		object = `{"ts":"2026-01-01T00:00:00Z","level":"info","caller":"handler.go:42","msg":"request done","method":"GET","path":"/api/v1/items/4711","status":200,"user":"u-12"}`
	)
	for _, c := range []struct {
		name, line string
		categorize bool
	}{
		{"lines=5000/categorize=false", logfmt, false},
		{"lines=5000/categorize=true", logfmt, true},
		{"lines=5000/json", object, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			res := &logql.Result{Type: logql.ResultStreams}
			size := 0
			for s := range 10 {
				stream := logql.StreamResult{Labels: labels.FromStrings("app", "api", "pod", fmt.Sprint("api-", s))}
				for i := range 500 {
					stream.Entries = append(stream.Entries, logql.EntryResult{Time: 1767225600e9 + int64(i), Line: c.line, Metadata: labels.FromStrings("trace_id", "0af7651916cd43dd8448eb211c80319c")})
					size += len(c.line)
				}
				res.Streams = append(res.Streams, stream)
			}
			yardstick.Bytes(b, int64(size))
			for b.Loop() {
				if err := EncodeResult(io.Discard, res, c.categorize); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeMatrix(b *testing.B) {
	res := &logql.Result{Type: logql.ResultMatrix}
	for s := range 100 {
		series := logql.SeriesResult{Labels: labels.FromStrings("app", "api", "pod", fmt.Sprint("api-", s))}
		for i := range 100 {
			series.Points = append(series.Points, logql.Point{Time: 1767225600e3 + int64(i)*60e3, Value: float64(i*s) / 7})
		}
		res.Series = append(res.Series, series)
	}
	var out bytes.Buffer
	if err := EncodeResult(&out, res, false); err != nil {
		b.Fatal(err)
	}
	yardstick.Bytes(b, int64(out.Len())) // of the answer
	for b.Loop() {
		if err := EncodeResult(io.Discard, res, false); err != nil {
			b.Fatal(err)
		}
	}
}
