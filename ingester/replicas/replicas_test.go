package replicas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
	"example.com/loki/store/storetest"
)

func fakes(n int) []ingester.Service {
	out := make([]ingester.Service, n)
	for i := range out {
		out[i] = new(ingestertest.Fake)
	}
	return out
}

func ingesters(t *testing.T, n int) []ingester.Service {
	out := make([]ingester.Service, n)
	for k := range out {
		i, err := ingester.New(ingester.Config{Dir: t.TempDir(), Sync: ingester.SyncNever}, new(storetest.Fake), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), i); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), i); err != nil {
				t.Error(err)
			}
		})
		out[k] = i
	}
	return out
}

func TestContract(t *testing.T) {
	t.Run("N=1", func(t *testing.T) {
		ingestertest.Contract(t, func(t *testing.T) ingester.Service { return newCluster(t, 1, Config{}, ingesters(t, 1)...) })
	})
	t.Run("N=1 of 2", func(t *testing.T) {
		ingestertest.Contract(t, func(t *testing.T) ingester.Service { return once{newCluster(t, 1, Config{}, ingesters(t, 2)...)} })
	})
	for name, m := range modes {
		t.Run("N=3, one is "+name, func(t *testing.T) {
			ingestertest.Contract(t, func(t *testing.T) ingester.Service {
				// The contract expects the same parts each time: none may be given up but for good.
				cfg := Config{SlowAfter: 5 * time.Second, MaxFailures: 1 << 30}
				if m == hanging {
					cfg = Config{SlowAfter: 300 * time.Millisecond, MaxFailures: 1}
				}
				c := newCluster(t, 3, cfg, ingesters(t, 3)...)
				c.nodes[1].set(m)
				return once{c}
			})
		})
	}
}

// TestAcknowledgedIsRead pushes while ingesters fail at random, then reads with each failure that is tolerated.
func TestAcknowledgedIsRead(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		nodes := 3 + rnd.IntN(3)
		c := newCluster(t, 3, Config{SlowAfter: 30 * time.Millisecond, PushTimeout: 20 * time.Millisecond, StuckAfter: 10 * time.Millisecond, ProbeEvery: 5 * time.Millisecond}, fakes(nodes)...)
		var acked, all []string
		for n := range 60 {
			for _, f := range c.nodes {
				f.set(fine)
			}
			for range rnd.IntN(3) {
				c.nodes[rnd.IntN(nodes)].set(mode(rnd.IntN(4)))
			}
			if rnd.IntN(10) == 0 {
				c.change(rnd.IntN(nodes), func(i *member.Instance) { i.State = member.State(rnd.IntN(4)) })
			}
			var req ingester.PushRequest
			var lines []string
			for k := range 1 + rnd.IntN(5) {
				line := fmt.Sprintf("%d-%d", n, k)
				lines = append(lines, line)
				req.Streams = append(req.Streams, entry(fmt.Sprint("app", rnd.IntN(50)), int64(rnd.IntN(100)), line))
			}
			err := c.Push(as(t.Context(), "a"), &req)
			for _, s := range req.Streams { // the request is the caller's again
				copy(s.Entries[0].Line, "XXXXX")
			}
			all = append(all, lines...)
			if err == nil {
				acked = append(acked, lines...)
			} else if !errors.Is(err, ErrNoQuorum) {
				t.Fatalf("Push: %v", err)
			}
		}
		if len(acked) < 50 {
			t.Errorf("seed %d: only %d of %d entries were acknowledged", seed, len(acked), len(all))
		}
		for down := -1; down < nodes; down++ {
			for _, m := range []mode{failing, hanging, dying} {
				for n, f := range c.nodes {
					if f.set(fine); n == down {
						f.set(m)
					}
				}
				got, err := c.read(t, logql.Direction(rnd.IntN(2)))
				if err != nil {
					t.Fatalf("seed %d: read while %d is %d: %v", seed, down, m, err)
				}
				if len(slices.Compact(slices.Clone(got))) != len(got) {
					t.Errorf("seed %d: an entry comes twice", seed)
				}
				for _, a := range acked {
					if _, ok := slices.BinarySearch(got, a); !ok {
						t.Fatalf("seed %d: %s is missing while %d is %d", seed, a, down, m)
					}
				}
				for _, g := range got {
					if !slices.Contains(all, g) {
						t.Fatalf("seed %d: %q was never pushed", seed, g)
					}
				}
			}
		}
	}
}

func TestPushNeedsQuorum(t *testing.T) {
	c := newCluster(t, 3, Config{}, fakes(3)...)
	push := func() error {
		return c.Push(as(t.Context(), "a"), &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 1, "l")}})
	}
	c.nodes[0].set(failing)
	if err := push(); err != nil {
		t.Errorf("with two of three: %v", err)
	}
	c.nodes[1].set(failing)
	err := push()
	if !errors.Is(err, ErrNoQuorum) || !errors.Is(err, errBoom) || !errors.Is(err, ingester.ErrNotReady) {
		t.Errorf("with one of three: %v", err)
	}
	if _, err := c.read(t, logql.Forward); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("read from one of three: %v", err)
	}
	c.add(new(ingestertest.Fake)) // not among the three, but the next
	if err := push(); err != nil {
		t.Errorf("with two of four: %v", err)
	}
}

func TestPushDoesNotWaitForTheSlowest(t *testing.T) {
	c := newCluster(t, 3, Config{PushTimeout: time.Minute, StuckAfter: time.Minute, SlowAfter: time.Minute}, fakes(3)...)
	c.nodes[2].set(hanging)
	req := &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 1, "line")}}
	if err := c.Push(as(t.Context(), "a"), req); err != nil {
		t.Fatal(err)
	}
	copy(req.Streams[0].Entries[0].Line, "XXXX")
	c.nodes[2].set(fine) // only now it takes the entry
	c.settled()
	c.nodes[0].set(failing)
	if got, err := c.read(t, logql.Forward); err != nil || !slices.Equal(got, []string{"line"}) {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestStuckIngesterCostsTimeOnce(t *testing.T) {
	c := newCluster(t, 1, Config{SlowAfter: 30 * time.Millisecond, StuckAfter: 60 * time.Millisecond, PushTimeout: time.Minute, ProbeEvery: 10 * time.Millisecond}, fakes(2)...)
	c.nodes[0].set(hanging)
	push := func(n int) time.Duration {
		began := time.Now()
		var req ingester.PushRequest
		for k := range 20 { // some of them belong to the one that hangs
			req.Streams = append(req.Streams, entry(fmt.Sprint("app", k), int64(n), "l"))
		}
		if err := c.Push(as(t.Context(), "a"), &req); err != nil {
			t.Fatal(err)
		}
		return time.Since(began)
	}
	if took := push(0); took > 5*time.Second {
		t.Errorf("the first push took %s", took)
	}
	eventually(t, "it counts as broken", func() bool { return len(c.brokenOnes(c.View())) == 1 })
	before := c.nodes[0].count()
	for n := range 50 {
		push(n)
	}
	if got := c.nodes[0].count(); got != before {
		t.Errorf("%d pushes went to a broken ingester", got-before)
	}
	c.nodes[0].set(fine)
	eventually(t, "it is back", func() bool { return len(c.brokenOnes(c.View())) == 0 })
	push(99)
	if got := c.nodes[0].count(); got == before {
		t.Error("no push went to the ingester that is back")
	}
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestRefusals(t *testing.T) {
	var services3 []ingester.Service
	for k := range 3 {
		l := limits.Default()
		l.MaxGlobalStreamsPerUser = 2 + k*100 // the first refuses, the others take all
		services3 = append(services3, limited(t, l))
	}
	push := func(c *cluster, apps ...string) error {
		var req ingester.PushRequest
		for _, a := range apps {
			req.Streams = append(req.Streams, entry(a, 1, "l"))
		}
		return once{c}.Push(as(t.Context(), "a"), &req)
	}
	c := newCluster(t, 3, Config{}, services3...)
	if err := push(c, "a", "b", "c", "d"); err != nil {
		t.Errorf("refused by one of three: %v", err)
	}
	l := limits.Default()
	l.MaxGlobalStreamsPerUser = 2
	c = newCluster(t, 3, Config{}, services3[2], limited(t, l), limited(t, l))
	err := push(c, "a", "b", "c", "d")
	var over *ingester.StreamLimitError
	if !errors.As(err, &over) || len(over.Streams) != 2 || over.Limit != 2 || over.Tenant != "a" {
		t.Errorf("refused by two of three: %v (%+v)", err, over)
	}
	c.nodes[1].set(failing)
	if err := push(c, "e", "a"); !errors.Is(err, ErrNoQuorum) || errors.As(err, &over) {
		t.Errorf("one refuses, one fails: %v", err)
	}
}

func limited(t *testing.T, l limits.Limits) ingester.Service {
	i, err := ingester.New(ingester.Config{Dir: t.TempDir(), Sync: ingester.SyncNever}, new(storetest.Fake), limits.Fixed(l), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(context.Background(), i); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { services.StopAndAwaitTerminated(context.Background(), i) })
	return i
}

func TestVolumesCountOnce(t *testing.T) {
	c := newCluster(t, 3, Config{}, fakes(5)...)
	var req ingester.PushRequest
	for n := range 30 {
		req.Streams = append(req.Streams, entry(fmt.Sprint("app", n), 1, "12345"))
	}
	if err := (once{c}).Push(as(t.Context(), "a"), &req); err != nil {
		t.Fatal(err)
	}
	for _, m := range []mode{fine, failing, hanging} {
		c.nodes[3].set(m)
		vs, err := c.Volumes(as(t.Context(), "a"), 0, 10, nil, nil)
		vs = logql.MergeVolumes(vs, c.ReplicationFactor())
		if err != nil || len(vs) != 30 {
			t.Fatalf("%d volumes, %v", len(vs), err)
		}
		for _, v := range vs {
			if v.Bytes != 5 || v.Entries != 1 || v.Chunks != 1 {
				t.Errorf("volume %+v", v)
			}
		}
	}
}

func TestTailGoesOn(t *testing.T) {
	c := newCluster(t, 3, Config{}, fakes(3)...)
	ctx, cancel := context.WithCancel(as(t.Context(), "a"))
	defer cancel()
	tail := c.Tail(ctx, nil)
	got := make(chan string)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		for b, err := range tail {
			if err != nil {
				t.Errorf("Tail: %v", err)
				return
			}
			for _, s := range b.Streams {
				for _, e := range s.Entries {
					select {
					case got <- string(e.Line):
					case <-ctx.Done():
						return
					}
				}
			}
		}
	})
	n := 0
	push := func() {
		t.Helper()
		n++
		line := fmt.Sprint("line", n)
		if err := c.Push(as(t.Context(), "a"), &ingester.PushRequest{Streams: []ingester.Stream{entry("x", int64(n), line)}}); err != nil {
			t.Fatal(err)
		}
		select {
		case l := <-got:
			if l != line {
				t.Errorf("tailed %q, want %q", l, line)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%q does not come", line)
		}
	}
	push()
	push()
	c.nodes[0].set(failing)
	push()
	push()
	// A new one that takes a dead one's place.
	c.nodes[0].set(fine)
	for range 3 {
		c.add(new(ingestertest.Fake))
	}
	for k := range 3 {
		k := k
		c.change(k+3, func(i *member.Instance) { i.State = member.Joining })
	}
	eventually(t, "the new ones are subscribed to", func() bool {
		c.Replicas.mu.Lock()
		defer c.Replicas.mu.Unlock()
		for k := range 3 {
			if p := c.peers[fmt.Sprint("node-", k+3)]; p == nil || p.users == 0 {
				return false
			}
		}
		return true
	})
	for k := range 3 {
		c.change(k+3, func(i *member.Instance) { i.State = member.Active })
		c.change(k, func(i *member.Instance) { i.State = member.Leaving })
	}
	for range 5 {
		push()
	}
}

func TestTailNotRead(t *testing.T) {
	c := newCluster(t, 3, Config{}, fakes(3)...)
	ctx, cancel := context.WithCancel(as(t.Context(), "a"))
	_ = c.Tail(ctx, nil)
	for n := range 10 {
		if err := c.Push(ctx, &ingester.PushRequest{Streams: []ingester.Stream{entry("x", int64(n), "l")}}); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	_ = c.Tail(as(t.Context(), "a"), nil) // and one that is still open when the service stops
}

func TestStopsWhileCallsHang(t *testing.T) {
	c := newCluster(t, 3, Config{StuckAfter: time.Minute}, fakes(3)...)
	for _, n := range c.nodes {
		n.set(hanging)
	}
	ctx := as(context.Background(), "a")
	var wg sync.WaitGroup
	wg.Go(func() {
		err := c.Push(ctx, &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 1, "l")}})
		if !errors.Is(err, ingester.ErrNotReady) {
			t.Errorf("Push: %v", err)
		}
	})
	wg.Go(func() {
		if _, err := c.Labels(ctx, 0, 1, nil); !errors.Is(err, ingester.ErrNotReady) {
			t.Errorf("Labels: %v", err)
		}
	})
	wg.Go(func() {
		if _, err := c.read(t, logql.Forward); !errors.Is(err, ingester.ErrNotReady) {
			t.Errorf("Select: %v", err)
		}
	})
	eventually(t, "all calls are under way", func() bool {
		c.Replicas.mu.Lock()
		defer c.Replicas.mu.Unlock()
		n := 0
		for _, p := range c.peers {
			n += p.users
		}
		return n >= 12 // a push uses its peer twice
	})
	if err := services.StopAndAwaitTerminated(context.Background(), c.Replicas); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := c.Series(ctx, 0, 1, nil); !errors.Is(err, ingester.ErrNotReady) {
		t.Errorf("Series after the stop: %v", err)
	}
}

func TestUnhealthyIsPassedOver(t *testing.T) {
	c := newCluster(t, 1, Config{}, fakes(2)...)
	c.options.HeartbeatTimeout = time.Minute
	c.change(0, func(i *member.Instance) { i.Heartbeat = time.Now().Add(-time.Hour) })
	for n := range 20 {
		if err := c.Push(as(t.Context(), "a"), &ingester.PushRequest{Streams: []ingester.Stream{entry(fmt.Sprint(n), 1, "l")}}); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.nodes[0].count(); got != 0 {
		t.Errorf("%d pushes went to an unhealthy ingester", got)
	}
	// It may still hold rows, and answers.
	if got, err := c.read(t, logql.Forward); err != nil || len(got) != 20 {
		t.Errorf("read %d rows, %v", len(got), err)
	}
	c.nodes[0].set(failing)
	if _, err := c.read(t, logql.Forward); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("N=1 without one of two: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	c := newCluster(t, 3, Config{})
	ctx := as(t.Context(), "a")
	err := c.Push(ctx, &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 1, "l")}})
	if !errors.Is(err, ErrNoQuorum) || !strings.Contains(err.Error(), "no ingester in the ring") {
		t.Errorf("Push: %v", err)
	}
	if _, err := c.Labels(ctx, 0, 1, nil); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("Labels: %v", err)
	}
	for _, err := range c.Tail(ctx, nil) {
		if !errors.Is(err, ErrNoQuorum) {
			t.Errorf("Tail: %v", err)
		}
	}
}

// TestPartOfTheRing is a process that has not heard of all ingesters yet: those that it doesn't know of may have
// what the others lack.
func TestPartOfTheRing(t *testing.T) {
	c := newCluster(t, 3, Config{}, fakes(3)...)
	ctx := as(t.Context(), "a")
	c.nodes[0].set(failing)
	if err := c.Push(ctx, &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 1, "l")}}); err != nil {
		t.Fatal(err)
	}
	c.nodes[0].set(fine)
	know := func(n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.instances = c.instances[:n]
	}
	know(2)
	if got, err := c.read(t, logql.Forward); err != nil || len(got) != 1 {
		t.Errorf("two of three: %q, %v", got, err)
	}
	c.nodes[1].set(failing)
	if got, err := c.read(t, logql.Forward); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("one of two that are known: %q, %v", got, err)
	}
	c.nodes[1].set(fine)
	know(1)
	if got, err := c.read(t, logql.Forward); !errors.Is(err, ErrNoQuorum) ||
		!strings.Contains(err.Error(), "the ring has 1 of at least 3 ingesters (common.replication_factor), 0 of them missing; 2 must answer") {
		t.Errorf("one: %q, %v", got, err)
	}
	err := c.Push(ctx, &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 2, "l")}})
	if !errors.Is(err, ErrNoQuorum) || !strings.Contains(err.Error(), "1 of 1 are ACTIVE, 2 are needed for replication factor 3; how many there must be follows from common.replication_factor") {
		t.Errorf("push to one: %v", err)
	}
	if got, err := c.Series(ctx, 0, 10, nil); !errors.Is(err, ErrNoQuorum) {
		t.Errorf("Series of one: %v, %v", got, err)
	}
}

func TestConnectionsOfThoseThatLeftAreClosed(t *testing.T) {
	c := newCluster(t, 1, Config{IdleAfter: 10 * time.Millisecond}, fakes(2)...)
	if _, err := c.Labels(as(t.Context(), "a"), 0, 1, nil); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.instances = c.instances[:1]
	c.mu.Unlock()
	eventually(t, "closed", func() bool {
		c.nodes[1].mu.Lock()
		defer c.nodes[1].mu.Unlock()
		return c.nodes[1].closed
	})
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{PushTimeout: -1, MaxFailures: -1}, member.Fixed(member.Options{}), func(string) (ingester.Service, io.Closer, error) { return nil, nil, nil }, nil, nil); err == nil ||
		!strings.Contains(err.Error(), "PushTimeout") || !strings.Contains(err.Error(), "MaxFailures") {
		t.Errorf("New: %v", err)
	}
	if _, err := New(Config{}, nil, nil, nil, nil); err == nil {
		t.Error("New without a ring succeeds")
	}
}

func BenchmarkPush(b *testing.B) {
	for _, factor := range []int{1, 3} {
		b.Run(fmt.Sprintf("factor=%d", factor), func(b *testing.B) {
			c := newCluster(b, factor, Config{}, nothing{}, nothing{}, nothing{})
			var req ingester.PushRequest
			size := int64(0)
			for s := range 100 {
				st := entry(fmt.Sprint("app", s), 0, "")
				st.Entries = st.Entries[:0]
				for n := range 100 {
					line := []byte(strings.Repeat("x", 150))
					size += int64(len(line))
					st.Entries = append(st.Entries, ingester.Entry{Time: int64(n), Line: line, Metadata: []ingester.Field{{Name: "detected_level", Value: []byte("info")}}})
				}
				req.Streams = append(req.Streams, st)
			}
			ctx := as(context.Background(), "a")
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.Push(ctx, &req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// nothing takes pushes and forgets them.
type nothing struct{ ingester.Service }

func (nothing) Push(context.Context, *ingester.PushRequest) error { return nil }
func (nothing) Labels(context.Context, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, nil
}

func TestDepartures(t *testing.T) {
	c := newCluster(t, 1, Config{}, fakes(3)...)
	if n := c.Departures(); n != 0 {
		t.Errorf("%d departures before any", n)
	}
	if _, err := c.Labels(as(t.Context(), "a"), 0, 10, nil); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	left := c.instances[1]
	c.instances = slices.Delete(c.instances, 1, 2)
	c.mu.Unlock()
	// A read that leaves it out tells of it at the latest when it has asked the others.
	if _, err := c.Labels(as(t.Context(), "a"), 0, 10, nil); err != nil {
		t.Fatal(err)
	}
	c.Replicas.mu.Lock()
	n := c.departures
	c.Replicas.mu.Unlock()
	if n != 1 || c.Departures() != 1 {
		t.Errorf("%d departures, want 1", n)
	}
	c.mu.Lock()
	c.instances = append(c.instances, left)
	c.mu.Unlock()
	if n := c.Departures(); n != 1 {
		t.Errorf("%d departures after it has come back", n)
	}
}

// TestTailTellsOfGaps freezes ingesters behind a tail: once more are away than quorums allow for, and back, the
// tail says since when entries may have been missed.
func TestTailTellsOfGaps(t *testing.T) {
	for _, c := range []struct {
		factor, away int
		gap          bool
	}{{1, 1, true}, {3, 1, false}, {3, 2, true}} {
		t.Run(fmt.Sprintf("factor=%d/away=%d", c.factor, c.away), func(t *testing.T) {
			cl := newCluster(t, c.factor, Config{}, fakes(3)...)
			ctx, cancel := context.WithCancel(as(t.Context(), "a"))
			gaps := make(chan time.Time, 100)
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			tail := cl.Tail(ctx, nil)
			wg.Go(func() {
				for b, err := range tail {
					if err != nil {
						t.Errorf("Tail: %v", err)
					}
					if !b.Gap.IsZero() {
						gaps <- b.Gap
					}
				}
			})
			began := time.Now()
			for n := range c.away {
				cl.nodes[n].set(failing)
			}
			eventually(t, "subscribing again fails", func() bool {
				cl.Replicas.mu.Lock()
				defer cl.Replicas.mu.Unlock()
				for n := range c.away {
					p := cl.peers[fmt.Sprint("node-", n)]
					p.mu.Lock()
					tried := p.failures
					p.mu.Unlock()
					if tried < 2 {
						return false
					}
				}
				return true
			})
			for n := range c.away {
				cl.nodes[n].set(fine)
			}
			if !c.gap {
				select {
				case g := <-gaps:
					t.Errorf("a gap since %s, though a quorum was there all the time", g)
				case <-time.After(10 * cl.cfg.ProbeEvery):
				}
				return
			}
			select {
			case g := <-gaps:
				if g.Before(began) || g.After(time.Now()) {
					t.Errorf("a gap since %s, which began after %s", g, began)
				}
			case <-time.After(20 * time.Second):
				t.Error("no gap")
			}
		})
	}
}

// TestTooLarge refuses a push that no ingester can take, for good, and blames none of them.
func TestTooLarge(t *testing.T) {
	var nodes []ingester.Service
	for range 3 {
		f := new(ingestertest.Fake)
		f.Fail(fmt.Errorf("%w: 300 MiB", ingester.ErrTooLarge))
		nodes = append(nodes, f)
	}
	c := newCluster(t, 3, Config{MaxFailures: 1}, nodes...)
	ctx := as(t.Context(), "a")
	req := &ingester.PushRequest{Streams: []ingester.Stream{entry("x", 1, "l")}}
	if err := c.Push(ctx, req); !errors.Is(err, ingester.ErrTooLarge) || errors.Is(err, ErrNoQuorum) {
		t.Errorf("Push = %v, want ErrTooLarge alone", err)
	}
	for _, n := range nodes {
		n.(*ingestertest.Fake).Fail(nil)
	}
	if err := c.Push(ctx, req); err != nil {
		t.Errorf("the next push: %v", err)
	}
	if got, err := c.read(t, logql.Forward); err != nil || len(got) != 1 {
		t.Errorf("read %q, %v", got, err)
	}
}
