package ingester

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/goleak"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func tenantCtx(t testing.TB, id string) context.Context {
	return user.InjectOrgID(t.Context(), id)
}

// start runs an ingester until the end of the test.
func start(t testing.TB, cfg Config, st store.Service) *Ingester {
	t.Helper()
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, i) })
	return i
}

func tryStart(t testing.TB, cfg Config, st store.Service, lim *limits.Limits) (*Ingester, error) {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	var provider limits.Provider
	if lim != nil {
		provider = limits.Fixed(*lim)
	} else {
		l := limits.Default()
		l.MaxGlobalStreamsPerUser = 0
		provider = limits.Fixed(l)
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	i, err := New(cfg, st, provider, logger, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	return i, services.StartAndAwaitRunning(context.Background(), i)
}

func stop(t testing.TB, i *Ingester) {
	t.Helper()
	if err := services.StopAndAwaitTerminated(context.Background(), i); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func ls(ss ...string) labels.Labels { return labels.FromStrings(ss...) }

func stream1(l labels.Labels, es ...Entry) Stream {
	return Stream{Labels: l, Hash: labels.StableHash(l), Entries: es}
}

func entry(t int64, line string, md ...string) Entry {
	e := Entry{Time: t, Line: []byte(line)}
	for k := 0; k < len(md); k += 2 {
		e.Metadata = append(e.Metadata, Field{md[k], []byte(md[k+1])})
	}
	return e
}

func push(t testing.TB, i *Ingester, tenant string, ss ...Stream) {
	t.Helper()
	if err := i.Push(tenantCtx(t, tenant), &PushRequest{Streams: ss}); err != nil {
		t.Fatalf("push: %v", err)
	}
}

func matcher(s string) *labels.Matcher {
	for op, typ := range map[string]labels.MatchType{"=~": labels.MatchRegexp, "!~": labels.MatchNotRegexp, "!=": labels.MatchNotEqual} {
		if n, v, ok := strings.Cut(s, op); ok {
			return labels.MustNewMatcher(typ, n, v)
		}
	}
	n, v, _ := strings.Cut(s, "=")
	return labels.MustNewMatcher(labels.MatchEqual, n, v)
}

// everything asks for all rows.
func everything(ms ...string) *logql.SelectRequest {
	r := &logql.SelectRequest{Start: math.MinInt64, End: math.MaxInt64, Direction: logql.Forward}
	for _, m := range ms {
		r.Matchers = append(r.Matchers, matcher(m))
	}
	return r
}

// read returns the rows of a source as text, run by run in the order of the batches.
func read(t testing.TB, ctx context.Context, src logql.Source, req *logql.SelectRequest) []string {
	t.Helper()
	out, err := tryRead(ctx, src, req)
	if err != nil {
		t.Fatalf("select: %v", err)
	}
	return out
}

func tryRead(ctx context.Context, src logql.Source, req *logql.SelectRequest) ([]string, error) {
	var out []string
	for b, err := range src.Select(ctx, req) {
		if err != nil {
			return nil, err
		}
		rows, err := batchRows(ctx, b)
		b.Release()
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
	}
	return out, nil
}

// batchRows returns the rows of a batch as text, and checks that the batch is as it should be.
func batchRows(ctx context.Context, b *column.Batch) ([]string, error) {
	times, err := b.Times(ctx)
	if err != nil {
		return nil, err
	}
	lines, err := b.Lines(ctx)
	if err != nil {
		return nil, err
	}
	lengths, err := b.LineLengths(ctx)
	if err != nil {
		return nil, err
	}
	names, err := b.MetadataNames(ctx)
	if err != nil {
		return nil, err
	}
	if len(times) != b.Rows() || len(lines.Offsets) != b.Rows()+1 || len(lengths) != b.Rows() {
		return nil, fmt.Errorf("%d rows, but %d times, %d offsets, %d lengths", b.Rows(), len(times), len(lines.Offsets), len(lengths))
	}
	var out []string
	for _, r := range b.Runs {
		if r.MinTime != times[r.From] || r.MaxTime != times[r.To-1] || r.MinTime < b.MinTime || r.MaxTime > b.MaxTime {
			return nil, fmt.Errorf("run %+v does not fit its times or the batch", r)
		}
		if !slices.IsSorted(times[r.From:r.To]) {
			return nil, fmt.Errorf("run of %s is not in order", r.Stream.Labels)
		}
		for n := r.From; n < r.To; n++ {
			if int(lengths[n]) != len(lines.Row(n)) {
				return nil, fmt.Errorf("row %d: length %d of %q", n, lengths[n], lines.Row(n))
			}
			s := fmt.Sprintf("%s %d %s", r.Stream.Labels, times[n], lines.Row(n))
			for _, name := range names {
				col, err := b.Metadata(ctx, name)
				if err != nil {
					return nil, err
				}
				if v, ok := col.Row(n); ok {
					s += fmt.Sprintf(" %s=%s", name, v)
				}
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func want(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestPushSelectReplayFlush(t *testing.T) {
	dir, st := t.TempDir(), newMemStore()
	ctx := tenantCtx(t, "a")
	i, err := tryStart(t, Config{Dir: dir}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, b := ls("app", "a"), ls("app", "b")
	push(t, i, "a",
		stream1(a, entry(30, "three", "level", "info"), entry(10, "one", "level", "warn", "trace", "x1"), entry(20, "two")),
		stream1(b, entry(15, "other", "zone", "z", "level", "info")))
	push(t, i, "a", stream1(a, entry(20, "two"), entry(20, "two", "level", "info"), entry(20, "zwei"), entry(10, "one", "trace", "x1", "level", "warn")))
	push(t, i, "b", stream1(a, entry(1, "not yours")))
	rows := []string{
		`{app="a"} 10 one level=warn trace=x1`,
		`{app="a"} 20 two`,
		`{app="a"} 20 two level=info`,
		`{app="a"} 20 zwei`,
		`{app="a"} 30 three level=info`,
		`{app="b"} 15 other level=info zone=z`,
	}
	want(t, read(t, ctx, i, everything()), rows...)
	want(t, read(t, ctx, i, everything("app=b")), rows[5])
	want(t, read(t, ctx, i, everything("app=~a|x")), rows[:5]...)
	want(t, read(t, ctx, i, everything("app!=a")), rows[5])
	want(t, read(t, ctx, i, everything("app!~a|x", "none=")), rows[5])
	want(t, read(t, ctx, i, everything("none!=")))
	want(t, read(t, ctx, i, everything("app=~.+", "none!~.+")), rows...)
	req := everything()
	req.Start, req.End = 15, 20
	want(t, read(t, ctx, i, req), rows[5])
	stop(t, i)
	if err := i.Push(ctx, &PushRequest{}); !errors.Is(err, ErrNotReady) {
		t.Errorf("push after stop: %v", err)
	}

	// Restart: the same from the log, then from the store.
	i, err = tryStart(t, Config{Dir: dir}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, read(t, ctx, i, everything()), rows...)
	push(t, i, "a", stream1(b, entry(16, "late", "new", "n", "level", "x")))
	rows = append(rows, `{app="b"} 16 late level=x new=n`)
	want(t, read(t, ctx, i, everything()), rows...)
	if err := i.Flush(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	want(t, read(t, ctx, st, everything()), rows...)
	want(t, read(t, ctx, i, everything()), rows...)
	segs, _ := st.Segments(ctx, math.MinInt64, math.MaxInt64)
	if len(segs) != 1 {
		t.Fatalf("%d segments, want 1", len(segs))
	}
	req = everything()
	req.Known = []string{segs[0].ID.String()}
	want(t, read(t, ctx, i, req))
	stop(t, i)

	// The part is a segment: the log must not bring it back.
	i, err = tryStart(t, Config{Dir: dir}, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	want(t, read(t, ctx, i, req))
	want(t, read(t, tenantCtx(t, "b"), i, everything()), `{app="a"} 1 not yours`)
	stop(t, i)
}

func TestStreamLimit(t *testing.T) {
	lim := limits.Default()
	lim.MaxGlobalStreamsPerUser = 2
	i, err := tryStart(t, Config{}, newMemStore(), &lim)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, i)
	ctx := tenantCtx(t, "a")
	err = i.Push(ctx, &PushRequest{Streams: []Stream{
		stream1(ls("n", "1"), entry(1, "x")), stream1(ls("n", "2"), entry(1, "x")),
		stream1(ls("n", "3"), entry(1, "x")), stream1(ls("n", "4"), entry(1, "x")), stream1(ls("n", "1"), entry(2, "x")),
	}})
	var limit *StreamLimitError
	if !errors.Is(err, ErrStreamLimit) || !errors.As(err, &limit) || len(limit.Streams) != 2 || limit.Limit != 2 {
		t.Fatalf("got %v", err)
	}
	if msg := err.Error(); !strings.HasPrefix(msg, `maximum active stream limit exceeded when trying to create stream {n="3"}`) {
		t.Errorf("text: %s", msg)
	}
	want(t, read(t, ctx, i, everything()), `{n="1"} 1 x`, `{n="1"} 2 x`, `{n="2"} 1 x`)
	var rest *StreamLimitError
	share := 0.6 // of five ingesters each holds three fifths
	shared, err := tryStart(t, Config{StreamShare: func() float64 { return share }}, newMemStore(), &limits.Limits{MaxGlobalStreamsPerUser: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, shared)
	for n, want := range []int{0, 0, 1} { // 1.8 streams are two
		err := shared.Push(ctx, &PushRequest{Streams: []Stream{stream1(ls("n", fmt.Sprint(n)), entry(1, "x"))}})
		if errors.As(err, &rest) != (want == 1) || want == 1 && rest.Limit != 3 {
			t.Errorf("stream %d of a share: %v", n, err)
		}
	}
	// Streams count while they are in memory, each once.
	if err := i.Flush(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	push(t, i, "a", stream1(ls("n", "3"), entry(1, "x")), stream1(ls("n", "1"), entry(1, "x")))
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	i := start(t, Config{Dir: dir}, newMemStore())
	_, err := tryStart(t, Config{Dir: dir}, newMemStore(), nil)
	if !errors.Is(err, ErrLocked) {
		t.Errorf("second ingester: %v", err)
	}
	_ = i
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tryStart(t, Config{Dir: filepath.Join(file, "wal")}, newMemStore(), nil); err == nil || !strings.Contains(err.Error(), "folder of the write-ahead log") {
		t.Errorf("folder that cannot be made: %v", err)
	}
}

func TestCutReasons(t *testing.T) {
	var clock atomic.Int64 // nanoseconds since 1970; the cutter reads it too
	clock.Store(1000 * int64(time.Second))
	now := func() time.Time { return time.Unix(0, clock.Load()) }
	st := newMemStore()
	i := start(t, Config{SegmentTarget: 1000, Now: now, CheckEvery: time.Hour}, st)
	big := strings.Repeat("x", 1000)
	push(t, i, "full", stream1(ls("a", "b"), entry(1, big)))
	push(t, i, "old", stream1(ls("a", "b"), entry(1, "x")))
	push(t, i, "idle", stream1(ls("a", "b"), entry(1, "x")))
	clock.Add(int64(29 * time.Minute))
	push(t, i, "old", stream1(ls("a", "b"), entry(1, "y")))
	clock.Add(int64(time.Minute))
	i.sweepOnce(now())
	awaitCounter(t, i, reasonSize, 1)
	awaitCounter(t, i, reasonIdle, 1)
	for range 5 {
		clock.Add(int64(19 * time.Minute))
		push(t, i, "old", stream1(ls("a", "b"), entry(1, "y")))
		i.sweepOnce(now())
	}
	awaitCounter(t, i, reasonAge, 1)
	if n := testutil.ToFloat64(i.metrics.flushed.WithLabelValues(string(reasonIdle))); n != 1 {
		t.Errorf("%v parts cut as idle, want 1", n)
	}
}

// awaitCounter waits until so many parts were cut for that reason.
func awaitCounter(t *testing.T, i *Ingester, why reason, n float64) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		changed := i.cutter.changed.wait()
		if testutil.ToFloat64(i.metrics.flushed.WithLabelValues(string(why))) >= n {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("no part was cut because of %q", why)
		}
	}
}
