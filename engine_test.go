package loki_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"example.com/loki"
	"example.com/loki/distributor"
	"example.com/loki/logql"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func Example() {
	dir, err := os.MkdirTemp("", "loki")
	check(err)
	defer os.RemoveAll(dir)

	eng, err := loki.Open(loki.Config{Dir: dir}) // in process, no port
	check(err)
	defer eng.Close()

	ctx := context.Background()
	check(eng.Push(ctx, loki.Line{Labels: `{app="api"}`, Text: "GET /cart timeout"}))
	for entry, err := range eng.Query(ctx, `{app="api"} |= "timeout"`, loki.Last(time.Hour)) {
		check(err)
		fmt.Println(entry.Text)
	}
	// Output: GET /cart timeout
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// open opens an engine on dir and closes it with the test.
func open(t *testing.T, cfg loki.Config) *loki.Engine {
	t.Helper()
	eng, err := loki.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := eng.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return eng
}

func push(t *testing.T, eng *loki.Engine, stream string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if err := eng.Push(t.Context(), loki.Line{Labels: stream, Text: text}); err != nil {
			t.Fatalf("Push(%s, %q): %v", stream, text, err)
		}
	}
}

// texts drains a query.
func texts(t *testing.T, entries iter.Seq2[loki.Entry, error]) []string {
	t.Helper()
	var got []string
	for e, err := range entries {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.Text)
	}
	return got
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%q", got), fmt.Sprintf("%q", want); g != w {
		t.Errorf("%s = %s, want %s", what, g, w)
	}
}

// TestStates asks the same questions of the head, of segments, of both, after a restart and after the
// catalog's cache was deleted.
func TestStates(t *testing.T) {
	dir := t.TempDir()
	eng, err := loki.Open(loki.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	push(t, eng, `{app="api", env="prod"}`, "level=info msg=one", "level=error msg=two")
	push(t, eng, `{app="web"}`, `{"level":"warn","msg":"three"}`)
	ask := func(state string) {
		t.Helper()
		ctx := t.Context()
		want(t, state+": lines", texts(t, eng.Query(ctx, `{app=~".+"}`, loki.OldestFirst())),
			[]string{"level=info msg=one", "level=error msg=two", `{"level":"warn","msg":"three"}`})
		want(t, state+": newest", texts(t, eng.Query(ctx, `{app=~".+"}`, loki.Limit(1))), []string{`{"level":"warn","msg":"three"}`})
		want(t, state+": filter", texts(t, eng.Query(ctx, `{app="api"} |= "two"`)), []string{"level=error msg=two"})
		want(t, state+": parser", texts(t, eng.Query(ctx, `{app=~".+"} | json | level="warn"`)), []string{`{"level":"warn","msg":"three"}`})
		names, err := eng.Labels(ctx, "")
		want(t, state+": labels", names, []string{"app", "env", "service_name"})
		want(t, state+": labels error", err, error(nil))
		values, err := eng.LabelValues(ctx, "app", "")
		want(t, state+": values", values, []string{"api", "web"})
		want(t, state+": values error", err, error(nil))
		series, err := eng.Series(ctx, `{app="api"}`)
		want(t, state+": series", fmt.Sprint(series), `[{app="api", env="prod", service_name="api"}]`)
		want(t, state+": series error", err, error(nil))
		stats, err := eng.Stats(ctx, `{app=~".+"}`)
		want(t, state+": stats", fmt.Sprint(stats.Streams, stats.Entries), "2 3")
		want(t, state+": stats error", err, error(nil))
		res, err := eng.QueryInstant(ctx, `sum by (app) (count_over_time({app=~".+"}[1h]))`, time.Now())
		if err != nil || len(res.Series) != 2 || res.Series[0].Points[0].Value+res.Series[1].Points[0].Value != 3 {
			t.Errorf("%s: count = %+v, %v", state, res, err)
		}
	}
	reopen := func() {
		t.Helper()
		if err := eng.Close(); err != nil {
			t.Fatal(err)
		}
		if eng, err = loki.Open(loki.Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	ask("head")
	reopen()
	ask("replayed")
	if err := eng.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask("flushed")
	reopen()
	ask("reopened")
	if err := eng.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "catalog.db")); err != nil {
		t.Fatal(err)
	}
	if eng, err = loki.Open(loki.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	ask("without the catalog's cache")
	push(t, eng, `{app="web"}`, "four")
	want(t, "head and segment", texts(t, eng.Query(t.Context(), `{app="web"}`)), []string{"four", `{"level":"warn","msg":"three"}`})
}

func TestTwoEnginesInOneProcess(t *testing.T) {
	reg := prometheus.NewRegistry()
	a := open(t, loki.Config{Dir: t.TempDir(), Name: "a", Registerer: reg})
	b := open(t, loki.Config{Dir: t.TempDir(), Name: "b", Registerer: reg})
	push(t, a, `{app="x"}`, "in a")
	push(t, b, `{app="x"}`, "in b")
	want(t, "a", texts(t, a.Query(t.Context(), `{app="x"}`)), []string{"in a"})
	want(t, "b", texts(t, b.Query(t.Context(), `{app="x"}`)), []string{"in b"})
	families, err := reg.Gather()
	if err != nil || len(families) == 0 {
		t.Errorf("Gather: %d families, %v", len(families), err)
	}

	_, err = loki.Open(loki.Config{Dir: t.TempDir(), Name: "a", Registerer: reg})
	if err == nil || !strings.Contains(err.Error(), "Name") {
		t.Errorf("Open with a taken name: %v, want an error that says to give a Name", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, loki.Config{Dir: t.TempDir(), Name: "a", Registerer: reg})
}

func TestFolderInUse(t *testing.T) {
	dir := t.TempDir()
	first := open(t, loki.Config{Dir: dir})
	_, err := loki.Open(loki.Config{Dir: dir})
	if !errors.Is(err, loki.ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Open = %v, want ErrInUse with the folder's name", err)
	}
	push(t, first, `{app="x"}`, "still works")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, loki.Config{Dir: dir})
	want(t, "lines", texts(t, again.Query(t.Context(), `{app="x"}`)), []string{"still works"})
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := loki.Open(loki.Config{Dir: filepath.Join(file, "logs")})
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Open below a file = %v, want an error that names it", err)
	}
	if _, err := loki.Open(loki.Config{}); err == nil || !strings.Contains(err.Error(), "Dir") {
		t.Errorf("Open without Dir = %v, want an error that names the field", err)
	}
	if os.Getuid() == 0 {
		return // root may write into any folder
	}
	locked := filepath.Join(t.TempDir(), "locked")
	if err := os.Mkdir(locked, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := loki.Open(loki.Config{Dir: locked}); !errors.Is(err, os.ErrPermission) {
		t.Errorf("Open on a read-only folder = %v, want a permission error", err)
	}
}

// TestCloseDuringCalls closes an engine while pushes, queries and tails are under way: every call ends,
// and what was acknowledged is there after the next Open.
func TestCloseDuringCalls(t *testing.T) {
	dir := t.TempDir()
	eng, err := loki.Open(loki.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var acked [4]atomic.Int64
	started := make(chan struct{}, 16)
	for i := range acked {
		wg.Go(func() {
			for n := 0; ; n++ {
				err := eng.Push(context.Background(), loki.Line{Labels: fmt.Sprintf(`{app="p%d"}`, i), Text: fmt.Sprint(n)})
				if err != nil {
					if !errors.Is(err, loki.ErrClosed) {
						t.Errorf("Push: %v", err)
					}
					return
				}
				acked[i].Add(1)
				if n == 10 {
					started <- struct{}{}
				}
			}
		})
	}
	for range 2 {
		wg.Go(func() {
			for n := 0; ; n++ {
				for _, err := range eng.Query(context.Background(), `{app=~"p.*"} |= "1"`) {
					if err != nil {
						if !errors.Is(err, loki.ErrClosed) {
							t.Errorf("Query: %v", err)
						}
						return
					}
				}
				if n == 2 {
					started <- struct{}{}
				}
			}
		})
		wg.Go(func() {
			var last error
			first := true
			for _, err := range eng.Tail(context.Background(), `{app=~"p.*"}`) {
				if first {
					first = false
					started <- struct{}{}
				}
				last = err
			}
			if !errors.Is(last, loki.ErrClosed) {
				t.Errorf("Tail ended with %v, want ErrClosed", last)
			}
		})
	}
	for range 8 {
		<-started
	}
	if err := eng.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()

	eng = open(t, loki.Config{Dir: dir})
	for i := range acked {
		res, err := eng.QueryInstant(t.Context(), fmt.Sprintf(`sum(count_over_time({app="p%d"}[1h]))`, i), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if got := int64(res.Series[0].Points[0].Value); got != acked[i].Load() {
			t.Errorf("pusher %d: %d lines are there, %d were acknowledged", i, got, acked[i].Load())
		}
	}
}

func TestTail(t *testing.T) {
	eng := open(t, loki.Config{Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	ready := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		<-ready
		for i := range 5 {
			push(t, eng, `{app="x"}`, fmt.Sprintf("keep %d", i), fmt.Sprintf("lose %d", i))
		}
	})
	var once sync.Once
	next := func() { once.Do(func() { close(ready) }) }
	// The subscription begins with the first step of the loop, so a first line is pushed until it shows.
	wg.Go(func() {
		for ctx.Err() == nil {
			push(t, eng, `{app="x"}`, "keep first")
			select {
			case <-ready:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	for e, err := range eng.Tail(ctx, `{app="x"} |= "keep"`) {
		if err != nil {
			t.Fatal(err)
		}
		next()
		if e.Text != "keep first" {
			got = append(got, e.Text)
		}
		if len(got) == 5 {
			break
		}
	}
	wg.Wait()
	want(t, "tail", got, []string{"keep 0", "keep 1", "keep 2", "keep 3", "keep 4"})
}

func TestTenants(t *testing.T) {
	eng := open(t, loki.Config{Dir: t.TempDir()})
	for _, id := range []string{"a", "b"} {
		if err := eng.Push(loki.WithTenant(t.Context(), id), loki.Line{Labels: `{app="x"}`, Text: "of " + id}); err != nil {
			t.Fatal(err)
		}
	}
	for _, flushed := range []bool{false, true} {
		if flushed {
			if err := eng.Flush(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		want(t, "a", texts(t, eng.Query(loki.WithTenant(t.Context(), "a"), `{app="x"}`)), []string{"of a"})
		want(t, "b", texts(t, eng.Query(loki.WithTenant(t.Context(), "b"), `{app="x"}`)), []string{"of b"})
		want(t, "nobody", texts(t, eng.Query(t.Context(), `{app="x"}`)), []string(nil))
	}
	for _, id := range []string{"../a", "..", "a/b", "", strings.Repeat("x", 151)} {
		err := eng.Push(loki.WithTenant(t.Context(), id), loki.Line{Labels: `{app="x"}`, Text: "x"})
		if id != "" && err == nil {
			t.Errorf("Push for tenant %q was accepted", id)
		}
	}
}

func TestReplaceComponent(t *testing.T) {
	var buf bytes.Buffer
	topology := loki.NewTopology(loki.Config{Dir: t.TempDir()}).With(
		loki.ReplaceDistributor(func(_ *loki.Collaborators, build func() (distributor.Service, error)) (distributor.Service, error) {
			inner, err := build()
			return &spy{inner, &buf}, err
		}))
	eng, err := topology.Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Push(t.Context(), loki.Line{Labels: `{app="x"}`, Text: "early"}); !errors.Is(err, loki.ErrClosed) {
		t.Errorf("Push before Start = %v, want ErrClosed", err)
	}
	if err := eng.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	push(t, eng, `{app="x"}`, "seen")
	want(t, "what the replacement saw", buf.String(), "seen\n")
	want(t, "query", texts(t, eng.Query(t.Context(), `{app="x"}`)), []string{"seen"})
}

// spy is a distributor that writes down what passes through it.
type spy struct {
	distributor.Service
	seen *bytes.Buffer
}

func (s *spy) Push(ctx context.Context, req *distributor.PushRequest) error {
	for _, stream := range req.Streams {
		for _, e := range stream.Entries {
			fmt.Fprintf(s.seen, "%s\n", e.Line)
		}
	}
	return s.Service.Push(ctx, req)
}

// TestSlogHandler runs the standard library's checks on records that have gone through the engine.
func TestSlogHandler(t *testing.T) {
	noTime := time.Now().Add(-time.Minute).Truncate(time.Second) // records without a time get this one
	var clock atomic.Int64
	clock.Store(noTime.UnixNano())
	eng := open(t, loki.Config{Dir: t.TempDir(), Now: func() time.Time { return time.Unix(0, clock.Load()) }})
	h := eng.SlogHandler("app", "host")
	err := slogtest.TestHandler(h, func() []map[string]any {
		if err := h.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var all []map[string]any
		var late []map[string]any
		for e, err := range eng.Query(t.Context(), `{app="host"}`, loki.OldestFirst(), loki.Between(noTime.Add(-time.Hour), time.Now().Add(time.Hour))) {
			if err != nil {
				t.Fatal(err)
			}
			m := nested(e)
			if e.Time.Equal(noTime) {
				delete(m, slog.TimeKey)
				late = append(late, m)
				continue
			}
			all = append(all, m)
		}
		// slogtest matches results to its checks by order: the one record without time goes back to
		// its place, the fourth.
		if len(late) != 1 || len(all) < 3 {
			t.Fatalf("%d records without a time and %d with, want 1 and the rest", len(late), len(all))
		}
		return append(all[:3:3], append(late, all[3:]...)...)
	})
	if err != nil {
		t.Error(err)
	}
	if n := h.Dropped(); n != 0 {
		t.Errorf("%d records were dropped", n)
	}
}

// nested turns an entry back into what was logged: names are split at "_" into groups.
func nested(e loki.Entry) map[string]any {
	m := map[string]any{slog.MessageKey: e.Text, slog.TimeKey: e.Time}
	e.Metadata.Range(func(l labels.Label) {
		if l.Name == "detected_level" {
			return
		}
		at := m
		path := strings.Split(l.Name, "_")
		for _, group := range path[:len(path)-1] {
			next, ok := at[group].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[group] = next
			}
			at = next
		}
		at[path[len(path)-1]] = l.Value
	})
	return m
}

func TestSlogDropsWhenFull(t *testing.T) {
	gate := make(chan struct{})
	eng, err := loki.NewTopology(loki.Config{Dir: t.TempDir(), SlogBuffer: 4}).With(
		loki.ReplaceDistributor(func(_ *loki.Collaborators, build func() (distributor.Service, error)) (distributor.Service, error) {
			inner, err := build()
			return &gated{inner, gate}, err
		})).Build()
	if err != nil {
		t.Fatal(err)
	}
	if err := eng.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	h := eng.SlogHandler("app", "host")
	log := slog.New(h)
	for i := range 5000 { // the engine takes nothing meanwhile, yet this must not block
		log.Info("hello", "n", i)
	}
	if h.Dropped() == 0 {
		t.Error("nothing was dropped though the engine took nothing")
	}
	close(gate)
	before := h.Dropped()
	if err := h.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := texts(t, eng.Query(t.Context(), `{app="host"}`))
	if uint64(len(got))+before != 5000 || len(got) == 0 {
		t.Errorf("%d records are there and %d were dropped, want 5000 together", len(got), before)
	}
	if err := eng.Close(); err != nil {
		t.Fatal(err)
	}
	log.Info("too late")
	if h.Dropped() != before+1 {
		t.Errorf("a record after Close was not counted as dropped")
	}
}

type gated struct {
	distributor.Service
	gate chan struct{}
}

func (g *gated) Push(ctx context.Context, req *distributor.PushRequest) error {
	<-g.gate
	return g.Service.Push(ctx, req)
}

func TestResultTypes(t *testing.T) {
	eng := open(t, loki.Config{Dir: t.TempDir()})
	push(t, eng, `{app="x"}`, "one")
	for _, err := range eng.Query(t.Context(), `rate({app="x"}[1m])`) {
		if err == nil || !strings.Contains(err.Error(), "QueryRange") {
			t.Errorf("Query of a metric query: %v, want an error that names QueryRange", err)
		}
	}
	if _, err := eng.QueryInstant(t.Context(), `{app="x"}`, time.Now()); err == nil {
		t.Error("QueryInstant of a log query succeeded")
	}
	res, err := eng.QueryRange(t.Context(), `count_over_time({app="x"}[1h])`, time.Now().Add(-time.Hour), time.Now(), time.Minute)
	if err != nil || res.Type != logql.ResultMatrix || len(res.Series) != 1 {
		t.Errorf("QueryRange = %+v, %v; want a matrix of one series", res, err)
	}
	if _, err := eng.QueryRange(t.Context(), `{app="x"`, time.Now(), time.Now(), time.Minute); err == nil {
		t.Error("a broken query succeeded")
	}
}

// TestStartContext: the context of Start bounds the start, not the life of the engine.
func TestStartContext(t *testing.T) {
	eng, err := loki.NewTopology(loki.Config{Dir: t.TempDir()}).Build()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := eng.Start(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	// What the end of ctx might stop would stop in the background: ask more than once.
	for range 100 {
		if err := eng.Push(t.Context(), loki.Line{Labels: `{a="b"}`, Text: "line"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := eng.Close(); err != nil {
		t.Error(err)
	}
}
