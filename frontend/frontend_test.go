package frontend_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func now() time.Time { return frontendtest.Now }

// start starts services in order and stops them at the end of the test in reverse.
func start(t testing.TB, all ...services.Service) {
	t.Helper()
	for _, s := range all {
		if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
				t.Error(err)
			}
		})
	}
}

// over returns a frontend with the whole read path over a world.
func over(t testing.TB, cfg frontend.Config, w *queriertest.World, lim limits.Limits) *frontend.Frontend {
	t.Helper()
	provider := limits.Fixed(lim)
	q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), provider, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := scheduler.New(scheduler.Config{}, q, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Now = now
	f, err := frontend.New(cfg, s, q, provider, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, q, s, f)
	return f
}

func TestContract(t *testing.T) {
	for _, split := range []bool{false, true} {
		t.Run(fmt.Sprintf("split=%v", split), func(t *testing.T) {
			frontendtest.Contract(t, func(t *testing.T, w *queriertest.World, lim limits.Limits) frontend.Service {
				return over(t, frontend.Config{SplitTasks: split, TaskBytes: 1}, w, lim)
			})
		})
	}
}

func TestConfig(t *testing.T) {
	_, err := frontend.New(frontend.Config{SlowQuery: -1, TailPing: -1}, nil, nil, nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "SlowQuery") || !strings.Contains(err.Error(), "TailPing") {
		t.Errorf("New = %v, want both problems", err)
	}
}

// TestSplittingChangesNothing asks a frontend that cuts queries into as many tasks as it can and one that
// does not.
func TestSplittingChangesNothing(t *testing.T) {
	lim := limits.Default()
	whole := over(t, frontend.Config{}, frontendtest.World(), lim)
	split := over(t, frontend.Config{SplitTasks: true, TaskBytes: 1}, frontendtest.World(), lim)
	end := frontendtest.Now.UnixNano()
	ctx := user.InjectOrgID(t.Context(), "a")
	unwrapped := `{app=~".+"} | logfmt | unwrap n [25m]`
	for _, query := range []string{
		`{app=~".+"}`, `{app=~".+"} |~ "n=[3-7]$"`, `{app="api"} | logfmt | n > 4`,
		`count_over_time({app=~".+"}[25m])`, `sum by (app) (rate({app=~".+"}[1h]))`, `absent_over_time({app="web"}[7m])`,
		`avg_over_time(` + unwrapped + `)`, `quantile_over_time(0.7, ` + unwrapped + `)`, `stddev_over_time(` + unwrapped + `)`,
		`first_over_time(` + unwrapped + `)`, `last_over_time(` + unwrapped + `)`, `rate_counter(` + unwrapped + `)`,
		`max by (env) (max_over_time(` + unwrapped + `))`, `topk(1, sum by (app) (bytes_over_time({app=~".+"}[30m])))`,
		`sum(count_over_time({env="dev"}[30m])) / sum(count_over_time({app=~".+"}[30m]))`,
	} {
		for _, p := range []logql.Params{
			{Limit: 5}, {Limit: 5, Direction: logql.Forward}, {Limit: 1000},
			{Limit: 1000, Interval: 7 * time.Minute}, {Limit: 3, Interval: 13 * time.Minute, Direction: logql.Forward},
		} {
			p.Query, p.Start, p.End, p.Step = query, end-int64(2*time.Hour), end, 5*time.Minute
			want, err := whole.Query(ctx, &p)
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			got, err := split.Query(ctx, &p)
			if err != nil {
				t.Fatalf("%s in pieces: %v", query, err)
			}
			if got.Stats.Tasks < want.Stats.Tasks {
				t.Errorf("%s: %d tasks where the whole has %d", query, got.Stats.Tasks, want.Stats.Tasks)
			}
			got.Stats, want.Stats = logql.Stats{}, logql.Stats{}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
				t.Errorf("%s limit %d interval %v %v:\nin pieces %+v\nwhole     %+v", query, p.Limit, p.Interval, p.Direction, got, want)
			}
		}
	}
}

func TestLogLineAndMetrics(t *testing.T) {
	var buf bytes.Buffer
	reg := prometheus.NewRegistry()
	s := schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) {
		return &logql.Partial{Stats: logql.Stats{Tasks: 1, Rows: 100, RowsKept: 10, LineBytes: 2e6, MetadataBytes: 5}}, nil
	})
	f, err := frontend.New(frontend.Config{Now: now}, s, &queriertest.Fake{}, nil, slog.New(slog.NewTextHandler(&buf, nil)), reg)
	if err != nil {
		t.Fatal(err)
	}
	end := frontendtest.Now.UnixNano()
	ctx := user.InjectOrgID(t.Context(), "a")
	if _, err := f.Query(ctx, &logql.Params{Query: `{app="web"} |= "x"`, Start: end - int64(time.Hour), End: end, Limit: 7}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"level=INFO", "msg=query", "tenant=a", "latency=fast", `query="{app=\"web\"} |= \"x\""`, "query_hash=", "query_type=filter",
		"range_type=range", "length=1h0m0s", "step=0s", "duration=", "status=200", "limit=7", "returned_lines=0", "throughput=",
		"total_bytes=2.0MB", "total_bytes_structured_metadata=5B", "lines_per_second=", "total_lines=100", "post_filter_lines=10",
		"queue_time=0s", "splits=1",
	} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("log line lacks %s:\n%s", want, buf.String())
		}
	}
	buf.Reset()
	if _, err := f.Query(ctx, &logql.Params{Query: `{app=`, Start: end - int64(time.Hour), End: end}); err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"status=400", "query_type=invalid", "error=\"parse error"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("log line lacks %s:\n%s", want, buf.String())
		}
	}
	if n, err := testutil.GatherAndCount(reg, "loki_logql_querystats_latency_seconds"); err != nil || n != 2 {
		t.Errorf("%d latencies, %v, want those of both queries", n, err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Logf("names that are Loki's own: %v %v", problems, err)
	}
}

func BenchmarkQueryInstant(b *testing.B) {
	p := &logql.Partial{}
	s := schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { return p, nil })
	f, err := frontend.New(frontend.Config{}, s, &queriertest.Fake{}, nil, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx := user.InjectOrgID(b.Context(), "a")
	for _, query := range []string{`vector(1)+vector(1)`, `sum by (app) (count_over_time({app="web"} |= "x" [5m]))`} {
		b.Run(query, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.Query(ctx, &logql.Params{Query: query, Start: 1e18, End: 1e18}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
