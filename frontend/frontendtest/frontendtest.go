// Package frontendtest has the tests that every frontend.Service must pass, and a fake.
package frontendtest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/frontend"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
)

// Fake is a frontend.Service of functions; those that are nil answer with nothing.
type Fake struct {
	QueryFunc       func(context.Context, *logql.Params) (*logql.Result, error)
	LabelsFunc      func(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValuesFunc func(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	SeriesFunc      func(ctx context.Context, start, end int64, matchers [][]*labels.Matcher) ([]labels.Labels, error)
	IndexStatsFunc  func(ctx context.Context, start, end int64, matchers []*labels.Matcher) (frontend.IndexStats, error)
	IndexShardsFunc func(ctx context.Context, start, end int64, matchers []*labels.Matcher, targetBytes int64) ([]frontend.IndexShard, error)
	VolumeFunc      func(context.Context, *frontend.VolumeRequest) (*logql.Result, error)
	TailFunc        func(context.Context, *querier.TailRequest) iter.Seq2[*querier.TailResponse, error]
}

var _ frontend.Service = (*Fake)(nil)

// Query implements frontend.Service.
func (f *Fake) Query(ctx context.Context, p *logql.Params) (*logql.Result, error) {
	if f.QueryFunc == nil {
		return &logql.Result{Type: logql.ResultStreams}, nil
	}
	return f.QueryFunc(ctx, p)
}

// Labels implements frontend.Service.
func (f *Fake) Labels(ctx context.Context, start, end int64, m []*labels.Matcher) ([]string, error) {
	if f.LabelsFunc == nil {
		return nil, nil
	}
	return f.LabelsFunc(ctx, start, end, m)
}

// LabelValues implements frontend.Service.
func (f *Fake) LabelValues(ctx context.Context, name string, start, end int64, m []*labels.Matcher) ([]string, error) {
	if f.LabelValuesFunc == nil {
		return nil, nil
	}
	return f.LabelValuesFunc(ctx, name, start, end, m)
}

// Series implements frontend.Service.
func (f *Fake) Series(ctx context.Context, start, end int64, m [][]*labels.Matcher) ([]labels.Labels, error) {
	if f.SeriesFunc == nil {
		return nil, nil
	}
	return f.SeriesFunc(ctx, start, end, m)
}

// IndexStats implements frontend.Service.
func (f *Fake) IndexStats(ctx context.Context, start, end int64, m []*labels.Matcher) (frontend.IndexStats, error) {
	if f.IndexStatsFunc == nil {
		return frontend.IndexStats{}, nil
	}
	return f.IndexStatsFunc(ctx, start, end, m)
}

// IndexShards implements frontend.Service.
func (f *Fake) IndexShards(ctx context.Context, start, end int64, m []*labels.Matcher, targetBytes int64) ([]frontend.IndexShard, error) {
	if f.IndexShardsFunc == nil {
		return []frontend.IndexShard{{Max: math.MaxUint64}}, nil
	}
	return f.IndexShardsFunc(ctx, start, end, m, targetBytes)
}

// Volume implements frontend.Service.
func (f *Fake) Volume(ctx context.Context, req *frontend.VolumeRequest) (*logql.Result, error) {
	if f.VolumeFunc == nil {
		return &logql.Result{Type: logql.ResultVector}, nil
	}
	return f.VolumeFunc(ctx, req)
}

// Tail implements frontend.Service.
func (f *Fake) Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
	if f.TailFunc == nil {
		return func(func(*querier.TailResponse, error) bool) {}
	}
	return f.TailFunc(ctx, req)
}

const (
	second = int64(time.Second)
	hour   = int64(time.Hour)
)

// Now is the clock of the services under test.
var Now = time.Unix(1767232800, 0)

var (
	api = labels.FromStrings("app", "api", "env", "prod")
	dev = labels.FromStrings("app", "api", "env", "dev")
	web = labels.FromStrings("app", "web")
)

// World returns what the services of Contract read: in the two hours before Now a line each ten minutes in
// three streams, the first hour stored and the second in the ingester.
func World() *queriertest.World {
	w := &queriertest.World{Tenant: "a"}
	start := Now.UnixNano() - 2*hour
	for part := range int64(2) {
		var rows []logqltest.Row
		for i := range int64(6) {
			at := start + part*hour + i*600*second
			n := part*6 + i
			rows = append(rows,
				logqltest.Row{Stream: api, Time: at, Line: fmt.Sprintf("api n=%d", n)},
				logqltest.Row{Stream: dev, Time: at + second, Line: fmt.Sprintf("dev n=%d", n)},
				logqltest.Row{Stream: web, Time: at + 2*second, Line: fmt.Sprintf("web n=%d", n)})
		}
		w.Add(&queriertest.Part{ID: queriertest.ID(uint64(part + 1)), Rows: rows, Stored: part == 0, Held: part == 1})
	}
	return w
}

// Contract tests services that newService makes over a querier that reads w, for tenants with the limits
// lim and with the clock at Now.
func Contract(t *testing.T, newService func(t *testing.T, w *queriertest.World, lim limits.Limits) frontend.Service) {
	start, end := Now.UnixNano()-2*hour, Now.UnixNano()
	ctx := func(t *testing.T) context.Context { return user.InjectOrgID(t.Context(), "a") }
	ask := func(t *testing.T, s frontend.Service, p logql.Params) (string, error) {
		t.Helper()
		res, err := s.Query(ctx(t), &p)
		if err != nil {
			return "", err
		}
		return text(res), nil
	}

	t.Run("answers", func(t *testing.T) {
		s := newService(t, World(), limits.Default())
		step := 30 * time.Minute
		for _, tt := range []struct {
			name string
			p    logql.Params
			want string
		}{
			{"backward", logql.Params{Query: `{app="api", env="prod"}`, Start: start, End: end, Limit: 2}, "api n=11|api n=10"},
			{"forward", logql.Params{Query: `{env="dev"}`, Start: start, End: end, Limit: 2, Direction: logql.Forward}, "dev n=0|dev n=1"},
			{"over both parts", logql.Params{Query: `{app="web"} |~ "n=(5|6)"`, Start: start, End: end, Limit: 9}, "web n=6|web n=5"},
			{"instant", logql.Params{Query: `sum(count_over_time({app=~".+"}[2h]))`, Start: end, End: end}, "35@1767232800"},
			{"aligned", logql.Params{Query: `count_over_time({app="web"}[30m])`, Start: start + 100*second, End: start + hour + second, Step: step},
				"3@1767227400|3@1767229200|3@1767231000"},
			{"literal", logql.Params{Query: `1 + 1`, Start: end, End: end}, "2"},
			{"vector", logql.Params{Query: `vector(1)+vector(1)`, Start: end, End: end}, "2@1767232800"},
			{"two leaves", logql.Params{Query: `sum(count_over_time({env="dev"}[1h])) + sum(count_over_time({app="web"}[1h]))`, Start: start + hour, End: start + hour}, "12@1767229200"},
		} {
			got, err := ask(t, s, tt.p)
			if err != nil || got != tt.want {
				t.Errorf("%s: got %q, %v, want %q", tt.name, got, err, tt.want)
			}
		}
		if _, err := s.Query(t.Context(), &logql.Params{Query: `vector(1)`}); !errors.Is(err, user.ErrNoOrgID) {
			t.Errorf("Query without tenant = %v, want %v", err, user.ErrNoOrgID)
		}
		var parse *syntax.ParseError
		if _, err := ask(t, s, logql.Params{Query: `{app=`, Start: start, End: end}); !errors.As(err, &parse) {
			t.Errorf("Query of nonsense = %v, want a parse error", err)
		}
	})

	t.Run("limits", func(t *testing.T) {
		lim := limits.Default()
		lim.MaxQueryRange = 24 * time.Hour
		lim.MaxStreamsMatchersPerQuery = 3
		s := newService(t, World(), lim)
		for _, tt := range []struct {
			p     logql.Params
			limit string // of the LimitError; empty for a QueryError
			text  string
		}{
			{logql.Params{Query: `{app="api"}`, Start: start, End: end, Limit: 5001}, "max_entries_limit_per_query",
				"max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"},
			{logql.Params{Query: `{app="api"}`, Start: end - 800*hour, End: end, Limit: 1}, "max_query_length",
				"the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)"},
			{logql.Params{Query: `{app="api"}`, Start: -1 << 62, End: 1<<62 + 1, Limit: 1}, "max_query_length", "exceeds the limit"},
			{logql.Params{Query: `rate({app="api"}[2d])`, Start: start, End: end, Step: time.Hour}, "max_query_range", "range: 2d, limit: 1d"},
			{logql.Params{Query: `{a="1", b="2", c="3", d="4"}`, Start: start, End: end, Limit: 1}, "max_streams_matchers_per_query", "(4 > 3)"},
			{logql.Params{Query: strings.Repeat(`rate({a="b"}[1m]) + `, 512) + "1", Start: end, End: end}, "", ""},
			{logql.Params{Query: strings.Repeat(`rate({a="b"}[1m]) + `, 512) + `rate({a="b"}[1m])`, Start: end, End: end}, "max_query_ranges", "513"},
			{logql.Params{Query: `vector(1)`, Start: start, End: start + 11_001*second, Step: time.Second}, "points", "11,000"},
		} {
			_, err := ask(t, s, tt.p)
			var limit *frontend.LimitError
			switch {
			case tt.limit == "":
				if err != nil {
					t.Errorf("%.40s: %v", tt.p.Query, err)
				}
			case tt.limit == "points":
				if !errors.Is(err, logql.KindPoints) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("%.40s: %v, want %q", tt.p.Query, err, tt.text)
				}
			case !errors.Is(err, frontend.ErrLimit) || !errors.As(err, &limit) || limit.Limit != tt.limit || !strings.Contains(err.Error(), tt.text):
				t.Errorf("%.40s: %v, want %s: %q", tt.p.Query, err, tt.limit, tt.text)
			}
		}
	})

	t.Run("bytes to read", func(t *testing.T) {
		lim := limits.Default()
		lim.MaxQueryBytesRead = 100
		s := newService(t, World(), lim)
		_, err := ask(t, s, logql.Params{Query: `{app="api"}`, Start: start, End: end, Limit: 1})
		if !errors.Is(err, frontend.ErrLimit) || !strings.Contains(err.Error(), "the query would read too many bytes (query: 240 B, limit: 100 B)") {
			t.Errorf("Query = %v", err)
		}
		if _, err := ask(t, s, logql.Params{Query: `{app="api"}`, Start: end - 1000*second, End: end, Limit: 1}); err != nil {
			t.Errorf("Query of less: %v", err)
		}
	})

	t.Run("lookback", func(t *testing.T) {
		lim := limits.Default()
		lim.MaxQueryLookback = 30 * time.Minute
		s := newService(t, World(), lim)
		for _, tt := range []struct {
			p    logql.Params
			want string
		}{
			{logql.Params{Query: `{app="web"}`, Start: start, End: end, Limit: 10}, "web n=11|web n=10|web n=9"},
			{logql.Params{Query: `{app="web"}`, Start: start, End: start + hour, Limit: 10}, ""},
			{logql.Params{Query: `count_over_time({app="web"}[1h])`, Start: start, End: start}, ""},
			{logql.Params{Query: `count_over_time({app="web"}[10m])`, Start: start, End: end, Step: time.Hour}, "1@1767232800"},
		} {
			got, err := ask(t, s, tt.p)
			if err != nil || got != tt.want {
				t.Errorf("%s: got %q, %v, want %q", tt.p.Query, got, err, tt.want)
			}
		}
		names, err := s.LabelValues(ctx(t), "app", start, start+hour, nil)
		if err != nil || len(names) != 0 {
			t.Errorf("LabelValues = %v, %v, want none", names, err)
		}
	})

	t.Run("unaligned", func(t *testing.T) {
		lim := limits.Default()
		lim.SplitQueriesByInterval = 0
		s := newService(t, World(), lim)
		got, err := ask(t, s, logql.Params{Query: `vector(1)`, Start: 7 * second, End: 20 * second, Step: 10 * time.Second})
		if want := "1@7|1@17"; err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	})

	t.Run("timeout", func(t *testing.T) {
		lim := limits.Default()
		lim.QueryTimeout = time.Nanosecond
		_, err := ask(t, newService(t, World(), lim), logql.Params{Query: `{app="api"}`, Start: start, End: end, Limit: 1})
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "query_timeout of 1ns") {
			t.Errorf("Query = %v, want a timeout", err)
		}
	})

	t.Run("cancel", func(t *testing.T) {
		s := newService(t, World(), limits.Default())
		gone, cancel := context.WithCancel(ctx(t))
		cancel()
		if _, err := s.Query(gone, &logql.Params{Query: `{app="api"}`, Start: start, End: end, Limit: 1}); !errors.Is(err, context.Canceled) {
			t.Errorf("Query = %v, want %v", err, context.Canceled)
		}
	})

	t.Run("lists", func(t *testing.T) {
		s := newService(t, World(), limits.Default())
		is := func(name, value string) []*labels.Matcher {
			return []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, name, value)}
		}
		if got, err := s.Labels(ctx(t), start, end, is("app", "web")); err != nil || fmt.Sprint(got) != "[app]" {
			t.Errorf("Labels = %v, %v", got, err)
		}
		if got, err := s.LabelValues(ctx(t), "env", start, end, nil); err != nil || fmt.Sprint(got) != "[dev prod]" {
			t.Errorf("LabelValues = %v, %v", got, err)
		}
		got, err := s.Series(ctx(t), start, end, [][]*labels.Matcher{is("app", "api"), is("env", "dev"), is("app", "web")})
		if want := fmt.Sprint([]labels.Labels{dev, api, web}); err != nil || fmt.Sprint(got) != want {
			t.Errorf("Series = %v, %v, want %s", got, err, want)
		}
		stats, err := s.IndexStats(ctx(t), start, end, is("app", "api"))
		if want := (frontend.IndexStats{Streams: 2, Chunks: 4, Entries: 24, Bytes: 240}); err != nil || stats != want {
			t.Errorf("IndexStats = %+v, %v, want %+v", stats, err, want)
		}
		for target, want := range map[int64]int{1: 3, 120: 3, 200: 2, 1 << 40: 1} {
			shards, err := s.IndexShards(ctx(t), start, end, nil, target)
			if err != nil || len(shards) != want {
				t.Errorf("IndexShards of %d bytes = %+v, %v, want %d", target, shards, err, want)
				continue
			}
			checkShards(t, shards, frontend.IndexStats{Streams: 3, Chunks: 6, Entries: 36, Bytes: 360})
		}
		shards, err := s.IndexShards(ctx(t), start, end, is("app", "nobody"), 1)
		if err != nil || len(shards) != 1 {
			t.Errorf("IndexShards of nothing = %+v, %v", shards, err)
		} else {
			checkShards(t, shards, frontend.IndexStats{})
		}
		if _, err := s.Series(ctx(t), start, end, make([][]*labels.Matcher, 1000)); !errors.Is(err, frontend.ErrLimit) {
			t.Errorf("Series of many selectors = %v, want %v", err, frontend.ErrLimit)
		}
	})

	t.Run("volume", func(t *testing.T) {
		testVolume(t, newService(t, World(), limits.Default()), ctx(t), start, end)
		lim := limits.Default()
		lim.VolumeEnabled = false
		if _, err := newService(t, World(), lim).Volume(ctx(t), &frontend.VolumeRequest{Start: start, End: end}); !errors.Is(err, frontend.ErrLimit) {
			t.Errorf("Volume though it is off = %v, want %v", err, frontend.ErrLimit)
		}
	})

	t.Run("tail", func(t *testing.T) {
		lim := limits.Default()
		lim.MaxConcurrentTailRequests = 1
		s := newService(t, World(), lim)
		req := &querier.TailRequest{Query: `{app="web"}`, Start: start, Limit: 2}
		var lines []string
		for res, err := range s.Tail(ctx(t), req) {
			if err != nil {
				t.Fatal(err)
			}
			for _, stream := range res.Streams {
				for _, e := range stream.Entries {
					lines = append(lines, e.Line)
				}
			}
			for _, err := range s.Tail(ctx(t), req) {
				if !errors.Is(err, frontend.ErrLimit) || !strings.Contains(err.Error(), "(2 > 1)") {
					t.Errorf("second tail = %v, want %v", err, frontend.ErrLimit)
				}
			}
			break
		}
		if got := strings.Join(lines, "|"); got != "web n=10|web n=11" {
			t.Errorf("tail got %q", got)
		}
		// The first one has left. Another process learns of that a moment later.
		for end := time.Now().Add(10 * time.Second); ; {
			var first error
			for _, first = range s.Tail(ctx(t), req) {
				break
			}
			if first == nil {
				break
			}
			if !errors.Is(first, frontend.ErrLimit) || time.Now().After(end) {
				t.Fatalf("tail after the first one has ended: %v", first)
			}
		}
	})
}

func testVolume(t *testing.T, s frontend.Service, ctx context.Context, start, end int64) {
	t.Helper()
	all := []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "app", ".+")}
	for _, tt := range []struct {
		name string
		req  frontend.VolumeRequest
		want string
	}{
		{"by matched label", frontend.VolumeRequest{}, `{app="api"} 240@1767232800|{app="web"} 120@1767232800`},
		{"by target", frontend.VolumeRequest{TargetLabels: []string{"env"}}, `{env="dev"} 120@1767232800|{env="prod"} 120@1767232800`},
		{"by targets", frontend.VolumeRequest{TargetLabels: []string{"env", "app"}}, `{app="api", env="dev"} 120@1767232800|{app="api", env="prod"} 120@1767232800`},
		{"by label", frontend.VolumeRequest{ByLabel: true}, `{app=""} 360@1767232800|{env=""} 240@1767232800`},
		{"by label and target", frontend.VolumeRequest{ByLabel: true, TargetLabels: []string{"env"}}, `{env=""} 240@1767232800`},
		{"limit", frontend.VolumeRequest{Limit: 1}, `{app="api"} 240@1767232800`},
		{"range", frontend.VolumeRequest{Step: time.Hour, TargetLabels: []string{"env"}},
			`{env="dev"} 60@1767229199.999|60@1767232800|{env="prod"} 60@1767229199.999|60@1767232800`},
		{"range of one step", frontend.VolumeRequest{Step: 3 * time.Hour}, `{app="api"} 240@1767232800|{app="web"} 120@1767232800`},
	} {
		tt.req.Start, tt.req.End, tt.req.Matchers = start, end, all
		res, err := s.Volume(ctx, &tt.req)
		if err != nil {
			t.Errorf("volume %s: %v", tt.name, err)
			continue
		}
		var words []string
		for _, series := range res.Series {
			words = append(words, series.Labels.String()+" "+text(&logql.Result{Series: []logql.SeriesResult{series}}))
		}
		if got := strings.Join(words, "|"); got != tt.want {
			t.Errorf("volume %s:\ngot  %s\nwant %s", tt.name, got, tt.want)
		}
		if want := map[bool]logql.ResultType{true: logql.ResultMatrix, false: logql.ResultVector}[tt.name == "range"]; res.Type != want {
			t.Errorf("volume %s is a %s, want a %s", tt.name, res.Type, want)
		}
	}
	if _, err := s.Volume(ctx, &frontend.VolumeRequest{Start: start, End: end, Matchers: all, Step: time.Millisecond}); !errors.Is(err, logql.KindPoints) {
		t.Errorf("Volume with a tiny step = %v, want %v", err, logql.KindPoints)
	}
}

// text writes the lines, or the points as value@seconds, of a result.
func text(res *logql.Result) string {
	var words []string
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			words = append(words, e.Line)
		}
	}
	for _, s := range res.Series {
		for _, p := range s.Points {
			words = append(words, fmt.Sprintf("%v@%s", p.Value, strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.3f", float64(p.Time)/1000), "0"), ".")))
		}
	}
	if res.Type == logql.ResultScalar {
		words = append(words, fmt.Sprint(res.Scalar.Value))
	}
	return strings.Join(words, "|")
}

// checkShards checks that shards cover all hashes without a gap, and have this in all.
func checkShards(t *testing.T, shards []frontend.IndexShard, want frontend.IndexStats) {
	t.Helper()
	var sum frontend.IndexStats
	next := uint64(0)
	for _, s := range shards {
		if s.Min != next || s.Max < s.Min {
			t.Errorf("a shard from %d to %d comes where one from %d should", s.Min, s.Max, next)
		}
		next = s.Max + 1
		sum.Streams += s.Streams
		sum.Chunks += s.Chunks
		sum.Entries += s.Entries
		sum.Bytes += s.Bytes
	}
	if next != 0 {
		t.Errorf("the last shard ends at %d", next-1)
	}
	if sum != want {
		t.Errorf("the shards have %+v, want %+v", sum, want)
	}
}
