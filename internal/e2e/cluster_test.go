package e2e

import (
	"bytes"
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
	"path/filepath"
	"runtime"
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
	full = flag.Bool("e2e.full", false, "all cases and all faults")
	s3   = flag.String("e2e.s3", "", "program of versitygw: keep segments in S3, not in a folder")

	programs = map[string]string{} // by name; written by TestMain only
)

func TestMain(m *testing.M) {
	flag.Parse()
	if runtime.GOOS == "windows" {
		fmt.Println("skipped: there are no signals on Windows")
		return
	}
	if !*on && !*full && *s3 == "" {
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
		for _, name := range []string{"monolithic", "readwrite", "microservices/distributor", "microservices/ingester", "microservices/querier",
			"microservices/query-frontend", "microservices/query-scheduler", "microservices/index-gateway"} {
			if programs[filepath.Base(name)], err = process.Build(dir, "example.com/loki/examples/"+name); err != nil {
				fmt.Println(err)
				return 1
			}
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
	kind *kind
	args []string

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

// launch starts the process; AwaitReady has to follow.
func (m *member) launch(t *testing.T) *process.Process {
	t.Helper()
	p := process.Launch(t, programs[m.kind.program], m.args...)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = p
	return p
}

// await waits until the process is ready for requests.
func (m *member) await(t *testing.T) {
	t.Helper()
	p := m.process()
	if err := p.AwaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(p.URL)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.url, m.to = u, conformance.URL(u)
}

// cluster is processes, and what a load balancer in front of them does.
type cluster struct {
	kinds    []*kind
	members  map[string][]*member
	replicas int
	turn     atomic.Uint64
}

// ports returns free ports.
func ports(t *testing.T, n int) []int {
	t.Helper()
	var all []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		all = append(all, l.Addr().(*net.TCPAddr).Port)
	}
	return all
}

// launch starts all processes of a cluster and waits until they are ready. address is filled in with the
// gRPC addresses of kinds before their arguments are read.
func launch(t *testing.T, replicas int, define func(address func(kind string) string) []*kind) *cluster {
	t.Helper()
	const most = 16
	free := ports(t, 2*most)
	byName := map[string][]int{}
	used := 0
	// The addresses of a kind are those of its members, as many as define will say.
	counts := map[string]int{}
	for _, k := range define(func(string) string { return "" }) {
		counts[k.name] = k.count
		byName[k.name] = free[used : used+k.count]
		used += k.count
	}
	address := func(name string) string {
		var list []string
		for _, p := range byName[name] {
			list = append(list, fmt.Sprintf("127.0.0.1:%d", p))
		}
		return strings.Join(list, ",")
	}
	c := &cluster{kinds: define(address), members: map[string][]*member{}, replicas: replicas}
	where := bucket(t)
	var join []string
	gossip := free[most:]
	g := 0
	for _, k := range c.kinds {
		for n := range k.count {
			args := append([]string{
				"-server.http-listen-port=0", "-server.grpc-listen-address=127.0.0.1", fmt.Sprintf("-server.grpc-listen-port=%d", byName[k.name][n]),
				"-common.path-prefix", t.TempDir(), "-log.level=warn",
				"-distributor.ingestion-rate-limit-mb=1000", "-distributor.ingestion-burst-size-mb=1000",
				"-ingester.per-stream-rate-limit=1GB", "-ingester.per-stream-rate-limit-burst=1GB",
				"-validation.reject-old-samples=false", "-store.max-query-length=0",
			}, append(where, k.args...)...)
			if k.gossip {
				args = append(args, fmt.Sprintf("-replication-factor=%d", replicas), "-memberlist.bind-addr=127.0.0.1",
					fmt.Sprintf("-memberlist.bind-port=%d", gossip[g]), "-common.storage.ring.store=memberlist",
					"-common.storage.ring.heartbeat-period=1s", "-common.storage.ring.heartbeat-timeout=10s",
					"-common.storage.ring.instance-id", fmt.Sprintf("%s-%d", k.name, n))
				if len(join) > 0 {
					args = append(args, "-memberlist.join", join[0])
				}
				join = append(join, fmt.Sprintf("127.0.0.1:%d", gossip[g]))
				g++
			}
			c.members[k.name] = append(c.members[k.name], &member{kind: k, args: args})
		}
	}
	began := time.Now()
	for _, k := range c.kinds {
		for _, m := range c.members[k.name] {
			m.launch(t)
		}
	}
	for _, k := range c.kinds {
		for _, m := range c.members[k.name] {
			m.await(t)
		}
	}
	c.settle(t)
	t.Logf("%d processes are ready after %s", used, time.Since(began).Round(10*time.Millisecond))
	return c
}

// bucket returns flags that say where segments are.
func bucket(t *testing.T) []string {
	t.Helper()
	if *s3 == "" {
		return []string{"-local.chunk-directory", t.TempDir()}
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o777); err != nil { // the bucket
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports(t, 1)[0])
	process.Launch(t, *s3, "--access", "tester", "--secret", "tester-secret", "--port", addr, "posix", dir)
	deadline := time.Now().Add(30 * time.Second)
	for {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the S3 server does not start: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return []string{"-common.storage.s3.buckets=logs", "-common.storage.s3.endpoint", addr, "-common.storage.s3.insecure",
		"-common.storage.s3.force-path-style", "-common.storage.s3.access-key-id=tester", "-common.storage.s3.secret-access-key=tester-secret",
		"-common.storage.s3.region=us-east-1"}
}

// settle waits until a query works.
func (c *cluster) settle(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		status, text := c.do(ctx, http.MethodGet, "/loki/api/v1/query_range?query="+url.QueryEscape(`{settle="x"}`), nil)
		if status == http.StatusOK {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the cluster does not settle: %d %s", status, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// pick returns the member whose turn it is, of those that take such requests.
func (c *cluster) pick(path string) *member {
	write := strings.HasSuffix(path, "/push") || strings.HasPrefix(path, "/otlp/")
	names := []string{"monolith", "read", "query-frontend"}
	if write {
		names = []string{"monolith", "write", "distributor"}
	}
	for _, name := range names {
		if list := c.members[name]; len(list) > 0 {
			return list[c.turn.Add(1)%uint64(len(list))]
		}
	}
	return nil
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
		if tries > 0 && (answer.Code == http.StatusServiceUnavailable || answer.Code == http.StatusBadGateway) {
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

// do sends a request to the member whose turn it is. Status 0 means that there was no answer.
func (c *cluster) do(ctx context.Context, method, path string, body []byte) (int, string) {
	p, _, _ := strings.Cut(path, "?")
	m := c.pick(p)
	m.mu.Lock()
	base := m.url
	m.mu.Unlock()
	status, answer, err := process.Do(ctx, method, strings.TrimRight(base.String(), "/")+path, "application/json", body)
	if err != nil {
		return 0, err.Error()
	}
	return status, string(answer)
}

// keepers are the kinds that hold lines.
func keepers() []string { return []string{"monolith", "write", "ingester"} }

// flush makes segments of all lines.
func (c *cluster) flush(t *testing.T) {
	t.Helper()
	for _, name := range keepers() {
		for _, m := range c.members[name] {
			status, body, err := process.Do(t.Context(), http.MethodPost, m.process().URL+"/flush", "", nil)
			if err != nil || status != http.StatusNoContent {
				t.Fatalf("flush of %s = %d, %v: %s", name, status, err, body)
			}
		}
	}
}
