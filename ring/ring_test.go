package ring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"example.com/loki/ring/member"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// memberlist does not wait for these when it shuts down: they end when a timer of theirs fires or a
		// connection of theirs times out, seconds later.
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).triggerFunc"),
		goleak.IgnoreAnyFunction("github.com/hashicorp/memberlist.(*Memberlist).pushPullTrigger"),
		// Nor does dskit's transport for a packet that comes while it shuts down: nobody takes it any more.
		goleak.IgnoreAnyFunction("github.com/grafana/dskit/kv/memberlist.(*TCPTransport).handleConnection"),
	)
}

func start(t *testing.T, s services.Service) {
	t.Helper()
	// Not t.Context: that ends before the clean-up.
	if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
}

func stop(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
		t.Error(err)
	}
}

// eventually waits until a condition holds, which it returns nil for.
func eventually(t *testing.T, cond func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute) // for machines that are busy
	for {
		err := cond()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(err)
		}
	}
}

// node is a process of a test's cluster.
type node struct {
	*Membership
	ring *Ring
	life *Lifecycler
}

func newNode(t *testing.T, cfg Config, life LifecyclerConfig) *node {
	t.Helper()
	m, err := New(cfg, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	start(t, m)
	life.Name = "ingester"
	n := &node{Membership: m}
	if n.ring, err = m.Ring(ReaderConfig{Name: "ingester", ReplicationFactor: 3}); err != nil {
		t.Fatal(err)
	}
	start(t, n.ring)
	if n.life, err = m.Lifecycler(life); err != nil {
		t.Fatal(err)
	}
	start(t, n.life)
	return n
}

func loopbackConfig(id string, join ...string) Config {
	return Config{
		Store: Memberlist, BindAddr: "127.0.0.1", BindPort: -1, ListenAddr: "127.0.0.1", Join: join, InstanceID: id,
		InstancePort: 1000 + int(id[len(id)-1]), HeartbeatPeriod: time.Second, HeartbeatTimeout: 3 * time.Second,
	}
}

func states(v member.View) string {
	var out []string
	for _, i := range v.All() {
		out = append(out, fmt.Sprintf("%s %s", i.ID, i.State))
	}
	return strings.Join(out, ", ")
}

func awaitStates(t *testing.T, r *Ring, want string) {
	t.Helper()
	eventually(t, func() error {
		if got := states(r.View()); got != want {
			return fmt.Errorf("ring is %q, want %q", got, want)
		}
		return nil
	})
}

func TestSeveralMembers(t *testing.T) {
	quick := LifecyclerConfig{ObservePeriod: 50 * time.Millisecond}
	a := newNode(t, loopbackConfig("n-a"), quick)
	seed := fmt.Sprintf("127.0.0.1:%d", a.GossipPort())
	b := newNode(t, loopbackConfig("n-b", seed), quick)
	c := newNode(t, loopbackConfig("n-c", seed), quick)
	for _, n := range []*node{a, b, c} {
		awaitStates(t, n.ring, "n-a ACTIVE, n-b ACTIVE, n-c ACTIVE")
	}
	for k := range uint32(100) {
		key := k * 40_000_000
		ra, rb := a.ring.View().Replicas(key, nil, nil), b.ring.View().Replicas(key, nil, nil)
		if len(ra) != 3 || !slices.EqualFunc(ra, rb, func(x, y *member.Instance) bool { return x.ID == y.ID && x.Addr == y.Addr }) {
			t.Fatalf("replicas of %d: %v and %v", key, ra, rb)
		}
	}
	if got := a.ring.View().All()[1].Addr; got != b.Addr() || got != "127.0.0.1:1098" {
		t.Errorf("b is at %q, want %q", got, b.Addr())
	}

	t.Run("Leave", func(t *testing.T) {
		stop(t, c.life)
		awaitStates(t, a.ring, "n-a ACTIVE, n-b ACTIVE")
	})
	t.Run("Keep", func(t *testing.T) {
		b.life.SetKeep(true)
		tokens := a.ring.View().All()[1].Tokens
		stop(t, b.life)
		awaitStates(t, a.ring, "n-a ACTIVE, n-b LEAVING")
		eventually(t, func() error {
			if v := a.ring.View(); v.Healthy(v.All()[1]) {
				return fmt.Errorf("b is healthy without heartbeats")
			}
			return nil
		})
		stop(t, b.ring)
		stop(t, b.Membership)
		again := newNode(t, loopbackConfig("n-b", seed), quick)
		awaitStates(t, a.ring, "n-a ACTIVE, n-b ACTIVE")
		if got := again.ring.View().All()[1].Tokens; !slices.Equal(got, tokens) {
			t.Errorf("tokens after a restart: %v, want %v", got, tokens)
		}
	})
	t.Run("Forget", func(t *testing.T) {
		n := newNode(t, loopbackConfig("n-d", seed), LifecyclerConfig{ObservePeriod: -1, KeepOnShutdown: true})
		awaitStates(t, a.ring, "n-a ACTIVE, n-d ACTIVE")
		stop(t, n.life)
		awaitStates(t, a.ring, "n-a ACTIVE, n-d LEAVING")
		w := httptest.NewRecorder()
		req := httptest.NewRequest("POST", "/ring", strings.NewReader(url.Values{"forget": {"n-d"}}.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		a.ring.Routes("/ring")[0].Handler.ServeHTTP(w, req)
		if w.Code != http.StatusSeeOther {
			t.Errorf("forget: %d %s", w.Code, w.Body)
		}
		awaitStates(t, a.ring, "n-a ACTIVE")
	})
}

func TestMemberlistPage(t *testing.T) {
	a := newNode(t, loopbackConfig("n-a"), LifecyclerConfig{ObservePeriod: -1})
	w := httptest.NewRecorder()
	a.Membership.Routes()[0].Handler.ServeHTTP(w, httptest.NewRequest("GET", "/memberlist", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "collectors/ingester") {
		t.Errorf("/memberlist: %d %s", w.Code, w.Body)
	}
}

func TestAutoForget(t *testing.T) {
	life := LifecyclerConfig{ObservePeriod: -1, ForgetAfter: 4 * time.Second}
	a := newNode(t, loopbackConfig("n-a"), life)
	life.KeepOnShutdown = true
	b := newNode(t, loopbackConfig("n-b", fmt.Sprintf("127.0.0.1:%d", a.GossipPort())), life)
	awaitStates(t, a.ring, "n-a ACTIVE, n-b ACTIVE")
	stop(t, b.life)
	awaitStates(t, a.ring, "n-a ACTIVE, n-b LEAVING")
	awaitStates(t, a.ring, "n-a ACTIVE")
}

func TestOneProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "wal", "tokens")
	var tokens []uint32
	for range 2 {
		n := newNode(t, Config{InstanceID: "me"}, LifecyclerConfig{TokensFile: file})
		awaitStates(t, n.ring, "me ACTIVE")
		i := n.ring.View().All()[0]
		if len(i.Tokens) != 128 || i.Addr != "127.0.0.1:9095" {
			t.Errorf("instance %+v", i)
		}
		if tokens != nil && !slices.Equal(tokens, i.Tokens) {
			t.Error("tokens have changed over a restart")
		}
		tokens = i.Tokens
		stop(t, n.life)
		awaitStates(t, n.ring, "")
		stop(t, n.ring)
		stop(t, n.Membership)
	}
}

func TestBeforeLeave(t *testing.T) {
	var during string
	var n *node
	var fail error
	n = newNode(t, Config{InstanceID: "me"}, LifecyclerConfig{BeforeLeave: func(context.Context) error {
		eventually(t, func() error {
			if during = states(n.ring.View()); during != "me LEAVING" {
				return fmt.Errorf("before it leaves the ring is %q", during)
			}
			return nil
		})
		return fail
	}})
	stop(t, n.life)
	awaitStates(t, n.ring, "")
	fail = fmt.Errorf("disk full")
	life, err := n.Lifecycler(LifecyclerConfig{Name: "other", BeforeLeave: func(context.Context) error { return fail }})
	if err != nil {
		t.Fatal(err)
	}
	other, err := n.Ring(ReaderConfig{Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	start(t, other)
	start(t, life)
	awaitStates(t, other, "me ACTIVE")
	stop(t, life)
	awaitStates(t, other, "me LEAVING") // what it could not flush is still its own
}

func TestPage(t *testing.T) {
	n := newNode(t, Config{InstanceID: "<me>"}, LifecyclerConfig{})
	awaitStates(t, n.ring, "<me> ACTIVE")
	h := n.ring.Routes("/ring")[0].Handler
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/ring?tokens=true", nil))
	for _, want := range []string{"&lt;me&gt;", "ACTIVE", "100.0 %", "too few healthy ingesters in the ring: 1 of 1 are ACTIVE, 2 are needed for replication factor 3"} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("page lacks %q:\n%s", want, w.Body)
		}
	}
	req := httptest.NewRequest("GET", "/ring", nil)
	req.Header.Set("Accept", "application/json")
	w = httptest.NewRecorder()
	h.ServeHTTP(w, req)
	var got struct {
		Shards []struct{ ID, State, Address string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Shards) != 1 || got.Shards[0].State != "ACTIVE" {
		t.Errorf("JSON %s: %v", w.Body, err)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Store: "etcd"}, "Store"},
		{Config{Store: InMemory, Join: []string{"a"}}, "reaches no other process"},
		{Config{BindAddr: "host"}, "BindAddr"},
		{Config{InstancePort: 70000}, "InstancePort"},
		{Config{HeartbeatPeriod: time.Minute}, "HeartbeatTimeout"},
		{Config{Join: []string{"10.0.0.1"}, BindAddr: "127.0.0.1", InstanceAddr: "10.0.0.2"}, "leave BindAddr empty"},
		{Config{Join: []string{"10.0.0.1"}, ListenAddr: "localhost"}, "the gRPC server listens on localhost only"},
		{Config{Join: []string{"10.0.0.1"}, ListenAddr: "127.0.0.1:9095"}, "set InstanceAddr"},
		{Config{Join: []string{"10.0.0.1"}, Interfaces: []string{"lo"}}, "have no address but loopback"},
		{Config{Join: []string{"dns+loki"}, InstanceAddr: "0.0.0.0"}, "is no address to connect to"},
		{Config{Join: []string{"10.0.0.1"}, InstanceAddr: "localhost"}, "set it to an address that they reach"},
	} {
		if _, err := New(c.cfg, nil, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("New(%+v): %v, want %q", c.cfg, err, c.want)
		}
	}
	m, err := New(Config{}, nil, nil)
	if err != nil || m.ID() == "" || m.cfg.Store != InMemory {
		t.Errorf("the zero Config: %v", err)
	}
	if m, err = New(Config{Join: []string{"127.0.0.1:7946"}, InstanceAddr: "127.0.0.1", BindPort: -1}, nil, nil); err != nil || m.cfg.Store != Memberlist {
		t.Errorf("a cluster on one host: %v", err)
	}
	if _, err := m.Lifecycler(LifecyclerConfig{Name: "x", ForgetAfter: time.Second}); err == nil {
		t.Error("ForgetAfter below HeartbeatTimeout is accepted")
	}
}

// TestDoubtfulAddress: an address that others could hardly reach is allowed, but not without a word.
func TestDoubtfulAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"no-such-host.invalid": "can't be looked up",
		"192.0.2.1":            "no interface of this host", // kept for documentation
		"127.0.0.1":            "",
		"":                     "",
	} {
		var b bytes.Buffer
		m := &Membership{cfg: Config{InstanceAddr: addr, Store: Memberlist}, logger: slog.New(slog.NewTextHandler(&b, nil))}
		m.doubtAddress(t.Context())
		if got := b.String(); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", addr, got, want)
		}
	}
}

func TestRequireJoin(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	cfg := loopbackConfig("n-a", addr)
	cfg.RequireJoin = true
	m, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(context.Background(), m); err == nil || !strings.Contains(m.FailureCase().Error(), "join") {
		t.Errorf("start without a reachable member: %v, %v", err, m.FailureCase())
	}
}

// TestFirstMember shows what the first process of a cluster says, whom nobody answers, and that one whom somebody
// answers says nothing of it.
func TestFirstMember(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	l.Close()
	said := func(name, join string) (*Membership, *lockedBuffer) {
		t.Helper()
		log := new(lockedBuffer)
		cfg := loopbackConfig(name, join)
		cfg.JoinRetries, cfg.MinJoinPause, cfg.MaxJoinPause = 2, 10*time.Millisecond, 20*time.Millisecond
		m, err := New(cfg, slog.New(slog.NewTextHandler(log, nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		start(t, m)
		return m, log
	}
	first, log := said("n-a", nobody)
	eventually(t, func() error {
		for _, want := range []string{"answers yet, as at the first start", "answers yet; trying again", "has answered; this process is alone"} {
			if !strings.Contains(log.String(), want) {
				return fmt.Errorf("%q is not said in\n%s", want, log)
			}
		}
		return nil
	})
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("an error is said:\n%s", log)
	}
	_, log = said("n-b", fmt.Sprintf("127.0.0.1:%d", first.GossipPort()))
	eventually(t, func() error {
		if !strings.Contains(log.String(), "joining memberlist cluster succeeded") {
			return errors.New(log.String())
		}
		return nil
	})
	if s := log.String(); strings.Contains(s, "answer") || strings.Contains(s, "level=ERROR") || strings.Contains(s, "level=WARN") {
		t.Errorf("the second process says:\n%s", s)
	}
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
