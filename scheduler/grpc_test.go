package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/grpc"

	door "example.com/loki/internal/gate"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/logql"
	"example.com/loki/querier"
	"example.com/loki/ring/member"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

func TestContractOverGRPC(t *testing.T) {
	schedulertest.Contract(t, func(t *testing.T, q scheduler.Querier) scheduler.Service {
		s := start(t, 1, q, nil)
		t.Cleanup(func() { stop(t, s) })
		return scheduler.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) { scheduler.RegisterServer(r, s) }))
	})
}

// cluster is a scheduler to which queriers connect.
type cluster struct {
	*scheduler.Scheduler
	peer *wiretest.Peer
	reg  *prometheus.Registry
}

func newCluster(t *testing.T) *cluster {
	reg := prometheus.NewRegistry()
	s := start(t, 0, nil, reg)
	c := &cluster{Scheduler: s, reg: reg}
	c.peer = wiretest.Serve(t, wire.Config{}, func(r grpc.ServiceRegistrar) {
		scheduler.RegisterServer(r, s)
		scheduler.RegisterDispatcher(r, s)
	})
	t.Cleanup(func() { stop(t, s) })
	return c
}

// join connects a querier with slots and waits until it is there.
func (c *cluster) join(t *testing.T, slots int, q querier.Runner, conn grpc.ClientConnInterface) *querier.Worker {
	t.Helper()
	before := c.gauge(t, "loki_query_scheduler_connected_querier_clients")
	w, err := querier.NewWorker(querier.WorkerConfig{Parallelism: slots, Name: t.Name()}, conn, q, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, w) })
	c.await(t, "loki_query_scheduler_connected_querier_clients", before+float64(slots))
	return w
}

func (c *cluster) gauge(t *testing.T, name string) float64 {
	t.Helper()
	families, err := c.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// await waits until a metric has a value.
func (c *cluster) await(t *testing.T, name string, want float64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(10 * time.Second)
	for c.gauge(t, name) != want {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s is %v, want %v", name, c.gauge(t, name), want)
		}
	}
}

func TestContractWithWorkers(t *testing.T) {
	for _, remote := range []bool{false, true} {
		t.Run(fmt.Sprintf("remote=%v", remote), func(t *testing.T) {
			schedulertest.Contract(t, func(t *testing.T, q scheduler.Querier) scheduler.Service {
				c := newCluster(t)
				c.join(t, 1, q, c.peer.Dial(t, wire.Config{}))
				if remote {
					return scheduler.NewClient(c.peer.Dial(t, wire.Config{}))
				}
				return c.Scheduler
			})
		})
	}
}

// count answers with the number of the task.
func count(_ context.Context, t *logql.Task) (*logql.Partial, error) {
	return &logql.Partial{Stats: logql.Stats{Rows: t.From}}, nil
}

func as(t *testing.T, tenant string) context.Context { return user.InjectOrgID(t.Context(), tenant) }

// TestTasksWaitForWorkers shows that a task that comes before the first querier is done when one comes, and
// that it says how long it has waited.
func TestTasksWaitForWorkers(t *testing.T) {
	c := newCluster(t)
	s := scheduler.NewClient(c.peer.Dial(t, wire.Config{}))
	var wg sync.WaitGroup
	defer wg.Wait()
	for n := range 10 {
		wg.Go(func() {
			p, err := s.Run(as(t, "a"), &logql.Task{From: int64(n)})
			if err != nil || p.Stats.Rows != int64(n) || p.Stats.QueueTime <= 0 {
				t.Errorf("Run = %+v, %v", p, err)
			}
		})
	}
	c.await(t, "loki_query_scheduler_queue_length", 10)
	c.join(t, 2, schedulertest.Fake(count), c.peer.Dial(t, wire.Config{}))
}

// schedulers are those that queriers know of.
type schedulers struct{ atomic.Pointer[member.Static] }

func (s *schedulers) set(addrs ...string) {
	known := member.Fixed(member.Options{}, addrs...)
	s.Store(&known)
}

func (s *schedulers) View() member.View { return s.Load().View() }

// TestWorkersFollowSchedulers has a querier learn of a second scheduler while it runs, and then of the end of the first.
func TestWorkersFollowSchedulers(t *testing.T) {
	a, b := newCluster(t), newCluster(t)
	peers := map[string]*cluster{"a": a, "b": b}
	known := &schedulers{}
	known.set("a")
	dial := func(addr string) (grpc.ClientConnInterface, io.Closer, error) {
		return peers[addr].peer.Dial(t, wire.Config{}), io.NopCloser(nil), nil
	}
	w, err := querier.NewWorkers(querier.WorkerConfig{Parallelism: 2}, known, dial, schedulertest.Fake(count), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, w) })
	const connected = "loki_query_scheduler_connected_querier_clients"
	a.await(t, connected, 2)
	b.await(t, connected, 0)
	known.set("a", "b")
	b.await(t, connected, 2)
	for n, c := range []*cluster{a, b} {
		if p, err := c.Run(as(t, "x"), &logql.Task{From: int64(n)}); err != nil || p.Stats.Rows != int64(n) {
			t.Errorf("Run = %+v, %v", p, err)
		}
	}
	known.set("b")
	a.await(t, connected, 0)
	b.await(t, connected, 2)
}

// TestWorkersComeAndGo runs tasks while queriers join and leave all the time. None of the tasks notices.
func TestWorkersComeAndGo(t *testing.T) {
	c := newCluster(t)
	s := scheduler.NewClient(c.peer.Dial(t, wire.Config{}))
	ctx, cancel := context.WithCancel(as(t, "a"))
	var clients, queriers sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for n := int64(0); ctx.Err() == nil; n++ {
				p, err := s.Run(ctx, &logql.Task{From: n})
				switch {
				case ctx.Err() != nil:
				case err != nil || p.Stats.Rows != n:
					t.Errorf("Run of %d = %+v, %v", n, p, err)
				}
			}
		})
	}
	for range 3 {
		conn := c.peer.Dial(t, wire.Config{})
		queriers.Go(func() {
			for range 20 {
				var tasks atomic.Int64
				enough := make(chan struct{})
				w, err := querier.NewWorker(querier.WorkerConfig{Parallelism: 2}, conn, schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
					if tasks.Add(1) == 5 {
						close(enough)
					}
					return count(ctx, task)
				}), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if err := services.StartAndAwaitRunning(t.Context(), w); err != nil {
					t.Error(err)
				}
				<-enough
				if err := services.StopAndAwaitTerminated(t.Context(), w); err != nil {
					t.Error(err)
				}
			}
		})
	}
	queriers.Wait()
	cancel()
	clients.Wait()
	if n := c.gauge(t, "loki_query_scheduler_lost_tasks_total"); n != 0 {
		t.Errorf("%v tasks were lost though all queriers left in good order", n)
	}
	c.await(t, "loki_query_scheduler_connected_querier_clients", 0)
	c.await(t, "loki_query_scheduler_inflight_requests", 0)
}

// TestVanishedWorker breaks the connection of a querier that works on a task: another one does it.
func TestVanishedWorker(t *testing.T) {
	c := newCluster(t)
	begun := make(chan struct{}, 1)
	conn := c.peer.Dial(t, wire.Config{})
	c.join(t, 1, schedulertest.Fake(func(ctx context.Context, _ *logql.Task) (*logql.Partial, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}), conn)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		p, err := c.Run(as(t, "a"), &logql.Task{From: 7})
		if err != nil || p.Stats.Rows != 7 {
			t.Errorf("Run = %+v, %v", p, err)
		}
	})
	<-begun
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	c.await(t, "loki_query_scheduler_lost_tasks_total", 1)
	c.await(t, "loki_query_scheduler_connected_querier_clients", 0)
	c.join(t, 1, schedulertest.Fake(count), c.peer.Dial(t, wire.Config{}))
}

// TestPoisonedTask gives up a task that costs one querier after the other.
func TestPoisonedTask(t *testing.T) {
	c := newCluster(t)
	for range 3 {
		conn := &breaking{c.peer.Dial(t, wire.Config{})}
		c.join(t, 1, schedulertest.Fake(func(ctx context.Context, _ *logql.Task) (*logql.Partial, error) {
			conn.Close()
			<-ctx.Done()
			return nil, ctx.Err()
		}), conn)
	}
	if _, err := c.Run(as(t, "a"), &logql.Task{}); !errors.Is(err, scheduler.ErrLost) {
		t.Errorf("Run = %v, want %v", err, scheduler.ErrLost)
	}
}

// breaking is a connection that may be closed before the end of the test.
type breaking struct{ *grpc.ClientConn }

func TestPanicOfTask(t *testing.T) {
	c := newCluster(t)
	c.join(t, 1, schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) { panic("oops") }), c.peer.Dial(t, wire.Config{}))
	for range 2 {
		if _, err := c.Run(as(t, "a"), &logql.Task{}); err == nil || errors.Is(err, scheduler.ErrLost) {
			t.Errorf("Run = %v, want the panic", err)
		}
	}
}

// TestSchedulerStops cancels tasks that run and those that wait, and lets the queriers go.
func TestSchedulerStops(t *testing.T) {
	c := newCluster(t)
	begun := make(chan struct{}, 1)
	c.join(t, 1, schedulertest.Fake(func(ctx context.Context, _ *logql.Task) (*logql.Partial, error) {
		begun <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}), c.peer.Dial(t, wire.Config{}))
	s := scheduler.NewClient(c.peer.Dial(t, wire.Config{}))
	var wg sync.WaitGroup
	defer wg.Wait()
	for range 2 {
		wg.Go(func() {
			if _, err := s.Run(as(t, "a"), &logql.Task{}); !errors.Is(err, scheduler.ErrStopped) {
				t.Errorf("Run = %v, want %v", err, scheduler.ErrStopped)
			}
		})
	}
	<-begun
	c.await(t, "loki_query_scheduler_queue_length", 1)
	stop(t, c.Scheduler)
	c.await(t, "loki_query_scheduler_connected_querier_clients", 0)
}

// TestCancelledTaskKeepsItsSlot shows that a querier gets no new task before it has ended the cancelled one.
func TestCancelledTaskKeepsItsSlot(t *testing.T) {
	c := newCluster(t)
	begun, end := make(chan int64, 4), make(chan struct{})
	c.join(t, 1, schedulertest.Fake(func(ctx context.Context, task *logql.Task) (*logql.Partial, error) {
		begun <- task.From
		if task.From == 1 {
			<-ctx.Done()
			<-end
		}
		return count(ctx, task)
	}), c.peer.Dial(t, wire.Config{}))
	ctx, cancel := context.WithCancel(as(t, "a"))
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		<-begun
		cancel()
	})
	if _, err := c.Run(ctx, &logql.Task{From: 1}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v, want %v", err, context.Canceled)
	}
	wg.Go(func() {
		if _, err := c.Run(as(t, "a"), &logql.Task{From: 2}); err != nil {
			t.Errorf("Run of the second task: %v", err)
		}
	})
	c.await(t, "loki_query_scheduler_queue_length", 1)
	close(end)
}

// TestShutGate ends what queriers and frontends wait for while the scheduler itself still runs: so a process stops.
func TestShutGate(t *testing.T) {
	s := start(t, 0, nil, prometheus.NewRegistry())
	t.Cleanup(func() { stop(t, s) })
	g := door.New(scheduler.ErrStopped)
	g.Open()
	peer := wiretest.Serve(t, wire.Config{}, func(r grpc.ServiceRegistrar) {
		r = door.GRPC(r, g.Closed, g.EnterWrite, g.Enter)
		scheduler.RegisterServer(r, s)
		scheduler.RegisterDispatcher(r, s)
	})
	working := make(chan struct{})
	slow := schedulertest.Fake(func(ctx context.Context, _ *logql.Task) (*logql.Partial, error) {
		close(working)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c := &cluster{Scheduler: s, peer: peer}
	w, err := querier.NewWorker(querier.WorkerConfig{Parallelism: 2}, c.peer.Dial(t, wire.Config{}), slow, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, w) })
	failed := make(chan error, 1)
	go func() {
		_, err := scheduler.NewClient(c.peer.Dial(t, wire.Config{})).Run(as(t, "a"), &logql.Task{})
		failed <- err
	}()
	<-working // one slot of the querier works, the other waits
	shut := make(chan struct{})
	go func() {
		g.Shut()
		close(shut)
	}()
	select {
	case <-shut:
	case <-time.After(time.Minute):
		t.Fatal("calls do not end when the process stops")
	}
	if err := <-failed; err == nil {
		t.Error("a task is done though the process has stopped")
	}
}

func TestMetricNamesWithWorkers(t *testing.T) {
	c := newCluster(t)
	problems, err := testutil.GatherAndLint(c.reg)
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

var _ io.Closer = (*breaking)(nil)

func BenchmarkRunByWorker(b *testing.B) {
	reg := prometheus.NewRegistry()
	s, err := scheduler.New(scheduler.Config{}, nil, nil, reg)
	if err != nil {
		b.Fatal(err)
	}
	peer := wiretest.Serve(b, wire.Config{}, func(r grpc.ServiceRegistrar) {
		scheduler.RegisterServer(r, s)
		scheduler.RegisterDispatcher(r, s)
	})
	w, err := querier.NewWorker(querier.WorkerConfig{}, peer.Dial(b, wire.Config{}), schedulertest.Fake(count), nil)
	if err != nil {
		b.Fatal(err)
	}
	for _, svc := range []services.Service{s, w} {
		if err := services.StartAndAwaitRunning(b.Context(), svc); err != nil {
			b.Fatal(err)
		}
		defer services.StopAndAwaitTerminated(context.Background(), svc)
	}
	ctx := user.InjectOrgID(b.Context(), "a")
	for name, service := range map[string]scheduler.Service{"local": s, "remote": scheduler.NewClient(peer.Dial(b, wire.Config{}))} {
		b.Run("scheduler="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := service.Run(ctx, &logql.Task{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
