package indexgw_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"example.com/loki/indexgw"
	"example.com/loki/indexgw/indexgwtest"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/ring/member"
)

// gate is a gateway that counts calls, and may be away or stuck.
type gate struct {
	indexgw.Service
	mu     sync.Mutex
	calls  int
	answer func(ctx context.Context) error // nil: it answers
}

func (g *gate) LabelValues(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error) {
	g.mu.Lock()
	g.calls++
	answer := g.answer
	g.mu.Unlock()
	if answer != nil {
		if err := answer(ctx); err != nil {
			return nil, err
		}
	}
	return g.Service.LabelValues(ctx, name, start, end, ms)
}

func (g *gate) set(answer func(context.Context) error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answer = answer
}

// asked returns how many calls there were since the last time.
func (g *gate) asked() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.calls
	g.calls = 0
	return n
}

func away(context.Context) error { return status.Error(codes.Unavailable, "away") }

func stuck(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// gates are gateways over the same segments at addresses.
type gates map[string]*gate

func newGates(segments []indexgwtest.Segment, addrs ...string) gates {
	all := gates{}
	for _, addr := range addrs {
		all[addr] = &gate{Service: &indexgwtest.Fake{Segs: segments}}
	}
	return all
}

func (g gates) dial(addr string) (indexgw.Service, io.Closer, error) {
	one, ok := g[addr]
	if !ok {
		return nil, nil, fmt.Errorf("nobody is at %s", addr)
	}
	return one, nil, nil
}

// peers returns a service over gateways, as one that takes turns among n of them.
func peers(t *testing.T, cfg indexgw.PeersConfig, n int, dial indexgw.Dial, addrs ...string) *indexgw.Peers {
	t.Helper()
	p, err := indexgw.NewPeers(cfg, member.Fixed(member.Options{ReplicationFactor: n}, addrs...), dial, nil)
	if err != nil {
		t.Fatal(err)
	}
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

var three = []string{"a:1", "b:1", "c:1"}

func TestPeers(t *testing.T) {
	indexgwtest.Contract(t, func(t *testing.T, segments []indexgwtest.Segment) indexgw.Service {
		return peers(t, indexgw.PeersConfig{}, 2, newGates(segments, three...).dial, three...)
	})
}

// TestPeersOverGRPC runs the contract while one of three servers is down and one stuck.
func TestPeersOverGRPC(t *testing.T) {
	indexgwtest.Contract(t, func(t *testing.T, segments []indexgwtest.Segment) indexgw.Service {
		up := &indexgwtest.Fake{Segs: segments}
		dial := func(addr string) (indexgw.Service, io.Closer, error) {
			if addr == "a:1" { // nobody listens there
				conn, err := wire.Dial("127.0.0.1:1", wire.Config{})
				return indexgw.NewClient(conn), conn, err
			}
			return indexgw.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) {
				if addr == "b:1" {
					indexgw.RegisterServer(r, &gate{Service: up, answer: stuck})
				} else {
					indexgw.RegisterServer(r, up)
				}
			})), nil, nil
		}
		return peers(t, indexgw.PeersConfig{SlowAfter: 20 * time.Millisecond}, 3, dial, three...)
	})
}

func values(ctx context.Context, s indexgw.Service, tenant string) error {
	_, err := s.LabelValues(user.InjectOrgID(ctx, tenant), "app", 0, 100, nil)
	return err
}

// TestPeersSpread checks that a tenant is asked about at as many gateways as the factor says, in turns, and different
// tenants at different ones.
func TestPeersSpread(t *testing.T) {
	for _, factor := range []int{1, 2, 3} {
		all := newGates(nil, three...)
		p := peers(t, indexgw.PeersConfig{}, factor, all.dial, three...)
		total := map[string]int{}
		for tenant := range 30 {
			for range 6 {
				if err := values(t.Context(), p, fmt.Sprint("tenant-", tenant)); err != nil {
					t.Fatal(err)
				}
			}
			used := 0
			for addr, g := range all {
				if n := g.asked(); n > 0 {
					used++
					total[addr] += n
					if n != 6/factor {
						t.Errorf("factor %d: %s is asked %d times of 6", factor, addr, n)
					}
				}
			}
			if used != factor {
				t.Errorf("factor %d: a tenant is at %d gateways", factor, used)
			}
		}
		if len(total) != 3 {
			t.Errorf("factor %d: all tenants are at %v", factor, total)
		}
	}
}

// TestPeersAway checks that no call fails as long as one gateway is there, and that those which are away are left
// alone until they may be back.
func TestPeersAway(t *testing.T) {
	all := newGates(nil, three...)
	p := peers(t, indexgw.PeersConfig{AvoidFor: time.Hour}, 1, all.dial, three...)
	for _, addr := range three[:2] {
		all[addr].set(away)
	}
	for tenant := range 30 {
		if err := values(t.Context(), p, fmt.Sprint(tenant)); err != nil {
			t.Fatal(err)
		}
	}
	for _, addr := range three[:2] {
		if n := all[addr].asked(); n != 1 {
			t.Errorf("%s, which is away, is asked %d times", addr, n)
		}
	}
	all[three[2]].set(away)
	if err := values(t.Context(), p, "x"); status.Code(err) != codes.Unavailable {
		t.Errorf("with all away: %v", err)
	}
	for _, g := range all { // they are asked though they are avoided: there is no other
		g.set(nil)
	}
	if err := values(t.Context(), p, "x"); err != nil {
		t.Error(err)
	}

	back := peers(t, indexgw.PeersConfig{AvoidFor: time.Nanosecond}, 1, all.dial, three[0])
	all[three[0]].set(away)
	if err := values(t.Context(), back, "x"); err == nil {
		t.Error("one that is away answers")
	}
	all[three[0]].set(nil)
	if err := values(t.Context(), back, "x"); err != nil {
		t.Error(err)
	}
}

// TestPeersStuck checks that the next gateway is asked when one does not answer, that the caller waits for nobody when
// it gives up, and that an error which another gateway would not cure is passed on.
func TestPeersStuck(t *testing.T) {
	all := newGates(nil, three...)
	p := peers(t, indexgw.PeersConfig{SlowAfter: time.Millisecond}, 1, all.dial, three...)
	all[three[0]].set(stuck)
	all[three[1]].set(stuck)
	for tenant := range 10 {
		if err := values(t.Context(), p, fmt.Sprint(tenant)); err != nil {
			t.Fatal(err)
		}
	}
	all[three[2]].set(stuck)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := values(ctx, p, "x"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with all stuck: %v", err)
	}
	for _, g := range all {
		g.set(func(context.Context) error { return errDisk })
	}
	if err := values(t.Context(), p, "x"); !errors.Is(err, errDisk) {
		t.Errorf("%v, want %v", err, errDisk)
	}
}

// ringOf is a ring that changes.
type ringOf struct {
	mu    sync.Mutex
	addrs []string
}

func (r *ringOf) View() member.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return member.Fixed(member.Options{}, r.addrs...).View()
}

func (r *ringOf) set(addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addrs = addrs
}

type closer func()

func (c closer) Close() error { c(); return nil }

// TestPeersComeAndGo checks that connections follow the ring.
func TestPeersComeAndGo(t *testing.T) {
	all := newGates(nil, three...)
	open := map[string]bool{}
	dial := func(addr string) (indexgw.Service, io.Closer, error) {
		open[addr] = true
		return all[addr], closer(func() { delete(open, addr) }), nil
	}
	ring := &ringOf{}
	p, err := indexgw.NewPeers(indexgw.PeersConfig{IdleAfter: time.Nanosecond}, ring, dial, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := values(t.Context(), p, "x"); status.Code(err) != codes.Unavailable {
		t.Errorf("with nobody there: %v", err)
	}
	for _, addr := range []string{"a:1", "b:1"} {
		ring.set(addr)
		if err := values(t.Context(), p, "x"); err != nil {
			t.Fatal(err)
		}
		if len(open) != 1 || !open[addr] {
			t.Errorf("open are %v, want %s", open, addr)
		}
	}
	if err := services.StartAndAwaitRunning(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := services.StopAndAwaitTerminated(context.Background(), p); err != nil {
		t.Error(err)
	}
	if len(open) != 0 {
		t.Errorf("after the end %v are open", open)
	}
	if err := values(t.Context(), p, "x"); err == nil {
		t.Error("it answers after its end")
	}
	if _, err := indexgw.NewPeers(indexgw.PeersConfig{SlowAfter: -1}, ring, dial, nil); err == nil {
		t.Error("a negative duration is taken")
	}
}
