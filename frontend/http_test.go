package frontend_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/ingester"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
)

// mount serves the routes as the root package does, for tenant a.
func mount(cfg frontend.Config, s frontend.Service, lim limits.Provider) http.Handler {
	cfg.Now = now
	mux := http.NewServeMux()
	for _, r := range frontend.Routes(cfg, s, lim, nil) {
		mux.Handle(r.Path, r.Handler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(user.InjectOrgID(r.Context(), "a")))
	})
}

// request asks for a path with parameters name, value, name, value…
func request(h http.Handler, path string, params ...string) *httptest.ResponseRecorder {
	v := url.Values{}
	for i := 0; i < len(params); i += 2 {
		v.Add(params[i], params[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path+"?"+v.Encode(), nil))
	return w
}

// TestEndpoints asks each endpoint over a small world.
func TestEndpoints(t *testing.T) {
	h := mount(frontend.Config{}, over(t, frontend.Config{}, frontendtest.World(), limits.Default()), nil)
	const span = "start=1767225600&end=1767232800"
	tests := []struct {
		path, params string
		status       int
		want         string // the body begins with it
	}{
		{"/loki/api/v1/query_range", span + `&query={app="web"}&limit=1`, 200,
			`{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"web"},"values":[["1767232202000000000","web n=11"]]}],"stats":{"summary":{`},
		{"/loki/api/v1/query_range", span + `&query=count_over_time({app="web"}[1h])&step=1h`, 200,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"app":"web"},"values":[[1767229200,"6"],[1767232800,"6"]]}],"stats":`},
		{"/loki/api/v1/query", `time=4000000000&query=vector(1)%2Bvector(1)`, 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[4000000000,"2"]}],"stats":`},
		{"/loki/api/v1/query", `query={app="web"}`, 400, "log queries are not supported as an instant query type, please change your query to a range query type"},
		{"/loki/api/v1/query", ``, 400, "parse error"},
		{"/loki/api/v1/query_range", span + `&query={app="web"}&limit=5001`, 400,
			"max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"},
		{"/loki/api/v1/query_range", span + `&query=vector(1)&step=500ms`, 400,
			"exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter"},
		{"/loki/api/v1/query_range", `query={app="web"}&start=yesterday`, 400, "could not parse 'start' parameter"},
		{"/loki/api/v1/query_range", `query={app="web"}&start=-9000000000000000000&end=9000000000000000000`, 400, "the time range is longer"},
		{"/loki/api/v1/query_range", span + "&query=" + strings.Repeat("(", 5000), 400, "parse error"},
		{"/loki/api/v1/labels", span, 200, `{"status":"success","data":["app","env"]}`},
		{"/loki/api/v1/label", span + `&query={app="web"}`, 200, `{"status":"success","data":["app"]}`},
		{"/loki/api/v1/labels", span + `&query={app="web"} |= "x"`, 400, ""},
		{"/loki/api/v1/label/env/values", span, 200, `{"status":"success","data":["dev","prod"]}`},
		{"/loki/api/v1/label/nope/values", span, 200, `{"status":"success","data":[]}`},
		{"/loki/api/v1/series", span + `&match[]={env="dev"}&match[]={app="web"}`, 200, `{"status":"success","data":[{"app":"api","env":"dev"},{"app":"web"}]}`},
		{"/loki/api/v1/series", span + `&match={}`, 200, `{"status":"success","data":[{"app":"api","env":"dev"},{"app":"api","env":"prod"},{"app":"web"}]}`},
		{"/loki/api/v1/series", span, 400, "the parameter match[] is missing"},
		{"/loki/api/v1/index/stats", span + `&query={app="api"}`, 200, `{"streams":2,"chunks":4,"bytes":240,"entries":24}`},
		{"/loki/api/v1/index/stats", span, 400, "parse error"},
		{"/loki/api/v1/index/shards", span + `&query={app="api"}&targetBytesPerShard=1MB`, 200,
			`{"shards":[{"bounds":{"min":0,"max":18446744073709551615},"stats":{"streams":2,"chunks":4,"bytes":240,"entries":24}}],"statistics":{"summary":{`},
		{"/loki/api/v1/index/shards", span + `&query={app="api"}&targetBytesPerShard=120`, 200, `{"shards":[{"bounds":{"min":0,"max":`},
		{"/loki/api/v1/index/shards", span + `&query={app="api"}&targetBytesPerShard=0`, 400, "targetBytesPerShard must be a positive number of bytes"},
		{"/loki/api/v1/index/shards", span + `&query={app="api"}&targetBytesPerShard=many`, 400, "targetBytesPerShard must be a positive number of bytes"},
		{"/loki/api/v1/index/shards", span, 400, "parse error"},
		{"/loki/api/v1/index/volume", span + `&query={app=~".%2B"}&targetLabels=env`, 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"env":"dev"},"value":[1767232800,"120"]},{"metric":{"env":"prod"},"value":[1767232800,"120"]}]`},
		{"/loki/api/v1/index/volume", span + `&query={app=~".%2B"}&aggregateBy=labels&limit=1`, 200,
			`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"app":""},"value":[1767232800,"360"]}]`},
		{"/loki/api/v1/index/volume", span + `&query={app="web"}&aggregateBy=colour`, 400, "invalid aggregation option"},
		{"/loki/api/v1/index/volume", span + `&query={app="web"}&limit=x`, 400, `strconv.Atoi: parsing "x": invalid syntax`},
		{"/loki/api/v1/index/volume_range", span + `&query={app="web"}&step=1h`, 200,
			`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"app":"web"},"values":[[1767229199.999,"60"],[1767232800,"60"]]}]`},
		{"/loki/api/v1/index/volume_range", span + `&query={app="web"}&step=x`, 400, `cannot parse "x" to a valid duration`},
		{"/loki/api/v1/format_query", `query={app="x"}|="a"`, 200, `{"status":"success","data":"{app=\"x\"} |= \"a\""}`},
		{"/loki/api/v1/format_query", `query={app=`, 400, `{"status":"invalid-query","error":"parse error at line 1, col 6`},
		{"/config/tenant/v1/limits", ``, 200, "discover_service_name:\n    - service\n"},
		{"/loki/api/v1/drilldown-limits", ``, 200, `{"limits":{"discover_service_name":["service",`},
		{"/api/prom/query", span + `&query={app="web"}&regexp=n=1$`, 200,
			`{"streams":[{"labels":"{app=\"web\"}","entries":[{"ts":"2026-01-01T00:10:02Z","line":"web n=1"}]}],"stats":`},
		{"/api/prom/query", span + `&query=vector(1)`, 400, ""},
		{"/api/prom/label", span, 200, `{"values":["app","env"]}`},
		{"/api/prom/label/app/values", span, 200, `{"values":["api","web"]}`},
		{"/api/prom/series", span + `&match[]={app="web"}`, 200, `{"status":"success","data":[{"app":"web"}]}`},
		{"/loki/api/v1/tail", `query={app=`, 400, "parse error"},
		{"/loki/api/v1/tail", `query=rate({app="web"}[1m])`, 400, "parse error"},
		{"/loki/api/v1/tail", `query={app="web"}&delay_for=6`, 400, "delay_for can't be greater than 5"},
		{"/loki/api/v1/tail", `query={app="web"}`, 426, ""},
	}
	for _, tt := range tests {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if method == http.MethodPost && strings.HasSuffix(tt.path, "/tail") {
				continue
			}
			values := url.Values{}
			for pair := range strings.SplitSeq(tt.params, "&") {
				name, value, _ := strings.Cut(pair, "=")
				values.Add(name, strings.ReplaceAll(value, "%2B", "+"))
			}
			r := httptest.NewRequest(http.MethodGet, tt.path+"?"+values.Encode(), nil)
			if method == http.MethodPost {
				r = httptest.NewRequest(method, tt.path, strings.NewReader(values.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || !strings.HasPrefix(w.Body.String(), tt.want) {
				t.Errorf("%s %s?%.100s = %d %.400s\nwant %d %s", method, tt.path, tt.params, w.Code, w.Body, tt.status, tt.want)
			}
			if ct := w.Header().Get("Content-Type"); w.Code == 200 && ct != "application/json; charset=UTF-8" && tt.path != "/config/tenant/v1/limits" {
				t.Errorf("%s: content type %q", tt.path, ct)
			}
		}
	}
}

func TestParametersReachTheService(t *testing.T) {
	var got logql.Params
	h := mount(frontend.Config{}, &frontendtest.Fake{QueryFunc: func(_ context.Context, p *logql.Params) (*logql.Result, error) {
		got = *p
		return &logql.Result{Type: logql.ResultStreams}, nil
	}}, nil)
	r := httptest.NewRequest(http.MethodGet, "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&direction=forward&limit=5&start=1&end=2&step=15000ms&interval=3", nil)
	r.Header.Set("X-Loki-Response-Encoding-Flags", "categorize-labels")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	want := logql.Params{Query: `{a="b"}`, Start: 1e9, End: 2e9, Step: 15 * time.Second, Interval: 3 * time.Second, Limit: 5, Direction: logql.Forward, Categorize: true}
	if w.Code != 200 || got != want || !strings.Contains(w.Body.String(), `"encodingFlags":["categorize-labels"]`) {
		t.Errorf("%d %s: params %+v, want %+v", w.Code, w.Body, got, want)
	}
}

func TestErrorsBecomeStatusCodes(t *testing.T) {
	stopped := errors.New("the engine is closed")
	tests := []struct {
		err    error
		ctx    func(context.Context) context.Context
		status int
	}{
		{err: &syntax.ParseError{Msg: "x"}, status: 400},
		{err: &logql.QueryError{Kind: logql.KindSeriesLimit, Message: "maximum number of series (500) reached"}, status: 400},
		{err: fmt.Errorf("wrapped: %w", &frontend.LimitError{Limit: "l", Message: "m"}), status: 400},
		{err: &frontend.TimeoutError{After: time.Second}, status: 504},
		{err: fmt.Errorf("select: %w: replaying", ingester.ErrNotReady), status: 503},
		{err: errors.New("page is damaged"), status: 500},
		{err: context.Canceled, status: 499, ctx: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancel(ctx)
			cancel()
			return ctx
		}},
		{err: stopped, status: 503, ctx: func(ctx context.Context) context.Context {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(stopped)
			return ctx
		}},
	}
	for _, tt := range tests {
		h := mount(frontend.Config{}, &frontendtest.Fake{QueryFunc: func(context.Context, *logql.Params) (*logql.Result, error) {
			return nil, tt.err
		}}, nil)
		r := httptest.NewRequest(http.MethodGet, "/loki/api/v1/query?query=vector(1)", nil)
		if tt.ctx != nil {
			r = r.WithContext(tt.ctx(r.Context()))
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.err.Error()) {
			t.Errorf("%v: %d %s, want %d", tt.err, w.Code, w.Body, tt.status)
		}
	}
}

// tailFrame is a frame as clients read it.
type tailFrame struct {
	Streams []struct {
		Stream map[string]string
		Values [][]any
	}
	Dropped []struct {
		Timestamp string
		Labels    map[string]string
	} `json:"dropped_entries"`
}

// dial opens a tail on a test server.
func dial(t *testing.T, h http.Handler, query string) *websocket.Conn {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	conn, _, err := websocket.Dial(t.Context(), srv.URL+"/loki/api/v1/tail?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	return conn
}

var selectAll = "query=" + url.QueryEscape(`{app="web"}`)

// tailOf returns a service whose tail yields the responses, then err, or with wait stays open.
func tailOf(responses []*querier.TailResponse, err error, wait bool) *frontendtest.Fake {
	return &frontendtest.Fake{TailFunc: func(ctx context.Context, _ *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
		return func(yield func(*querier.TailResponse, error) bool) {
			for _, r := range responses {
				if !yield(r, nil) {
					return
				}
			}
			if wait {
				<-ctx.Done()
			}
			if err != nil {
				yield(nil, err)
			}
		}
	}}
}

func response(lines ...string) *querier.TailResponse {
	s := logql.StreamResult{Labels: labels.FromStrings("app", "web")}
	for i, l := range lines {
		s.Entries = append(s.Entries, logql.EntryResult{Time: int64(i), Line: l})
	}
	return &querier.TailResponse{Streams: []logql.StreamResult{s}}
}

func TestTailOverWebSocket(t *testing.T) {
	lost := response("c")
	lost.Dropped, lost.Lost = 2, []logql.Lost{{Labels: labels.FromStrings("app", "web"), Time: 5}}
	ping := frontend.Config{TailPing: time.Millisecond} // pings run beside the frames
	conn := dial(t, mount(ping, tailOf([]*querier.TailResponse{response("a", "b"), lost}, nil, false), nil), selectAll)
	var lines []string
	dropped := 0
	for {
		_, raw, err := conn.Read(t.Context())
		if err != nil {
			if websocket.CloseStatus(err) != websocket.StatusNormalClosure {
				t.Errorf("the tail ended with %v", err)
			}
			break
		}
		var f tailFrame
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		for _, s := range f.Streams {
			for _, v := range s.Values {
				lines = append(lines, s.Stream["app"]+":"+v[1].(string))
			}
		}
		dropped += len(f.Dropped)
		if len(f.Dropped) > 0 && (f.Dropped[0].Timestamp != "5" || f.Dropped[0].Labels["app"] != "web" || len(f.Dropped[1].Labels) > 0) {
			t.Errorf("lost are %v", f.Dropped)
		}
	}
	if got := strings.Join(lines, " "); got != "web:a web:b web:c" || dropped != 2 {
		t.Errorf("tail sent %q and %d losses", got, dropped)
	}
}

func TestTailTellsWhyItEnds(t *testing.T) {
	tests := []struct {
		err    error
		code   websocket.StatusCode
		reason string
	}{
		{&frontend.LimitError{Message: "max concurrent tail requests limit exceeded, count > limit (11 > 10)"}, websocket.StatusPolicyViolation, "max concurrent tail"},
		{errors.New("disk on fire " + strings.Repeat("ä", 100)), websocket.StatusInternalError, "disk on fire ä"},
	}
	for _, tt := range tests {
		conn := dial(t, mount(frontend.Config{}, tailOf(nil, tt.err, false), nil), selectAll)
		_, _, err := conn.Read(t.Context())
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != tt.code || !strings.HasPrefix(closed.Reason, tt.reason) {
			t.Errorf("tail ended with %v, want %v %q", err, tt.code, tt.reason)
		}
	}
}

// TestTailEndsWithItsClient sees that the service's tail ends when the client has gone.
func TestTailEndsWithItsClient(t *testing.T) {
	ended := make(chan struct{})
	s := &frontendtest.Fake{TailFunc: func(ctx context.Context, _ *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
		return func(yield func(*querier.TailResponse, error) bool) {
			defer close(ended)
			yield(response("a"), nil)
			<-ctx.Done()
		}
	}}
	conn := dial(t, mount(frontend.Config{}, s, nil), selectAll)
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn.Close(websocket.StatusNormalClosure, "")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the tail goes on without its client")
	}
}

// TestTailSaysGoodbye ends the context of the request, as a server does that stops.
func TestTailSaysGoodbye(t *testing.T) {
	stopping, stop := context.WithCancel(t.Context())
	inner := mount(frontend.Config{}, tailOf([]*querier.TailResponse{response("a")}, nil, true), nil)
	conn := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner.ServeHTTP(w, r.WithContext(stopping))
	}), selectAll)
	if _, _, err := conn.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, _, err := conn.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("the tail ended with %v, want %v", err, websocket.StatusGoingAway)
	}
}

// TestTailIsOver: a tail ends when it may last no longer, and says why.
func TestTailIsOver(t *testing.T) {
	cfg := frontend.Config{TailMaxDuration: 50 * time.Millisecond}
	conn := dial(t, mount(cfg, tailOf([]*querier.TailResponse{response("a")}, nil, true), nil), selectAll)
	for {
		_, _, err := conn.Read(t.Context())
		if err == nil {
			continue
		}
		if websocket.CloseStatus(err) != websocket.StatusInternalError || !strings.Contains(err.Error(), "reached tail max duration limit") {
			t.Errorf("the tail ended with %v", err)
		}
		return
	}
}

// TestSlowTailIsCutOff has a client that reads nothing while there is ever more to send.
func TestSlowTailIsCutOff(t *testing.T) {
	ended := make(chan struct{})
	big := response(strings.Repeat("x", 1<<20))
	s := &frontendtest.Fake{TailFunc: func(context.Context, *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
		return func(yield func(*querier.TailResponse, error) bool) {
			defer close(ended)
			for yield(big, nil) {
			}
		}
	}}
	dial(t, mount(frontend.Config{TailWriteTimeout: 50 * time.Millisecond}, s, nil), selectAll)
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("a client that doesn't read is not cut off")
	}
}

// TestTailDelay holds lines back as long as the client asks for.
func TestTailDelay(t *testing.T) {
	conn := dial(t, mount(frontend.Config{}, tailOf([]*querier.TailResponse{response("a")}, nil, true), nil), selectAll+"&delay_for=1")
	begin := time.Now()
	_, raw, err := conn.Read(t.Context())
	if err != nil || !bytes.Contains(raw, []byte(`"a"`)) || time.Since(begin) < 900*time.Millisecond {
		t.Errorf("after %v: %s, %v, want the line after a second", time.Since(begin), raw, err)
	}
	conn.Close(websocket.StatusNormalClosure, "")
}

func TestTagsAreCleaned(t *testing.T) {
	h := mount(frontend.Config{}, &frontendtest.Fake{}, nil)
	r := httptest.NewRequest(http.MethodGet, "/loki/api/v1/query?query=vector(1)", nil)
	r.Header.Set("X-Query-Tags", "Source=logvolhist,evil=\"a\nb\""+strings.Repeat("x", 4096))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 200 {
		t.Errorf("odd tags: %d %s", w.Code, w.Body)
	}
}
