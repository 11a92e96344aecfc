// Package queriertest has the tests that every querier.Service must pass, a world in memory for it to
// read, and a fake.
package queriertest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
)

// Fake is a querier.Service of functions; those that are nil answer with nothing.
type Fake struct {
	RunFunc         func(context.Context, *logql.Task) (*logql.Partial, error)
	LabelsFunc      func(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error)
	LabelValuesFunc func(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error)
	SeriesFunc      func(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error)
	VolumesFunc     func(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]logql.StreamVolume, error)
	SurveyFunc      func(context.Context, *querier.SurveyRequest) ([]querier.SurveyPiece, error)
	TailFunc        func(context.Context, *querier.TailRequest) iter.Seq2[*querier.TailResponse, error]
}

var _ querier.Service = (*Fake)(nil)

// Run implements querier.Service.
func (f *Fake) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	if f.RunFunc == nil {
		return &logql.Partial{}, nil
	}
	return f.RunFunc(ctx, t)
}

// Labels implements querier.Service.
func (f *Fake) Labels(ctx context.Context, start, end int64, m []*labels.Matcher) ([]string, error) {
	if f.LabelsFunc == nil {
		return nil, nil
	}
	return f.LabelsFunc(ctx, start, end, m)
}

// LabelValues implements querier.Service.
func (f *Fake) LabelValues(ctx context.Context, name string, start, end int64, m []*labels.Matcher) ([]string, error) {
	if f.LabelValuesFunc == nil {
		return nil, nil
	}
	return f.LabelValuesFunc(ctx, name, start, end, m)
}

// Series implements querier.Service.
func (f *Fake) Series(ctx context.Context, start, end int64, m []*labels.Matcher) ([]labels.Labels, error) {
	if f.SeriesFunc == nil {
		return nil, nil
	}
	return f.SeriesFunc(ctx, start, end, m)
}

// Volumes implements querier.Service.
func (f *Fake) Volumes(ctx context.Context, start, end int64, m []*labels.Matcher, by []string) ([]logql.StreamVolume, error) {
	if f.VolumesFunc == nil {
		return nil, nil
	}
	volumes, err := f.VolumesFunc(ctx, start, end, m)
	if by != nil {
		volumes = logql.GroupVolumes(slices.Clone(volumes), by)
	}
	return volumes, err
}

// Survey implements querier.Service. Without a function nothing is settled.
func (f *Fake) Survey(ctx context.Context, req *querier.SurveyRequest) ([]querier.SurveyPiece, error) {
	if f.SurveyFunc == nil {
		return make([]querier.SurveyPiece, max(0, len(req.Cuts)-1)), nil
	}
	return f.SurveyFunc(ctx, req)
}

// Tail implements querier.Service.
func (f *Fake) Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
	if f.TailFunc == nil {
		return func(func(*querier.TailResponse, error) bool) {}
	}
	return f.TailFunc(ctx, req)
}

const second = int64(time.Second)

var (
	api = labels.FromStrings("app", "api", "env", "prod")
	web = labels.FromStrings("app", "web", "env", "dev")
)

func row(stream labels.Labels, at int64, line string) logqltest.Row {
	return logqltest.Row{Stream: stream, Time: at * second, Line: line}
}

// Contract tests a service that newService makes over a world.
func Contract(t *testing.T, newService func(t *testing.T, w *World) querier.Service) {
	t.Run("Run", func(t *testing.T) { testRun(t, newService) })
	t.Run("Lists", func(t *testing.T) { testLists(t, newService) })
	t.Run("Survey", func(t *testing.T) { testSurvey(t, newService) })
	t.Run("Tail", func(t *testing.T) { testTail(t, newService) })
}

// testRun reads the same rows while they lie in different places.
func testRun(t *testing.T, newService func(t *testing.T, w *World) querier.Service) {
	rows := [][]logqltest.Row{
		{row(api, 10, "one"), row(api, 30, "three"), row(web, 25, "x")},
		{row(api, 20, "two"), row(api, 40, "four"), row(api, 30, "three")}, // one of them is a double
		{row(api, 50, "five")},
	}
	type place struct{ held, stored bool }
	head, both, segment := place{held: true}, place{held: true, stored: true}, place{stored: true}
	tests := []struct {
		name   string
		places [3]place
		change func(w *World)
	}{
		{name: "head", places: [3]place{head, head, head}},
		{name: "segments", places: [3]place{segment, segment, segment}},
		{name: "older segment", places: [3]place{segment, head, head}},
		{name: "newer segment", places: [3]place{head, segment, head}},
		{name: "old head", places: [3]place{head, segment, segment}},
		{name: "head between segments", places: [3]place{segment, head, segment}},
		{name: "hand-over", places: [3]place{both, both, head}},
		{name: "cut after the snapshot", places: [3]place{head, head, head}, change: func(w *World) { w.Set(ID(1), true, true) }},
		{name: "dropped after the snapshot", places: [3]place{both, head, head}, change: func(w *World) { w.Set(ID(1), false, true) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := &World{Tenant: "a"}
			for i, r := range rows {
				w.Add(&Part{ID: ID(uint64(i + 1)), Rows: r, Held: tt.places[i].held, Stored: tt.places[i].stored})
			}
			if tt.change != nil {
				w.AfterSegments = func() { tt.change(w) }
			}
			testAnswers(t, w, newService(t, w))
		})
	}
	t.Run("merged segment", func(t *testing.T) {
		w := &World{Tenant: "a"}
		w.Add(&Part{ID: ID(1), Rows: rows[0], Held: true}) // no longer in the catalog, but still at hand
		w.Add(&Part{ID: ID(4), Rows: slices.Concat(rows[0], rows[1]), Stored: true, Replaces: []ulid.ULID{ID(1), ID(2)}})
		w.Add(&Part{ID: ID(3), Rows: rows[2], Held: true})
		testAnswers(t, w, newService(t, w))
		for _, id := range []ulid.ULID{ID(1), ID(2), ID(4)} {
			if known := w.Known(); !slices.Contains(known, id.String()) {
				t.Errorf("the ingester was told of the parts %v, which lack %s", known, id)
			}
		}
	})
	t.Run("errors", func(t *testing.T) {
		w := &World{Tenant: "a", Err: ingester.ErrNotReady}
		s := newService(t, w)
		_, err := query(t, s, "a", logql.Params{Query: `{app="api"}`, Start: 0, End: 100 * second, Limit: 10})
		if !errors.Is(err, ingester.ErrNotReady) {
			t.Errorf("Run = %v, want %v", err, ingester.ErrNotReady)
		}
		var parse *syntax.ParseError
		if _, err := s.Run(tenantCtx(t, "a"), &logql.Task{Params: logql.Params{Query: "{", End: 1}, Through: 1}); !errors.As(err, &parse) {
			t.Errorf("Run of nonsense = %v, want a parse error", err)
		}
		if _, err := s.Run(t.Context(), &logql.Task{Params: logql.Params{Query: `{a="b"}`, End: 1}, Through: 1}); !errors.Is(err, user.ErrNoOrgID) {
			t.Errorf("Run without tenant = %v, want %v", err, user.ErrNoOrgID)
		}
	})
}

// testAnswers asks a world that holds the rows of testRun.
func testAnswers(t *testing.T, w *World, s querier.Service) {
	t.Helper()
	forward := logql.Params{Query: `{app="api"}`, Start: 0, End: 100 * second, Limit: 10, Direction: logql.Forward}
	backward := forward
	backward.Direction = logql.Backward
	limited := backward
	limited.Limit = 2
	newest := backward
	newest.Limit = 1
	oldest := forward
	oldest.Limit = 1
	narrow := forward
	narrow.Start, narrow.End = 20*second, 50*second
	for _, tt := range []struct {
		p    logql.Params
		want string
	}{
		{forward, "one two three four five"},
		{backward, "five four three two one"},
		{limited, "five four"},
		{newest, "five"},
		{oldest, "one"},
		{narrow, "two three four"},
		{logql.Params{Query: `sum(count_over_time({app=~"api|web"}[100s]))`, Start: 100 * second, End: 100 * second}, "6"},
		{logql.Params{Query: `sum(count_over_time({app="api"} |= "t" [100s]))`, Start: 100 * second, End: 100 * second}, "2"},
	} {
		got, err := query(t, s, "a", tt.p)
		if err != nil || got != tt.want {
			t.Errorf("%s %v limit %d: got %q, %v, want %q", tt.p.Query, tt.p.Direction, tt.p.Limit, got, err, tt.want)
		}
	}
	if got, err := query(t, s, "b", forward); err != nil || got != "" {
		t.Errorf("another tenant got %q, %v", got, err)
	}
	if n := w.Open(); n != 0 {
		t.Errorf("%d batches were not released", n)
	}
}

// query runs all leaves of a query as one task each and returns the lines or values of the answer.
func query(t *testing.T, s querier.Service, tenant string, p logql.Params) (string, error) {
	t.Helper()
	ctx := tenantCtx(t, tenant)
	plan, err := logql.NewPlan(p)
	if err != nil {
		t.Fatal(err)
	}
	partials := make([][]*logql.Partial, len(plan.Leaves))
	for i, l := range plan.Leaves {
		partial, err := s.Run(ctx, &logql.Task{Params: p, Leaf: i, From: l.Start, Through: l.End})
		if err != nil {
			return "", err
		}
		partials[i] = []*logql.Partial{partial}
	}
	res, err := plan.Finish(ctx, partials, logql.Options{})
	if err != nil {
		return "", err
	}
	var words []string
	for _, stream := range res.Streams {
		for _, e := range stream.Entries {
			words = append(words, e.Line)
		}
	}
	for _, series := range res.Series {
		for _, point := range series.Points {
			words = append(words, fmt.Sprint(point.Value))
		}
	}
	return strings.Join(words, " "), nil
}

func tenantCtx(t *testing.T, id string) context.Context {
	return user.InjectOrgID(t.Context(), id)
}

func testLists(t *testing.T, newService func(t *testing.T, w *World) querier.Service) {
	w := &World{Tenant: "a"}
	extra := labels.FromStrings("app", "api", "pod", "p0")
	w.Add(&Part{ID: ID(1), Rows: []logqltest.Row{row(api, 10, "one"), row(web, 20, "x")}, Stored: true})
	w.Add(&Part{ID: ID(2), Rows: []logqltest.Row{row(api, 30, "two")}, Stored: true, Held: true})
	w.Add(&Part{ID: ID(3), Rows: []logqltest.Row{row(api, 40, "three"), row(extra, 50, "y")}, Held: true})
	s := newService(t, w)
	ctx := tenantCtx(t, "a")
	isAPI := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "app", "api")}

	for _, tt := range []struct {
		name string
		ask  func() ([]string, error)
		want string
	}{
		{"labels", func() ([]string, error) { return s.Labels(ctx, 0, 100*second, nil) }, "[app env pod]"},
		{"labels that match", func() ([]string, error) { return s.Labels(ctx, 0, 40*second, isAPI) }, "[app env]"},
		{"labels of nothing", func() ([]string, error) { return s.Labels(ctx, 90*second, 100*second, nil) }, "[]"},
		{"values", func() ([]string, error) { return s.LabelValues(ctx, "app", 0, 100*second, nil) }, "[api web]"},
		{"values of the head", func() ([]string, error) { return s.LabelValues(ctx, "pod", 0, 100*second, nil) }, "[p0]"},
	} {
		if got, err := tt.ask(); err != nil || fmt.Sprint(got) != tt.want {
			t.Errorf("%s: got %v, %v, want %s", tt.name, got, err, tt.want)
		}
	}
	series, err := s.Series(ctx, 0, 100*second, nil)
	if want := []labels.Labels{api, extra, web}; err != nil || fmt.Sprint(series) != fmt.Sprint(want) {
		t.Errorf("Series = %v, %v, want %v", series, err, want)
	}
	volumes, err := s.Volumes(ctx, 0, 100*second, isAPI, nil)
	if err != nil || len(volumes) != 2 || volumes[0].Entries != 3 || volumes[0].Chunks != 3 || volumes[1].Entries != 1 {
		t.Errorf("Volumes = %+v, %v, want 3 entries of %v and 1 of %v", volumes, err, api, extra)
	}
	volumes, err = s.Volumes(ctx, 0, 100*second, isAPI, []string{"app"})
	if err != nil || len(volumes) != 1 || volumes[0].Entries != 4 || !labels.Equal(volumes[0].Labels, labels.FromStrings("app", "api")) {
		t.Errorf("Volumes by app = %+v, %v, want 4 entries", volumes, err)
	}
	w.Err = ingester.ErrNotReady
	if _, err := s.Labels(ctx, 0, 1, nil); !errors.Is(err, ingester.ErrNotReady) {
		t.Errorf("Labels = %v, want %v", err, ingester.ErrNotReady)
	}
}

func live(at int64, lines ...string) *ingester.TailBatch {
	s := ingester.Stream{Labels: api, Hash: labels.StableHash(api)}
	for _, l := range lines {
		s.Entries = append(s.Entries, ingester.Entry{Time: at * second, Line: []byte(l)})
		at++
	}
	return &ingester.TailBatch{Streams: []ingester.Stream{s}, At: time.Now()}
}

func testTail(t *testing.T, newService func(t *testing.T, w *World) querier.Service) {
	// follow returns the first n lines of a tail; pushed happens once the tail is subscribed to and
	// has read the catalog.
	var lost []logql.Lost // by all that follow
	follow := func(t *testing.T, w *World, req *querier.TailRequest, n int, pushed func()) (lines []string, dropped int, err error) {
		t.Helper()
		if pushed != nil {
			once := false
			w.AfterSegments = func() {
				if !once {
					once = true
					pushed()
				}
			}
		}
		ctx, cancel := context.WithTimeout(tenantCtx(t, "a"), 10*time.Second)
		defer cancel()
		for res, e := range newService(t, w).Tail(ctx, req) {
			if e != nil {
				return lines, dropped, e
			}
			dropped += res.Dropped
			lost = append(lost, res.Lost...)
			for _, s := range res.Streams {
				for _, entry := range s.Entries {
					lines = append(lines, entry.Line)
				}
			}
			if len(lines) >= n {
				break
			}
		}
		return lines, dropped, ctx.Err()
	}
	world := func() *World {
		w := &World{Tenant: "a"}
		w.Add(&Part{ID: ID(1), Rows: []logqltest.Row{row(api, 10, "one"), row(api, 20, "two")}, Stored: true})
		w.Add(&Part{ID: ID(2), Rows: []logqltest.Row{row(api, 30, "three"), row(api, 40, "four")}, Held: true})
		return w
	}
	t.Run("history then live", func(t *testing.T) {
		w := world()
		// The tail is told of what it then also finds in the head, and of something new.
		lines, _, err := follow(t, w, &querier.TailRequest{Query: `{app="api"}`, Limit: 3}, 5, func() {
			w.Push(live(40, "four"))
			w.Push(live(50, "five", "six"))
		})
		if got := strings.Join(lines, " "); err != nil || got != "two three four five six" {
			t.Errorf("tail got %q, %v, want the newest three and then the new ones", got, err)
		}
		// Where the querier is another process it learns of the end a moment later.
		end, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if n := w.AwaitNoTails(end); n != 0 {
			t.Errorf("%d subscriptions are left", n)
		}
	})
	t.Run("from start", func(t *testing.T) {
		w := world()
		lines, _, err := follow(t, w, &querier.TailRequest{Query: `{app="api"}`, Start: 30 * second, Limit: 10}, 2, nil)
		if got := strings.Join(lines, " "); err != nil || got != "three four" {
			t.Errorf("tail got %q, %v", got, err)
		}
	})
	t.Run("pipeline", func(t *testing.T) {
		w := world()
		lines, _, err := follow(t, w, &querier.TailRequest{Query: `{app="api"} |~ "f|z" | line_format "<{{__line__}}>"`, Limit: 10}, 2, func() {
			w.Push(live(50, "six", "zero", "five"))
		})
		if got := strings.Join(lines, " "); err != nil || !strings.HasPrefix(got, "<four>") {
			t.Errorf("tail got %q, %v", got, err)
		}
	})
	t.Run("equal lines are not lost", func(t *testing.T) {
		w := world()
		// Two different entries that look the same after the pipeline: one in history, one live.
		lines, _, err := follow(t, w, &querier.TailRequest{Query: `{app="api"} | line_format "x"`, Start: 40 * second, Limit: 10}, 2, func() {
			b := live(40, "four")
			b.Streams[0].Entries = append(b.Streams[0].Entries, ingester.Entry{Time: 40 * second, Line: []byte("other")})
			w.Push(b)
		})
		if got := strings.Join(lines, " "); err != nil || got != "x x" {
			t.Errorf("tail got %q, %v, want x x", got, err)
		}
	})
	t.Run("a gap is filled", func(t *testing.T) {
		w := world()
		lines, _, err := follow(t, w, &querier.TailRequest{Query: `{app="api"}`, Start: 40 * second, Limit: 10}, 6, func() {
			w.Push(live(50, "five"))
			// While the ingesters were away these were pushed; some came in time, late is older than the gap.
			w.Add(&Part{ID: ID(3), Rows: []logqltest.Row{row(api, 41, "late"), row(api, 50, "five"), row(api, 60, "six"), row(api, 70, "seven")}, Held: true})
			b := live(60, "six")
			b.Gap = time.Unix(100, 0)
			w.Push(b)
			w.Push(live(70, "seven", "eight"))
		})
		slices.Sort(lines)
		if got := strings.Join(lines, " "); err != nil || got != "eight five four late seven six" {
			t.Errorf("tail got %q, %v, want each once", got, err)
		}
	})
	t.Run("losses are told", func(t *testing.T) {
		w := world()
		_, dropped, err := follow(t, w, &querier.TailRequest{Query: `{app="api"}`, Limit: 10}, 5, func() {
			b := live(60, "late")
			b.Dropped, b.Lost = 7, []logql.Lost{{Labels: labels.FromStrings("app", "api", "pod", "a"), Time: 59}}
			w.Push(b)
		})
		if err != nil || dropped != 7 {
			t.Errorf("tail has lost %d, %v, want 7", dropped, err)
		}
		if len(lost) != 1 || lost[0].Time != 59 || lost[0].Labels.Get("pod") != "a" {
			t.Errorf("of these are named %v", lost)
		}
	})
	t.Run("metric query", func(t *testing.T) {
		_, _, err := follow(t, world(), &querier.TailRequest{Query: `rate({app="api"}[1m])`, Limit: 10}, 1, nil)
		var parse *syntax.ParseError
		if !errors.As(err, &parse) {
			t.Errorf("tail = %v, want a parse error", err)
		}
	})
}
