package ingestertest

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/logql"
)

// Contract checks what callers of an ingester.Service rely on. newService returns a service that is
// ready and empty, and ends it with the test.
func Contract(t *testing.T, newService func(t *testing.T) ingester.Service) {
	for _, c := range []struct {
		name string
		test func(*testing.T, ingester.Service)
	}{
		{"NoTenant", testNoTenant},
		{"PushIsReadable", testPushIsReadable},
		{"RequestIsNotKept", testRequestIsNotKept},
		{"OrderAndDoubles", testOrderAndDoubles},
		{"Matchers", testMatchers},
		{"TimeRange", testTimeRange},
		{"BatchOrder", testBatchOrder},
		{"TenantsAreApart", testTenantsAreApart},
		{"Queries", testQueries},
		{"Overlaps", testOverlaps},
		{"LabelsAndSeries", testLabelsAndSeries},
		{"Volumes", testVolumes},
		{"Oldest", testOldest},
		{"FlushKeepsAnswers", testFlushKeepsAnswers},
		{"Tail", testTail},
		{"Concurrent", testConcurrent},
		{"Cancelled", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, newService(t)) })
	}
}

func as(t *testing.T, tenant string) context.Context { return user.InjectOrgID(t.Context(), tenant) }

// stream makes a stream of entries "time line" or "time line name=value …".
func stream(ls string, entries ...string) ingester.Stream {
	l := labels.FromStrings(strings.FieldsFunc(ls, func(r rune) bool { return r == '=' || r == ',' })...)
	s := ingester.Stream{Labels: l, Hash: labels.StableHash(l)}
	for _, e := range entries {
		f := strings.Fields(e)
		en := ingester.Entry{Line: []byte(f[1])}
		fmt.Sscan(f[0], &en.Time)
		for _, md := range f[2:] {
			n, v, _ := strings.Cut(md, "=")
			en.Metadata = append(en.Metadata, ingester.Field{Name: n, Value: []byte(v)})
		}
		s.Entries = append(s.Entries, en)
	}
	return s
}

func push(t *testing.T, s ingester.Service, tenant string, streams ...ingester.Stream) {
	t.Helper()
	if err := s.Push(as(t, tenant), &ingester.PushRequest{Streams: streams}); err != nil {
		t.Fatalf("Push: %v", err)
	}
}

func all(ms ...*labels.Matcher) *logql.SelectRequest {
	return &logql.SelectRequest{Matchers: ms, Start: math.MinInt64, End: math.MaxInt64, Direction: logql.Forward}
}

func eq(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, name, value)
}

// rows returns what a Select yields that is really in its range: "labels time line metadata…", ascending.
func rows(t *testing.T, s ingester.Service, tenant string, req *logql.SelectRequest) []string {
	t.Helper()
	ctx := as(t, tenant)
	var out []string
	for b, err := range s.Select(ctx, req) {
		if err != nil {
			t.Fatalf("Select: %v", err)
		}
		times, err := b.Times(ctx)
		check(t, err)
		lines, err := b.Lines(ctx)
		check(t, err)
		names, err := b.MetadataNames(ctx)
		check(t, err)
		for _, r := range b.Runs {
			if !slices.IsSorted(times[r.From:r.To]) || times[r.From] != r.MinTime || times[r.To-1] != r.MaxTime {
				t.Errorf("run %+v does not fit its times %d", r, times[r.From:r.To])
			}
			for i := r.From; i < r.To; i++ {
				if times[i] < req.Start || times[i] >= req.End {
					continue
				}
				row := fmt.Sprintf("%s %d %s", r.Stream.Labels, times[i], lines.Row(i))
				for _, n := range names {
					m, err := b.Metadata(ctx, n)
					check(t, err)
					if v, ok := m.Row(i); ok {
						row += fmt.Sprintf(" %s=%s", n, v)
					}
				}
				out = append(out, row)
			}
		}
		b.Release()
	}
	return out
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t *testing.T, what string, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %v\nwant %v", what, got, want)
	}
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

func testNoTenant(t *testing.T, s ingester.Service) {
	if err := s.Push(t.Context(), &ingester.PushRequest{}); err == nil {
		t.Error("Push without a tenant succeeds")
	}
	for _, err := range s.Select(t.Context(), all()) {
		if err == nil {
			t.Error("Select without a tenant yields a batch")
		}
	}
	if _, err := s.Labels(t.Context(), 0, 1, nil); err == nil {
		t.Error("Labels without a tenant succeeds")
	}
	for _, err := range s.Tail(t.Context(), nil) {
		if err == nil {
			t.Error("Tail without a tenant yields a batch")
		}
		break
	}
}

func testPushIsReadable(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "1 one", "2 two level=info trace=t1"), stream("app=y", "1 eins level=warn"), stream("app=z"))
	push(t, s, "a", stream("app=x", "3 three"))
	equal(t, "rows", sorted(rows(t, s, "a", all())), []string{
		`{app="x"} 1 one`, `{app="x"} 2 two level=info trace=t1`, `{app="x"} 3 three`, `{app="y"} 1 eins level=warn`})
	push(t, s, "a") // an empty push is none
}

func testRequestIsNotKept(t *testing.T, s ingester.Service) {
	st := stream("app=x", "1 abc k=v")
	push(t, s, "a", st)
	copy(st.Entries[0].Line, "XXX")
	copy(st.Entries[0].Metadata[0].Value, "X")
	equal(t, "rows", rows(t, s, "a", all()), []string{`{app="x"} 1 abc k=v`})
}

func testOrderAndDoubles(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "5 five", "1 b", "1 a", "5 five", "1 b level=x", "3 three p=1 q=2"))
	push(t, s, "a", stream("app=x", "1 a", "3 three q=2 p=1", "2 two", "-7 old", "1 c"))
	equal(t, "rows", rows(t, s, "a", all()), []string{`{app="x"} -7 old`, `{app="x"} 1 b`, `{app="x"} 1 a`, `{app="x"} 1 b level=x`,
		`{app="x"} 1 c`, `{app="x"} 2 two`, `{app="x"} 3 three p=1 q=2`, `{app="x"} 5 five`})
}

func testMatchers(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x,env=dev", "1 1"), stream("app=y,env=prod", "1 2"), stream("app=z", "1 3"))
	for _, c := range []struct {
		typ         labels.MatchType
		name, value string
		want        string
	}{
		{labels.MatchEqual, "app", "x", "1"},
		{labels.MatchEqual, "app", "none", ""},
		{labels.MatchEqual, "env", "", "3"},
		{labels.MatchNotEqual, "env", "", "12"},
		{labels.MatchNotEqual, "env", "dev", "23"},
		{labels.MatchRegexp, "app", "x|z", "13"},
		{labels.MatchRegexp, "app", "[xy]", "12"},
		{labels.MatchRegexp, "app", ".*", "123"},
		{labels.MatchRegexp, "env", "prod|", "23"},
		{labels.MatchRegexp, "env", ".+", "12"},
		{labels.MatchNotRegexp, "app", "x|y", "3"},
		{labels.MatchNotRegexp, "env", ".+", "3"},
		{labels.MatchNotRegexp, "env", "d.*", "23"},
		{labels.MatchNotRegexp, "env", "dev|", "2"},
		{labels.MatchRegexp, "none", ".*", "123"},
		{labels.MatchEqual, "none", "x", ""},
	} {
		m := labels.MustNewMatcher(c.typ, c.name, c.value)
		got := ""
		for _, r := range sorted(rows(t, s, "a", all(m))) {
			got += r[len(r)-1:]
		}
		if got != c.want {
			t.Errorf("%s: got rows %q, want %q", m, got, c.want)
		}
	}
	equal(t, "two matchers", len(rows(t, s, "a", all(eq("app", "x"), eq("env", "prod")))), 0)
}

func testTimeRange(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "1 a", "2 b", "3 c", "4 d"))
	req := all()
	req.Start, req.End = 2, 4
	equal(t, "rows of [2,4)", rows(t, s, "a", req), []string{`{app="x"} 2 b`, `{app="x"} 3 c`})
	req.Start, req.End = 5, 9
	equal(t, "rows of [5,9)", len(rows(t, s, "a", req)), 0)
}

func testBatchOrder(t *testing.T, s ingester.Service) {
	line := strings.Repeat("x", 1000)
	for n := range 20 {
		st := stream(fmt.Sprintf("app=a%d", n%3))
		for k := range 300 {
			st.Entries = append(st.Entries, ingester.Entry{Time: int64(n*1000 + k*7%2000), Line: []byte(line)})
		}
		push(t, s, "a", st)
	}
	for _, d := range []logql.Direction{logql.Forward, logql.Backward} {
		req := all()
		req.Direction = d
		last := int64(math.MinInt64)
		for b, err := range s.Select(as(t, "a"), req) {
			check(t, err)
			at := b.MinTime
			if d == logql.Backward {
				at = -b.MaxTime
			}
			if at < last {
				t.Errorf("%s: batch of %d..%d out of order", d, b.MinTime, b.MaxTime)
			}
			last = at
			b.Release()
		}
	}
}

func testTenantsAreApart(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "1 a"))
	push(t, s, "b", stream("app=x", "1 b"))
	equal(t, "rows of b", rows(t, s, "b", all()), []string{`{app="x"} 1 b`})
	equal(t, "rows of c", len(rows(t, s, "c", all())), 0)
}

func testLabelsAndSeries(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x,env=dev", "1 a", "100 b"), stream("app=y,zone=1", "50 c"))
	ctx := as(t, "a")
	names, err := s.Labels(ctx, 0, 200, nil)
	check(t, err)
	equal(t, "Labels", names, []string{"app", "env", "zone"})
	names, err = s.Labels(ctx, 2, 100, nil)
	check(t, err)
	equal(t, "Labels between the rows of app=x", names, []string{"app", "zone"})
	values, err := s.LabelValues(ctx, "app", 0, 200, nil)
	check(t, err)
	equal(t, "LabelValues", values, []string{"x", "y"})
	values, err = s.LabelValues(ctx, "app", 0, 200, []*labels.Matcher{eq("env", "dev")})
	check(t, err)
	equal(t, "LabelValues with a matcher", values, []string{"x"})
	series, err := s.Series(ctx, 0, 200, nil)
	check(t, err)
	equal(t, "Series", fmt.Sprint(series), `[{app="x", env="dev"} {app="y", zone="1"}]`)
}

// copies is more than there can be: what has all of its copies then counts as the most that one writer has.
const copies = 1000

func testVolumes(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "1 abc", "2 de k=v", "2 de k=v"), stream("app=y", "1 z"))
	vs, err := s.Volumes(as(t, "a"), 0, 10, nil, nil)
	vs = logql.MergeVolumes(vs, copies)
	check(t, err)
	if len(vs) != 2 || vs[0].Entries != 2 || vs[0].Bytes != 9 || vs[0].Chunks != 1 || vs[1].Bytes != 1 {
		t.Errorf("Volumes: %+v", vs)
	}
	vs, err = s.Volumes(as(t, "a"), 0, 2, []*labels.Matcher{eq("app", "x")}, nil)
	vs = logql.MergeVolumes(vs, copies)
	check(t, err)
	if len(vs) != 1 || vs[0].Entries != 1 || vs[0].Bytes != 3 {
		t.Errorf("Volumes of app=x before 2: %+v", vs)
	}
	if _, ok := s.(interface{ Replicated() }); ok {
		return // see testFlushKeepsAnswers
	}
	parts := partsOf(t, s, "a")
	vs, err = s.Volumes(as(t, "a"), 0, 10, nil, parts)
	vs = logql.MergeVolumes(vs, copies)
	check(t, err)
	equal(t, "Volumes of unknown parts", len(vs), 0)
}

func testOldest(t *testing.T, s ingester.Service) {
	oldest := func(tenant string, start, end int64, ms []*labels.Matcher, known []string) int64 {
		t.Helper()
		at, err := s.Oldest(as(t, tenant), start, end, ms, known)
		check(t, err)
		return at
	}
	none := int64(math.MaxInt64)
	equal(t, "Oldest of nothing", oldest("a", 0, 100, nil, nil), none)
	push(t, s, "a", stream("app=x", "30 c", "20 b", "40 d"), stream("app=y", "10 z"))
	equal(t, "Oldest", oldest("a", 0, 100, nil, nil), 10)
	equal(t, "Oldest of app=x", oldest("a", 0, 100, []*labels.Matcher{eq("app", "x")}, nil), 20)
	equal(t, "Oldest of app=z", oldest("a", 0, 100, []*labels.Matcher{eq("app", "z")}, nil), none)
	equal(t, "Oldest before 10", oldest("a", 0, 10, nil, nil), none)
	equal(t, "Oldest after 40", oldest("a", 41, 100, nil, nil), none)
	equal(t, "Oldest of another tenant", oldest("b", 0, 100, nil, nil), none)
	if at := oldest("a", 25, 100, nil, nil); at < 25 || at > 30 {
		t.Errorf("Oldest from 25 on: %d, want 25 to 30", at)
	}
	if _, ok := s.(interface{ Replicated() }); ok {
		return // see testFlushKeepsAnswers
	}
	parts := partsOf(t, s, "a")
	equal(t, "Oldest of unknown parts", oldest("a", 0, 100, nil, parts), none)
	check(t, s.Flush(t.Context(), "a"))
	equal(t, "Oldest after a flush", oldest("a", 0, 100, nil, nil), 10)
	equal(t, "Oldest of unknown parts after a flush", oldest("a", 0, 100, nil, parts), none)
}

// partsOf returns the parts that Select yields rows of.
func partsOf(t *testing.T, s ingester.Service, tenant string) []string {
	var parts []string
	for b, err := range s.Select(as(t, tenant), all()) {
		check(t, err)
		parts = append(parts, b.Part)
		b.Release()
	}
	slices.Sort(parts)
	return slices.Compact(parts)
}

func testFlushKeepsAnswers(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "2 b", "1 a k=v"))
	before := rows(t, s, "a", all())
	parts := partsOf(t, s, "a")
	check(t, s.Flush(t.Context(), "a"))
	check(t, s.Flush(t.Context(), "none"))
	check(t, s.Flush(t.Context(), ""))
	equal(t, "rows after the flush", rows(t, s, "a", all()), before)
	if _, ok := s.(interface{ Replicated() }); ok {
		return // which of several ingesters answer first, and so whose parts are read, is up to chance
	}
	equal(t, "parts after the flush", partsOf(t, s, "a"), parts)
	known := all()
	known.Known = parts
	equal(t, "rows of unknown parts", len(rows(t, s, "a", known)), 0)
	only := all()
	only.Parts = []string{"01ARZ3NDEKTSV4RRFFQ69G5FA0"}
	equal(t, "rows of another part", len(rows(t, s, "a", only)), 0)
	only.Parts = parts
	equal(t, "rows of these parts", rows(t, s, "a", only), before)
}

func testTail(t *testing.T, s ingester.Service) {
	ctx, cancel := context.WithCancel(as(t, "a"))
	defer cancel()
	push(t, s, "a", stream("app=x", "1 before"))
	tail := s.Tail(ctx, []*labels.Matcher{eq("app", "x")})
	push(t, s, "a", stream("app=y", "2 other"), stream("app=x", "2 now k=v"))
	push(t, s, "a", stream("app=x", "3 last"))
	var got []string
	for b, err := range tail {
		check(t, err)
		for _, st := range b.Streams {
			for _, e := range st.Entries {
				got = append(got, fmt.Sprintf("%s %d %s %s", st.Labels, e.Time, e.Line, e.Metadata))
			}
		}
		if len(got) >= 2 {
			cancel()
		}
	}
	equal(t, "tailed", got, []string{`{app="x"} 2 now [{k v}]`, `{app="x"} 3 last []`})
}

func testConcurrent(t *testing.T, s ingester.Service) {
	const pushers, pushes = 4, 25
	var wg sync.WaitGroup
	for p := range pushers {
		wg.Go(func() {
			for n := range pushes {
				st := stream(fmt.Sprintf("p=%d", p), fmt.Sprintf("%d line%d", n, n))
				if err := s.Push(as(t, "a"), &ingester.PushRequest{Streams: []ingester.Stream{st, stream("app=x", fmt.Sprintf("%d %d-%d", n, p, n))}}); err != nil {
					t.Errorf("Push: %v", err)
				}
			}
		})
	}
	wg.Wait()
	equal(t, "number of rows", len(rows(t, s, "a", all())), 2*pushers*pushes)
}

func testCancelled(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "1 a"))
	ctx, cancel := context.WithCancel(as(t, "a"))
	cancel()
	n := 0
	for _, err := range s.Select(ctx, all()) {
		if err == nil {
			t.Error("Select yields a batch though its context is done")
		}
		n++
	}
	if n != 1 {
		t.Errorf("Select with a context that is done yields %d times, want one error", n)
	}
}
