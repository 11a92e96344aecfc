package scheduler_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
	"example.com/loki/scheduler"
	"example.com/loki/scheduler/schedulertest"
)

// changing is a ring that a test changes.
type changing struct {
	mu  sync.Mutex
	all []member.Instance
}

func (c *changing) View() member.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return member.NewSnapshot(member.Options{Kind: "query-scheduler"}, c.all).At(time.Now())
}

func (c *changing) set(states ...member.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = nil
	for n, s := range states {
		name := fmt.Sprint("s", n)
		c.all = append(c.all, member.Instance{ID: name, Addr: name, State: s})
	}
}

// far are schedulers that fakes stand for.
type far struct {
	ring   changing
	calls  [3]atomic.Int64
	closed [3]atomic.Int64
	down   [3]atomic.Bool
}

type closer func()

func (c closer) Close() error { c(); return nil }

func (f *far) dial(addr string) (scheduler.Service, io.Closer, error) {
	n := int(addr[1] - '0')
	return schedulertest.Fake(func(context.Context, *logql.Task) (*logql.Partial, error) {
		f.calls[n].Add(1)
		if f.down[n].Load() {
			return nil, status.Error(codes.Unavailable, "down")
		}
		return &logql.Partial{Stats: logql.Stats{Rows: int64(n)}}, nil
	}), closer(func() { f.closed[n].Add(1) }), nil
}

func (f *far) start(t *testing.T) *scheduler.Peers {
	t.Helper()
	p := scheduler.NewPeers(&f.ring, f.dial, nil)
	if err := services.StartAndAwaitRunning(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), p); err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestPeersContract(t *testing.T) {
	schedulertest.Contract(t, func(t *testing.T, q scheduler.Querier) scheduler.Service {
		s := start(t, 1, q, nil)
		t.Cleanup(func() { stop(t, s) })
		peer := wiretest.Serve(t, wire.Config{}, func(r grpc.ServiceRegistrar) { scheduler.RegisterServer(r, s) })
		p := scheduler.NewPeers(member.Fixed(member.Options{}, "a:1"), func(string) (scheduler.Service, io.Closer, error) {
			return scheduler.NewClient(peer.Dial(t, wire.Config{})), closer(func() {}), nil
		}, nil)
		t.Cleanup(func() { _ = services.StopAndAwaitTerminated(context.Background(), p) })
		return p
	})
}

func TestPeers(t *testing.T) {
	f := new(far)
	f.ring.set(member.Active, member.Active, member.Leaving)
	p := f.start(t)
	run := func(n int) {
		t.Helper()
		for range n {
			if _, err := p.Run(t.Context(), &logql.Task{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(10)
	if a, b, c := f.calls[0].Load(), f.calls[1].Load(), f.calls[2].Load(); a != 5 || b != 5 || c != 0 {
		t.Errorf("calls %d, %d, %d, want turns of those that are ACTIVE", a, b, c)
	}
	f.down[0].Store(true)
	run(10)
	if a, b := f.calls[0].Load(), f.calls[1].Load(); a != 6 || b != 15 {
		t.Errorf("calls %d, %d, want one that finds out that the first is away", a, b)
	}
	// The second leaves: what is left is asked though it was away.
	f.ring.set(member.Active)
	f.down[0].Store(false)
	run(1)
	if a := f.calls[0].Load(); a != 7 || f.closed[1].Load() != 1 {
		t.Errorf("%d calls, %d connections are closed", a, f.closed[1].Load())
	}
}

// TestPeersNobody gives out a task while no scheduler is there; it is run when one comes.
func TestPeersNobody(t *testing.T) {
	f := new(far)
	p := f.start(t)
	asked := make(chan struct{})
	go func() {
		<-asked
		f.ring.set(member.Active)
	}()
	ctx := &watched{Context: t.Context(), done: sync.OnceFunc(func() { close(asked) })}
	if _, err := p.Run(ctx, &logql.Task{}); err != nil {
		t.Errorf("Run = %v", err)
	}
	f.ring.set()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Run(over, &logql.Task{}); !wire.IsUnavailable(err) {
		t.Errorf("Run without schedulers = %v, want Unavailable", err)
	}
}

// watched is a context that tells when somebody waits for its end.
type watched struct {
	context.Context
	done func()
}

func (w *watched) Done() <-chan struct{} {
	w.done()
	return w.Context.Done()
}
