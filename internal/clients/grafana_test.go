package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"example.com/loki"
)

// grafana sends what Grafana's Loki data source sends.
type grafana struct {
	t          *testing.T
	base       string
	client     *http.Client
	start, end string // of the dashboard, in nanoseconds
}

// newGrafana returns one in front of an engine that holds two streams of a web shop.
func newGrafana(t *testing.T) *grafana {
	t.Helper()
	eng, err := loki.Open(loki.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(eng.Handler())
	t.Cleanup(func() {
		srv.Close()
		if err := eng.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Now()
	for i := range 60 {
		at := now.Add(-time.Minute + time.Duration(i)*time.Second/2)
		level := []string{"info", "info", "error"}[i%3]
		err := eng.Push(context.Background(),
			loki.Line{
				Labels: `{namespace="shop", app="cart", pod="cart-` + strconv.Itoa(i%2) + `"}`, Time: at,
				Text:     fmt.Sprintf("level=%s msg=\"order %d done\" duration=%dms status=200", level, i, i),
				Metadata: map[string]string{"traceID": fmt.Sprintf("%016x", i)},
			},
			loki.Line{Labels: `{namespace="shop", app="front"}`, Time: at, Text: fmt.Sprintf(`{"path":"/item/%d","user":{"id":%d}}`, i, i%5)},
		)
		if err != nil {
			t.Fatal(err)
		}
	}
	return &grafana{
		t: t, base: srv.URL, client: srv.Client(),
		start: fmt.Sprint(now.Add(-15 * time.Minute).UnixNano()), end: fmt.Sprint(now.UnixNano()),
	}
}

// get sends a request with the headers that Grafana gives every one of them, and decodes the answer. The
// parameters get the dashboard's range unless they have a time.
func (g *grafana) get(path string, params url.Values, tags string, answer any) []byte {
	g.t.Helper()
	params = maps.Clone(params)
	if params == nil {
		params = url.Values{}
	}
	if !params.Has("time") {
		params.Set("start", g.start)
		params.Set("end", g.end)
	}
	header := map[string]string{
		"X-Loki-Response-Encoding-Flags": "categorize-labels",
		"User-Agent":                     "Grafana/12.3.0",
	}
	if tags != "" {
		header["X-Query-Tags"] = tags
	}
	resp, body := do(g.t, g.client, g.base, request{method: http.MethodGet, path: path, params: params, header: header})
	if resp.StatusCode != http.StatusOK {
		g.t.Fatalf("%s?%s = %d: %s", path, params.Encode(), resp.StatusCode, body)
	}
	if ct := resp.Header.Get("Content-Type"); !strings.HasPrefix(ct, "application/json") {
		g.t.Errorf("%s has the type %q", path, ct)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		g.t.Fatalf("%s: %v: %s", path, err, body)
	}
	return body
}

// series is one of a matrix or a vector.
type series struct {
	Metric map[string]string
	Values [][2]any
	Value  [2]any
}

// answer is what queries return.
type answer[T any] struct {
	Status string
	Data   struct {
		ResultType    string
		EncodingFlags []string
		Result        []T
		Stats         map[string]json.RawMessage
	}
}

// points reads a series as Grafana does: times are numbers, values are texts.
func points(t *testing.T, s series) (times, values []float64) {
	t.Helper()
	for _, p := range s.Values {
		at, isNumber := p[0].(float64)
		text, isText := p[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if !isNumber || !isText || err != nil {
			t.Fatalf("the point %v is not [number, text of a number]", p)
		}
		times, values = append(times, at), append(values, v)
	}
	return times, values
}

func TestGrafanaHealthCheck(t *testing.T) {
	g := newGrafana(t)
	var a answer[series]
	g.get("/loki/api/v1/query", url.Values{"query": {"vector(1)+vector(1)"}, "time": {"4000000000"}, "direction": {"backward"}}, "", &a)
	if a.Status != "success" || a.Data.ResultType != "vector" || len(a.Data.Result) != 1 || a.Data.Result[0].Value[1] != "2" {
		t.Errorf("health check = %+v, want the vector 2", a)
	}
}

func TestGrafanaLogs(t *testing.T) {
	g := newGrafana(t)
	var a answer[stream]
	body := g.get("/loki/api/v1/query_range", url.Values{
		"query": {`{app="cart"} |= "order" | logfmt`}, "limit": {"1000"}, "direction": {"backward"}, "step": {"2000ms"},
	}, "", &a)
	if a.Data.ResultType != "streams" || !slices.Equal(a.Data.EncodingFlags, []string{"categorize-labels"}) {
		t.Errorf("resultType %s, encodingFlags %v", a.Data.ResultType, a.Data.EncodingFlags)
	}
	// Grafana reads the answer as it comes and must know type and flags before it sees a stream.
	typeAt, flagsAt, resultAt := strings.Index(string(body), `"resultType"`), strings.Index(string(body), `"encodingFlags"`), strings.Index(string(body), `"result"`)
	if !(typeAt < resultAt && flagsAt < resultAt) {
		t.Errorf("resultType at %d and encodingFlags at %d, want both before result at %d", typeAt, flagsAt, resultAt)
	}
	if len(a.Data.Result) != 2 {
		t.Fatalf("%d streams, want those of 2 pods: metadata and parsed labels must not split them", len(a.Data.Result))
	}
	entries := 0
	for _, s := range a.Data.Result {
		if s.Stream["service_name"] != "cart" || s.Stream["namespace"] != "shop" || len(s.Stream) != 4 {
			t.Errorf("labels %v, want namespace, app, pod and service_name", s.Stream)
		}
		last := int64(1<<63 - 1)
		for _, v := range s.Values {
			at, err := strconv.ParseInt(v.time, 10, 64)
			if err != nil || at > last {
				t.Errorf("time %q after %d: want nanoseconds, newest first", v.time, last)
			}
			last = at
			if v.metadata["traceID"] == "" || v.metadata["detected_level"] == "" || v.parsed["status"] != "200" || v.parsed["traceID"] != "" {
				t.Errorf("metadata %v, parsed %v", v.metadata, v.parsed)
			}
			entries++
		}
	}
	if entries != 60 {
		t.Errorf("%d entries, want 60", entries)
	}
	for _, block := range []string{"summary", "querier", "ingester", "cache", "index"} {
		if len(a.Data.Stats[block]) == 0 {
			t.Errorf("stats without %s", block)
		}
	}
	var summary struct{ BytesProcessedPerSecond, TotalBytesProcessed, ExecTime float64 }
	if err := json.Unmarshal(a.Data.Stats["summary"], &summary); err != nil || summary.TotalBytesProcessed <= 0 || summary.ExecTime <= 0 {
		t.Errorf("stats.summary = %s (%v)", a.Data.Stats["summary"], err)
	}

	// The older pages of "Load more" end where this one began: the end is excluded.
	oldest := a.Data.Result[0].Values[len(a.Data.Result[0].Values)-1].time
	params := url.Values{"query": {`{app="cart"}`}, "start": {g.start}, "end": {oldest}, "limit": {"1000"}}
	resp, older := do(t, g.client, g.base, request{method: http.MethodGet, path: "/loki/api/v1/query_range", params: params})
	if resp.StatusCode != http.StatusOK || strings.Contains(string(older), `"`+oldest+`"`) {
		t.Errorf("a page that ends at %s = %d: %s", oldest, resp.StatusCode, older)
	}
}

// TestGrafanaSupplements sends what Explore asks beside the logs: the histogram above them, samples below
// metric queries, the estimate beside the editor.
func TestGrafanaSupplements(t *testing.T) {
	g := newGrafana(t)
	var volume answer[series]
	g.get("/loki/api/v1/query_range", url.Values{
		"query": {`sum by (level, detected_level) (count_over_time({app="cart"} |= "order" | logfmt | drop __error__[2s]))`},
		"step":  {"2000ms"}, "direction": {"backward"}, "limit": {"1000"},
	}, "Source=logvolhist", &volume)
	if volume.Data.ResultType != "matrix" || len(volume.Data.Result) != 2 {
		t.Fatalf("histogram = %+v, want info and error", volume)
	}
	total := 0.0
	for _, s := range volume.Data.Result {
		if s.Metric["detected_level"] == "" || s.Metric["level"] != s.Metric["detected_level"] {
			t.Errorf("histogram of %v", s.Metric)
		}
		times, values := points(t, s)
		for i, v := range values {
			if i > 0 && times[i]-times[i-1] < 2 {
				t.Errorf("points at %v and %v, the step is 2 s", times[i-1], times[i])
			}
			total += v
		}
	}
	if total != 60 {
		t.Errorf("the histogram counts %v lines, want 60", total)
	}

	var sample answer[stream]
	g.get("/loki/api/v1/query_range", url.Values{"query": {`{app="front"} | json`}, "limit": {"20"}, "step": {"2000ms"}}, "Source=logsample", &sample)
	if len(sample.Data.Result) != 1 || len(sample.Data.Result[0].Values) != 20 || sample.Data.Result[0].Values[0].parsed["user_id"] == "" {
		t.Errorf("sample = %+v, want 20 lines with the field user_id", sample.Data.Result)
	}
	var one answer[stream]
	g.get("/loki/api/v1/query_range", url.Values{"query": {`{app="front"}`}, "limit": {"10"}, "step": {"2000ms"}}, "Source=datasample", &one)
	if len(one.Data.Result) != 1 || len(one.Data.Result[0].Values) != 10 {
		t.Errorf("data sample = %+v, want 10 lines", one.Data.Result)
	}

	var stats map[string]float64
	g.get("/loki/api/v1/index/stats", url.Values{"query": {`{app="cart"}`}}, "", &stats)
	if stats["streams"] != 2 || stats["entries"] != 60 || stats["bytes"] <= 0 || len(stats) != 4 {
		t.Errorf("stats = %v, want streams 2, chunks, entries 60, bytes and no envelope", stats)
	}

	// A broken query: the text is what Grafana shows.
	resp, body := do(t, g.client, g.base, request{
		method: http.MethodGet, path: "/loki/api/v1/query_range",
		params: url.Values{"query": {`{app="cart"} |= `}, "start": {g.start}, "end": {g.end}, "step": {"2000ms"}},
	})
	if resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "parse error") {
		t.Errorf("a broken query = %d %s, want 400 and a parse error", resp.StatusCode, body)
	}
}

// TestGrafanaBuilder sends what the query builder, variables and the label browser send.
func TestGrafanaBuilder(t *testing.T) {
	g := newGrafana(t)
	type list struct {
		Status string
		Data   []string
	}
	expectList := func(path string, params url.Values, want ...string) {
		t.Helper()
		var a list
		g.get(path, params, "", &a)
		if a.Status != "success" || !slices.Equal(a.Data, want) {
			t.Errorf("%s %v = %+v, want %v", path, params, a, want)
		}
	}
	expectList("/loki/api/v1/labels", nil, "app", "namespace", "pod", "service_name")
	expectList("/loki/api/v1/labels", url.Values{"query": {`{app="front"}`}}, "app", "namespace", "service_name")
	expectList("/loki/api/v1/label/app/values", nil, "cart", "front")
	expectList("/loki/api/v1/label/pod/values", url.Values{"query": {`{app="cart"}`}}, "cart-0", "cart-1")
	expectList("/loki/api/v1/label/none/values", nil)

	var found struct{ Data []map[string]string }
	g.get("/loki/api/v1/series", url.Values{"match[]": {`{app="cart"}`}}, "", &found)
	if len(found.Data) != 2 || found.Data[0]["namespace"] != "shop" {
		t.Errorf("series = %v", found.Data)
	}
	var labels struct {
		DetectedLabels []struct {
			Label       string
			Cardinality int
		}
	}
	g.get("/loki/api/v1/detected_labels", nil, "", &labels)
	if len(labels.DetectedLabels) != 4 {
		t.Errorf("detected labels = %+v, want 4", labels.DetectedLabels)
	}
	var format struct{ Status, Data string }
	g.get("/loki/api/v1/format_query", url.Values{"query": {`sum(rate({app="cart"}|="x"[5m]))by(app)`}}, "", &format)
	if format.Status != "success" || !strings.Contains(format.Data, `|= "x"`) {
		t.Errorf("format = %+v", format)
	}
	var build map[string]string
	g.get("/loki/api/v1/status/buildinfo", nil, "", &build)
	if build["version"] == "" {
		t.Errorf("build info = %v", build)
	}
}

// TestGrafanaDrilldown sends what Logs Drilldown sends from its landing page to the patterns of a service.
func TestGrafanaDrilldown(t *testing.T) {
	g := newGrafana(t)
	var config struct {
		Limits map[string]any
		// Drilldown hides the tab of patterns without it.
		PatternIngesterEnabled bool `json:"pattern_ingester_enabled"`
		Version                string
	}
	g.get("/loki/api/v1/drilldown-limits", nil, "", &config)
	if config.Limits["volume_enabled"] != true || !config.PatternIngesterEnabled || config.Version == "" {
		t.Errorf("drilldown limits = %+v", config)
	}

	var services answer[series]
	g.get("/loki/api/v1/index/volume", url.Values{
		"query": {`{service_name=~".+"}`}, "targetLabels": {"service_name"}, "limit": {"5000"},
	}, "", &services)
	sizes := make(map[string]bool)
	for _, s := range services.Data.Result {
		text, _ := s.Value[1].(string)
		n, err := strconv.ParseFloat(text, 64)
		sizes[s.Metric["service_name"]] = err == nil && n > 0
	}
	if services.Data.ResultType != "vector" || !maps.Equal(sizes, map[string]bool{"cart": true, "front": true}) {
		t.Errorf("volume = %+v, want a vector of cart and front", services.Data.Result)
	}
	var overTime answer[series]
	g.get("/loki/api/v1/index/volume_range", url.Values{
		"query": {`{service_name="cart"}`}, "targetLabels": {"service_name"}, "step": {"60000ms"},
	}, "", &overTime)
	if overTime.Data.ResultType != "matrix" || len(overTime.Data.Result) != 1 {
		t.Errorf("volume over time = %+v, want a matrix of one series", overTime.Data.Result)
	} else if times, _ := points(t, overTime.Data.Result[0]); len(times) == 0 {
		t.Error("volume over time has no points")
	}

	type field struct {
		Label       string
		Type        string
		Cardinality int
		Parsers     []string
		JSONPath    []string
	}
	var fields struct{ Fields []field }
	g.get("/loki/api/v1/detected_fields", url.Values{"query": {`{service_name="cart"}`}, "line_limit": {"1000"}, "limit": {"1000"}}, "", &fields)
	byName := make(map[string]field)
	for _, f := range fields.Fields {
		byName[f.Label] = f
	}
	if f := byName["duration"]; f.Type != "duration" || f.Cardinality == 0 || !slices.Equal(f.Parsers, []string{"logfmt"}) {
		t.Errorf("field duration = %+v, want a duration of logfmt", f)
	}
	if f := byName["traceID"]; f.Cardinality == 0 || f.Parsers != nil {
		t.Errorf("field traceID = %+v, want one that needs no parser", f)
	}
	fields.Fields = nil
	g.get("/loki/api/v1/detected_fields", url.Values{"query": {`{service_name="front"}`}}, "", &fields)
	if i := slices.IndexFunc(fields.Fields, func(f field) bool { return f.Label == "user_id" }); i < 0 ||
		!slices.Equal(fields.Fields[i].JSONPath, []string{"user", "id"}) {
		t.Errorf("fields = %+v, want user_id at user.id", fields.Fields)
	}
	var values struct{ Values []string }
	g.get("/loki/api/v1/detected_field/status/values", url.Values{"query": {`{service_name="cart"} | logfmt`}}, "", &values)
	if !slices.Equal(values.Values, []string{"200"}) {
		t.Errorf("values of status = %v", values.Values)
	}

	var patterns struct {
		Status string
		Data   []struct {
			Pattern, Level string
			Samples        [][2]int64
		}
	}
	g.get("/loki/api/v1/patterns", url.Values{"query": {`{service_name="cart"}`}, "step": {"10000ms"}}, "", &patterns)
	if patterns.Status != "success" || len(patterns.Data) == 0 || !strings.Contains(patterns.Data[0].Pattern, "<_>") || len(patterns.Data[0].Samples) == 0 {
		t.Errorf("patterns = %+v", patterns)
	}

	// Its panels aggregate by fields of whatever kind a service logs.
	for _, query := range []string{
		`sum by (status) (count_over_time({service_name="cart"} | json | logfmt | drop __error__, __error_details__ | status!="" [10s]))`,
		`quantile_over_time(0.99, {service_name="cart"} | logfmt | duration!="" | unwrap duration(duration) | __error__="" [10s]) by ()`,
		`sum by (detected_level) (count_over_time({service_name="cart"} | detected_level != "" [10s]))`,
	} {
		var a answer[series]
		g.get("/loki/api/v1/query_range", url.Values{"query": {query}, "step": {"10000ms"}}, "Source=grafana-lokiexplore-app", &a)
		if a.Data.ResultType != "matrix" || len(a.Data.Result) == 0 {
			t.Errorf("%s = %+v, want series", query, a.Data)
		}
	}
}

func TestGrafanaLive(t *testing.T) {
	g := newGrafana(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	target := "ws" + strings.TrimPrefix(g.base, "http") + "/loki/api/v1/tail?" + url.Values{"query": {`{app="cart"}`}, "limit": {"10"}, "start": {g.start}}.Encode()
	conn, _, err := websocket.Dial(ctx, target, &websocket.DialOptions{
		HTTPHeader: http.Header{"X-Loki-Response-Encoding-Flags": {"categorize-labels"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	read := func() (entries []value) {
		t.Helper()
		kind, frame, err := conn.Read(ctx)
		if err != nil || kind != websocket.MessageText {
			t.Fatalf("frame of kind %v: %v", kind, err)
		}
		var a struct {
			Streams       []stream
			EncodingFlags []string
		}
		if err := json.Unmarshal(frame, &a); err != nil {
			t.Fatalf("%v: %s", err, frame)
		}
		if !slices.Equal(a.EncodingFlags, []string{"categorize-labels"}) {
			t.Errorf("encodingFlags %v in %s", a.EncodingFlags, frame)
		}
		for _, s := range a.Streams {
			entries = append(entries, s.Values...)
		}
		return entries
	}
	var before []value
	for len(before) < 10 {
		before = append(before, read()...)
	}
	if len(before) != 10 {
		t.Errorf("%d entries from before, the limit is 10", len(before))
	}
	resp, body := do(t, g.client, g.base, request{
		method: http.MethodPost, path: "/loki/api/v1/push", header: map[string]string{"Content-Type": "application/json"},
		body: pushBody(map[string]string{"app": "cart"}, time.Now(), "level=warn a new line"),
	})
	if resp.StatusCode != http.StatusNoContent {
		t.Fatalf("push = %d: %s", resp.StatusCode, body)
	}
	if got := read(); len(got) != 1 || got[0].line != "level=warn a new line" || got[0].metadata["detected_level"] != "warn" {
		t.Errorf("live entries %+v, want the new line", got)
	}
	if err := conn.Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Errorf("close: %v", err)
	}

	// A query that can't be tailed is refused before the connection is one.
	_, refused, err := websocket.Dial(ctx, strings.Replace(target, "query=", "query=x", 1), nil)
	if err == nil || refused == nil || refused.StatusCode != http.StatusBadRequest {
		t.Errorf("a broken tail: %v, %v; want 400", refused, err)
	}
}
