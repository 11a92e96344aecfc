package e2e

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/loki/internal/conformance"
	"example.com/loki/internal/crashtest/process"
)

var (
	on   = flag.Bool("e2e", false, "run the tests, shortened")
	full = flag.Bool("e2e.full", false, "all cases and all faults, at full length")
	s3   = flag.String("e2e.s3", "", "program of versitygw: keep segments in S3, not in a folder")

	programs map[string]string // by name; written by TestMain only
	taken    ports             // by clusters of this and earlier tests
)

// ports are those that clusters have got, though they may not listen on them yet: several start at the same time.
type ports struct {
	mu  sync.Mutex
	all map[int]bool
}

// take returns n ports that nobody has or is about to have.
func (p *ports) take(t *testing.T, n int) []int {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == nil {
		p.all = map[int]bool{}
	}
	var free []int
	for len(free) < n {
		for _, port := range process.Ports(t, n-len(free)) {
			if !p.all[port] {
				p.all[port] = true
				free = append(free, port)
			}
		}
	}
	return free
}

func TestMain(m *testing.M) {
	flag.Parse()
	if runtime.GOOS == "windows" {
		fmt.Println("skipped: there are no signals on Windows")
		return
	}
	if !*on && !*full {
		fmt.Println("skipped: run them with -e2e or -e2e.full")
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "e2e")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.RemoveAll(dir)
		var all []string
		for _, name := range []string{"monolithic", "readwrite", "microservices/distributor", "microservices/ingester", "microservices/querier",
			"microservices/query-frontend", "microservices/query-scheduler", "microservices/index-gateway", "microservices/compactor",
			"microservices/ruler"} {
			all = append(all, "example.com/loki/examples/"+name)
		}
		if programs, err = process.BuildAll(dir, all...); err != nil {
			fmt.Println(err)
			return 1
		}
		return m.Run()
	}())
}

// kind is processes that do the same.
type kind struct {
	name    string
	program string
	args    []string // beyond those of all
	count   int
	gossip  bool
}

// member is a place in a cluster: the process there may come and go.
type member struct {
	kind  *kind
	name  string
	place place
	dir   string // of its own
	args  []string

	mu  sync.Mutex
	now *process.Process
	url *url.URL
	to  http.Handler
}

func (m *member) process() *process.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// base is where the member answers, nil before it was ready for the first time.
func (m *member) base() *url.URL {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.url
}

// launch starts the process; await has to follow.
func (m *member) launch(t *testing.T) *process.Process {
	t.Helper()
	p := process.Launch(t, m.place.program(programs[m.kind.program]), m.place.args(programs[m.kind.program], m.args)...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = p
	return p
}

// await waits until the process is ready for requests, and returns how long that took.
func (m *member) await(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	p := m.process()
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	m.url, m.to = u, conformance.URL(u)
	m.mu.Unlock()
	return time.Since(began)
}

// ready waits until the process itself says that it is.
func (m *member) ready(t *testing.T) {
	t.Helper()
	until(t, m.name+" is not ready", func(ctx context.Context) error {
		status, text, err := process.Do(ctx, http.MethodGet, m.base().String()+"/ready", "", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s", status, text)
		}
		return err
	})
}

// until waits for a condition, with all the time that a busy machine may take.
func until(t *testing.T, what string, cond func(ctx context.Context) error) {
	t.Helper()
	untilWithin(t, 2*time.Minute, what, cond)
}

func untilWithin(t *testing.T, limit time.Duration, what string, cond func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// place is where a process runs: a network of this machine. The zero place is the loopback interface.
type place struct {
	addr  string // to listen on; empty means 127.0.0.1
	netns string // network namespace; empty for that of the test
}

func (p place) host() string { return cmp.Or(p.addr, "127.0.0.1") }

func (p place) program(bin string) string {
	if p.netns != "" {
		return "ip"
	}
	return bin
}

func (p place) args(bin string, args []string) []string {
	if p.netns != "" { // ip becomes the program, so that signals reach it
		return append([]string{"netns", "exec", p.netns, bin}, args...)
	}
	return args
}

// layout is what a cluster consists of and where.
type layout struct {
	shape
	spare map[string]int                    // members of a kind beyond count, which are not started
	where []string                          // flags that say where segments are; nil: a new bucket
	dir   func(kind string, n int) string   // of the member; empty: a new one
	place func(kind string, n int) place    // nil: all on the loopback interface
	args  func(kind string, n int) []string // further flags of a member
	age   time.Duration                     // of segments before they are merged; zero: minAge
}

// cluster is processes, and what a load balancer in front of them does.
type cluster struct {
	kinds    []*kind
	members  map[string][]*member
	started  map[string]int // how many of these are meant to run
	replicas int
	took     time.Duration // from the first start until all are ready and a query is answered
	turn     atomic.Uint64
	passed   atomic.Int64 // requests that another member got because one could not take them
	quiet    atomic.Bool  // nobody pushes any more
	age      time.Duration
}

// launch starts all processes of a cluster and waits until they are ready.
func launch(t *testing.T, l layout) *cluster {
	t.Helper()
	c := &cluster{members: map[string][]*member{}, started: map[string]int{}, replicas: l.replicas, age: cmp.Or(l.age, minAge)}
	at := func(kind string, n int) place {
		if l.place == nil {
			return place{}
		}
		return l.place(kind, n)
	}
	where := l.where
	if where == nil {
		where = bucket(t)
	}
	kinds := l.define(func(string) string { return "" })
	processes, most := 0, 0
	for _, k := range kinds {
		processes += k.count
		most += k.count + l.spare[k.name]
	}
	free := taken.take(t, 2*most)
	port := func() (p int) {
		p, free = free[0], free[1:]
		return p
	}
	// The addresses of a kind are those of its members, as many as define says.
	places := map[string][]string{}
	for _, k := range kinds {
		for n := range k.count + l.spare[k.name] {
			places[k.name] = append(places[k.name], fmt.Sprintf("%s:%d", at(k.name, n).host(), port()))
		}
	}
	c.kinds = l.define(func(name string) string { return strings.Join(places[name], ",") })
	// Each process knows where all those are that run at the start.
	var join []string
	gossip := map[string][]string{}
	for _, k := range c.kinds {
		if !k.gossip {
			continue
		}
		for n := range places[k.name] {
			addr := fmt.Sprintf("%s:%d", at(k.name, n).host(), port())
			gossip[k.name] = append(gossip[k.name], addr)
			if n < k.count {
				join = append(join, addr)
			}
		}
	}
	for _, k := range c.kinds {
		c.started[k.name] = k.count
		for n, addr := range places[k.name] {
			host, grpc, _ := net.SplitHostPort(addr)
			m := &member{kind: k, name: fmt.Sprintf("%s-%d", k.name, n), place: at(k.name, n)}
			if l.dir != nil {
				m.dir = l.dir(k.name, n)
			}
			if m.dir == "" {
				m.dir = t.TempDir()
			}
			m.args = slices.Concat([]string{
				"-server.http-listen-address", host, "-server.http-listen-port=0",
				// Segments are merged as soon as all others know of them, so that the compactor is at work all the time.
				"-ingester.handover-window", (c.age - 5*time.Second).String(), "-compactor.min-age", c.age.String(), "-compactor.compaction-interval=1s",
				"-server.grpc-listen-address", host, "-server.grpc-listen-port", grpc,
				"-common.path-prefix", m.dir, "-log.level=warn", "-server.graceful-shutdown-timeout=10s",
				"-distributor.ingestion-rate-limit-mb=1000", "-distributor.ingestion-burst-size-mb=1000",
				"-ingester.per-stream-rate-limit=1GB", "-ingester.per-stream-rate-limit-burst=1GB",
				"-validation.reject-old-samples=false", "-store.max-query-length=0",
			}, where, k.args)
			if k.gossip {
				m.args = append(m.args, gossipArgs(l.replicas, m.name, gossip[k.name][n], join)...)
			}
			if l.args != nil {
				m.args = append(m.args, l.args(k.name, n)...)
			}
			c.members[k.name] = append(c.members[k.name], m)
		}
	}
	began := time.Now()
	for m := range c.all() {
		m.launch(t)
	}
	for m := range c.all() {
		m.await(t)
	}
	for m := range c.all() {
		m.ready(t)
	}
	c.settle(t)
	c.took = time.Since(began)
	t.Logf("%d processes are ready %s after the start", processes, c.took.Round(10*time.Millisecond))
	return c
}

func gossipArgs(replicas int, name, addr string, join []string) []string {
	host, port, _ := net.SplitHostPort(addr)
	return []string{
		fmt.Sprintf("-replication-factor=%d", replicas), "-memberlist.bind-addr", host, "-memberlist.bind-port", port,
		"-common.storage.ring.store=memberlist", "-common.storage.ring.heartbeat-period=1s", "-common.storage.ring.heartbeat-timeout=10s",
		"-common.storage.ring.instance-id", name, "-memberlist.join", strings.Join(join, ","),
	}
}

// all yields the members that are meant to run, in the order in which they are started.
func (c *cluster) all() func(func(*member) bool) {
	return func(yield func(*member) bool) {
		for _, k := range c.kinds {
			for _, m := range c.running(k.name) {
				if !yield(m) {
					return
				}
			}
		}
	}
}

// running returns the members of a kind that are meant to run.
func (c *cluster) running(kind string) []*member { return c.members[kind][:c.started[kind]] }

// settle waits until a query works.
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	until(t, "the cluster does not settle", func(ctx context.Context) error {
		status, text := c.do(ctx, http.MethodGet, "/loki/api/v1/query_range?query="+url.QueryEscape(`{settle="x"}`), nil)
		if status != http.StatusOK {
			return fmt.Errorf("%d %s", status, text)
		}
		return nil
	})
}

// settlePushes waits until each process that takes pushes knows of all ingesters.
func (c *cluster) settlePushes(t *testing.T) {
	t.Helper()
	if c.replicas == 1 {
		return // there is no ring
	}
	want := float64(c.started[c.keeper()])
	for _, m := range c.takers("/push") {
		until(t, m.name+" does not know all ingesters", func(ctx context.Context) error {
			n, _, err := m.metric(ctx, `loki_ring_members{name="ingester",state="ACTIVE"}`)
			if err == nil && n != want {
				err = fmt.Errorf("%g of %g are ACTIVE", n, want)
			}
			return err
		})
	}
}

// pick returns the member whose turn it is, of those that take such requests.
func (c *cluster) pick(path string) *member {
	list := c.takers(path)
	return list[c.turn.Add(1)%uint64(len(list))]
}

// takers returns the members that take such requests.
func (c *cluster) takers(path string) []*member {
	write := strings.HasSuffix(path, "/push") || strings.HasPrefix(path, "/otlp/")
	names := []string{"monolith", "read", "query-frontend"}
	if write {
		names = []string{"monolith", "write", "distributor"}
	}
	for _, name := range names {
		if list := c.running(name); len(list) > 0 {
			return list
		}
	}
	return nil
}

// elsewhere tells whether a load balancer gives a request with this status to another server.
func elsewhere(status int) bool {
	return status == 0 || status == http.StatusServiceUnavailable || status == http.StatusBadGateway
}

// ServeHTTP passes a request on to the member whose turn it is, and to the next one if that can't take it.
func (c *cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for tries := 20; ; tries-- {
		m := c.pick(r.URL.Path)
		m.mu.Lock()
		to := m.to
		m.mu.Unlock()
		answer := httptest.NewRecorder()
		r.Body = io.NopCloser(bytes.NewReader(body))
		to.ServeHTTP(answer, r)
		if tries > 0 && elsewhere(answer.Code) {
			select {
			case <-r.Context().Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
		return
	}
}

// do sends a request to the member whose turn it is, and as a load balancer does to each of the others when one
// can't be reached or says 502 or 503. Status 0 means that there was no answer at all.
func (c *cluster) do(ctx context.Context, method, path string, body []byte) (status int, text string) {
	p, _, _ := strings.Cut(path, "?")
	list, turn := c.takers(p), c.turn.Add(1)
	for tries := range len(list) {
		m := list[(turn+uint64(tries))%uint64(len(list))]
		answer, err := []byte(nil), error(nil)
		if base := m.base(); base == nil {
			status, text = 0, m.name+" has not started"
		} else {
			status, answer, err = process.Do(ctx, method, strings.TrimRight(base.String(), "/")+path, "application/json", body)
			text = string(answer)
		}
		if err != nil {
			status, text = 0, fmt.Sprintf("%s: %v", m.name, err)
		}
		if !elsewhere(status) || ctx.Err() != nil {
			return status, text
		}
		c.passed.Add(1)
	}
	return status, text
}

// keepers are the kinds that hold lines.
func keepers() []string { return []string{"monolith", "write", "ingester"} }

// flush makes segments of all lines.
func (c *cluster) flush(t *testing.T) {
	t.Helper()
	for _, name := range keepers() {
		for _, m := range c.running(name) {
			status, body, err := process.Do(t.Context(), http.MethodPost, m.base().String()+"/flush", "", nil)
			if err != nil || status != http.StatusNoContent {
				t.Fatalf("flush of %s = %d, %v: %s", m.name, status, err, body)
			}
		}
	}
}

// keeper is the name of the kind that holds lines.
func (c *cluster) keeper() string {
	for _, name := range keepers() {
		if len(c.members[name]) > 0 {
			return name
		}
	}
	return ""
}
