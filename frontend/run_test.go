package frontend_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

const minute = int64(time.Minute)

// dense is a querier to which segments have bytesPerMinute, and the streams asked for a share of these.
func dense(bytesPerMinute int64, share float64, headsFrom int64) *queriertest.Fake {
	return &queriertest.Fake{
		SurveyFunc: func(_ context.Context, req *querier.SurveyRequest) ([]querier.SurveyPiece, error) {
			pieces := make([]querier.SurveyPiece, len(req.Cuts)-1)
			for i := range pieces {
				pieces[i].Bytes = (req.Cuts[i+1] - req.Cuts[i]) / minute * bytesPerMinute
				if req.Cuts[i+1] <= headsFrom {
					pieces[i].Source = "segments"
				}
			}
			return pieces, nil
		},
		VolumesFunc: func(_ context.Context, start, end int64, _ []*labels.Matcher) ([]logql.StreamVolume, error) {
			return []logql.StreamVolume{{Bytes: int64(float64((end-start)/minute*bytesPerMinute) * share)}}, nil
		},
	}
}

// ranges notes the ranges of tasks.
type ranges struct {
	mu  sync.Mutex
	all []string
}

func (r *ranges) Run(_ context.Context, task *logql.Task) (*logql.Partial, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprintf("%d-%d", task.From/minute, task.Through/minute))
	return &logql.Partial{}, nil
}

func newFrontend(t *testing.T, cfg frontend.Config, s scheduler.Service, q querier.Service, lim limits.Limits) *frontend.Frontend {
	t.Helper()
	cfg.Now = now
	f, err := frontend.New(cfg, s, q, limits.Fixed(lim), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestTasks looks at the tasks that queries become.
func TestTasks(t *testing.T) {
	never := int64(1) << 62
	metric := logql.Params{Query: `rate({a="b"}[1m])`, Start: 1 * minute, End: 240 * minute, Step: time.Minute}
	log := logql.Params{Query: `{a="b"}`, Start: 0, End: 240 * minute, Limit: 10}
	forward := log
	forward.Direction = logql.Forward
	spaced := log
	spaced.Interval = time.Second
	unsplit := limits.Default()
	unsplit.SplitQueriesByInterval = 0
	for _, tt := range []struct {
		name  string
		p     logql.Params
		cfg   frontend.Config
		q     *queriertest.Fake
		lim   limits.Limits
		tasks int
		want  string
	}{
		{name: "much", p: metric, cfg: frontend.Config{SplitTasks: true, TaskBytes: 60 << 20}, q: dense(1<<20, 1, never), want: "0-60 120-180 180-240 60-120"},
		{name: "little", p: metric, cfg: frontend.Config{SplitTasks: true}, q: dense(1<<20, 1, never), want: "0-240"},
		{name: "one process", p: metric, cfg: frontend.Config{TaskBytes: 60 << 20}, q: dense(1<<20, 1, never), want: "0-240"},
		{name: "few streams of many", p: metric, cfg: frontend.Config{SplitTasks: true, TaskBytes: 60 << 20}, q: dense(1<<20, 0.2, never), want: "0-240"},
		{name: "heads alone", p: metric, cfg: frontend.Config{SplitTasks: true, TaskBytes: 60 << 20}, q: heads(1 << 20), want: "0-60 120-180 180-240 60-120"},
		{name: "very much", p: metric, cfg: frontend.Config{SplitTasks: true, TaskBytes: 1}, q: dense(1<<20, 1, never), tasks: 60},
		{name: "switched off", p: metric, cfg: frontend.Config{SplitTasks: true, TaskBytes: 1}, q: dense(1<<20, 1, never), lim: unsplit, want: "0-239"},
		{name: "backward", p: log, cfg: frontend.Config{SplitTasks: true, TaskBytes: 80 << 20}, q: dense(1<<20, 1, never), want: "0-80 160-240 80-160"},
		{name: "forward", p: forward, cfg: frontend.Config{SplitTasks: true, TaskBytes: 80 << 20}, q: dense(1<<20, 1, never), want: "0-80 160-240 80-160"},
		{name: "interval", p: spaced, cfg: frontend.Config{SplitTasks: true, TaskBytes: 1}, q: dense(1<<20, 1, never), want: "0-240"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.lim.MaxQueryParallelism == 0 {
				tt.lim = limits.Default()
			}
			r := &ranges{}
			f := newFrontend(t, tt.cfg, r, tt.q, tt.lim)
			if _, err := f.Query(user.InjectOrgID(t.Context(), "a"), &tt.p); err != nil {
				t.Fatal(err)
			}
			if n := len(r.all); tt.want == "" && (n < tt.tasks || n > 64) {
				t.Errorf("%d tasks, want %d to 64", n, tt.tasks)
			}
			slices.Sort(r.all)
			if got := strings.Join(r.all, " "); tt.want != "" && strings.ReplaceAll(got, "-239", "-240") != strings.ReplaceAll(tt.want, "-239", "-240") {
				t.Errorf("tasks %s, want %s", got, tt.want)
			}
		})
	}
}

// heads is a querier to which all rows are with ingesters.
func heads(bytesPerMinute int64) *queriertest.Fake {
	q := dense(bytesPerMinute, 1, 0)
	q.SurveyFunc = nil
	return q
}

// TestTasksStopEarly counts the tasks of a limited query over a world whose newest hour has enough.
func TestTasksStopEarly(t *testing.T) {
	w := frontendtest.World()
	q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	tasks := 0
	s := schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
		tasks++
		return q.Run(ctx, task)
	})
	f := newFrontend(t, frontend.Config{SplitTasks: true, TaskBytes: 100}, s, q, limits.Default())
	end := frontendtest.Now.UnixNano() - int64(time.Hour)
	res, err := f.Query(user.InjectOrgID(t.Context(), "a"), &logql.Params{Query: `{app="web"}`, Start: end - int64(time.Hour), End: end, Limit: 2})
	if err != nil || res.Stats.Returned != 2 || tasks != 1 {
		t.Errorf("%d tasks, %+v, %v, want one task and 2 lines", tasks, res, err)
	}
}

// TestMoreTasksAtOnce shows that a limited query that finds little runs more and more tasks at once, and
// cancels those that are in vain.
func TestMoreTasksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &queriertest.World{Tenant: "a"}
		full, err := querier.New(querier.Config{}, frontendtest.World().Heads(), w.Index(), w.Store(), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		end := frontendtest.Now.UnixNano()
		var mu sync.Mutex
		begun, cancelled := 0, 0
		s := schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
			mu.Lock()
			begun++
			mu.Unlock()
			select {
			case <-time.After(time.Second): // of the bubble's clock
			case <-ctx.Done():
				mu.Lock()
				cancelled++
				mu.Unlock()
				return nil, ctx.Err()
			}
			if age := end - task.Through; age < 30*minute || age > 45*minute {
				return &logql.Partial{}, nil
			}
			return full.Run(ctx, &logql.Task{Params: task.Params, From: task.Params.Start, Through: end})
		})
		f := newFrontend(t, frontend.Config{SplitTasks: true, TaskBytes: 1 << 20}, s, dense(1<<20, 1, 1<<62), limits.Default())
		begin := time.Now()
		p := &logql.Params{Query: `{app="web"}`, Start: end - 240*minute, End: end, Limit: 2}
		res, err := f.Query(user.InjectOrgID(t.Context(), "a"), p)
		if err != nil || res.Stats.Returned != 2 {
			t.Fatalf("Query = %+v, %v", res, err)
		}
		if took := time.Since(begin); took > 6*time.Second {
			t.Errorf("it took %v: one task after the other", took)
		}
		if begun >= 60 || cancelled == 0 {
			t.Errorf("%d tasks began, %d of them were cancelled", begun, cancelled)
		}
	})
}

// TestOneFailureStopsTheOthers has one task of many fail.
func TestOneFailureStopsTheOthers(t *testing.T) {
	want := errors.New("page is damaged")
	var once sync.Once
	tries := 0
	s := schedulertest.Fake(func(ctx context.Context, _ *logql.Task) (*logql.Partial, error) {
		failed := false
		once.Do(func() { failed = true })
		if failed {
			tries++
			return nil, want
		}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	f := newFrontend(t, frontend.Config{SplitTasks: true, TaskBytes: 1}, s, dense(1<<20, 1, 0), limits.Default())
	end := frontendtest.Now.UnixNano()
	p := &logql.Params{Query: `rate({app="web"}[1m])`, Start: end - int64(5*time.Hour), End: end, Step: time.Minute}
	if _, err := f.Query(user.InjectOrgID(t.Context(), "a"), p); !errors.Is(err, want) || tries != 1 {
		t.Errorf("Query = %v after %d tries, want %v at once", err, tries, want)
	}
}

// TestRetries has tasks fail in several ways.
func TestRetries(t *testing.T) {
	gone := status.Error(codes.Unavailable, "connection refused")
	for _, tt := range []struct {
		err   error
		times int // that each task fails
		tries int // of each task
		want  error
	}{
		{gone, 2, 3, nil},
		{context.Canceled, 1, 2, nil}, // of the querier, which stops
		{scheduler.ErrStopped, 5, 6, nil},
		{gone, 6, 6, gone},
		{scheduler.ErrLost, 1, 1, scheduler.ErrLost},
		{&logql.QueryError{Kind: logql.KindSeriesLimit, Message: "too many"}, 1, 1, logql.KindSeriesLimit},
	} {
		t.Run(fmt.Sprint(tt.err, tt.times), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				tries := map[int64]int{}
				s := schedulertest.Fake(func(_ context.Context, task *logql.Task) (*logql.Partial, error) {
					mu.Lock()
					defer mu.Unlock()
					tries[task.From]++
					if task.From == 60*minute+1 && tries[task.From] <= tt.times {
						return nil, tt.err
					}
					return &logql.Partial{}, nil
				})
				f := newFrontend(t, frontend.Config{SplitTasks: true, TaskBytes: 60 << 20}, s, dense(1<<20, 1, 0), limits.Default())
				p := &logql.Params{Query: `rate({a="b"}[1m])`, Start: minute, End: 240 * minute, Step: time.Minute}
				_, err := f.Query(user.InjectOrgID(t.Context(), "a"), p)
				if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) {
					t.Errorf("Query = %v, want %v", err, tt.want)
				}
				for from, n := range tries {
					if want := map[bool]int{true: tt.tries, false: 1}[from == 60*minute+1]; n != want {
						t.Errorf("the task from minute %d was tried %d times, want %d", from/minute, n, want)
					}
				}
			})
		})
	}
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(user.InjectOrgID(t.Context(), "a"))
		tries := 0
		s := schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) {
			tries++
			cancel()
			return nil, gone
		})
		f := newFrontend(t, frontend.Config{}, s, &queriertest.Fake{}, limits.Default())
		if _, err := f.Query(ctx, &logql.Params{Query: `{a="b"}`, End: minute, Limit: 1}); err == nil || tries != 1 {
			t.Errorf("Query = %v after %d tries", err, tries)
		}
	})
}

// TestParallelism counts the tasks of one query that run at once.
func TestParallelism(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		running, most := 0, 0
		s := schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) {
			mu.Lock()
			running++
			most = max(most, running)
			mu.Unlock()
			time.Sleep(time.Second) // of the bubble's clock
			mu.Lock()
			running--
			mu.Unlock()
			return &logql.Partial{}, nil
		})
		lim := limits.Default()
		lim.MaxQueryParallelism = 3
		f := newFrontend(t, frontend.Config{SplitTasks: true, TaskBytes: 1}, s, dense(1<<20, 1, 0), lim)
		for _, query := range []string{`rate({a="b"}[1m])`, `{a="b"}`} {
			most = 0
			p := &logql.Params{Query: query, Start: minute, End: 240 * minute, Step: time.Minute, Limit: 10}
			if _, err := f.Query(user.InjectOrgID(t.Context(), "a"), p); err != nil || most != 3 {
				t.Errorf("%s: at most %d tasks at once, %v, want 3", query, most, err)
			}
		}
	})
}
