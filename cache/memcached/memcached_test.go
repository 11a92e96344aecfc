package memcached

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"example.com/loki/cache"
	"example.com/loki/cache/cachetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server speaks as much of memcached's protocol as the client uses.
type server struct {
	listener net.Listener
	wg       sync.WaitGroup

	mu     sync.Mutex
	values map[string]string
	conns  map[net.Conn]bool
	mute   bool // it takes requests and doesn't answer
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{listener: l, values: map[string]string{}, conns: map[net.Conn]bool{}}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[c] = true
			s.mu.Unlock()
			s.wg.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(s.stop)
	return s
}

func (s *server) stop() {
	s.listener.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func (s *server) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		fields := strings.Fields(line)
		s.mu.Lock()
		mute := s.mute
		s.mu.Unlock()
		var answer string
		switch fields[0] {
		case "gets", "get":
			s.mu.Lock()
			for _, k := range fields[1:] {
				if v, ok := s.values[k]; ok {
					answer += fmt.Sprintf("VALUE %s 0 %d 1\r\n%s\r\n", k, len(v), v)
				}
			}
			s.mu.Unlock()
			answer += "END\r\n"
		case "set":
			var size int
			fmt.Sscan(fields[4], &size)
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			s.mu.Lock()
			s.values[fields[1]] = string(body[:size])
			s.mu.Unlock()
			answer = "STORED\r\n"
		default:
			answer = "ERROR\r\n"
		}
		if mute {
			continue
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

func (s *server) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.values)
}

func newClient(t *testing.T, cfg Config, all ...*server) *Client {
	t.Helper()
	for _, s := range all {
		cfg.Addresses = append(cfg.Addresses, s.listener.Addr().String())
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	c, err := New(cfg, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestContract(t *testing.T) {
	cachetest.Contract(t, func(t *testing.T) cache.Cache {
		return newClient(t, Config{Prefix: "loki."}, newServer(t), newServer(t))
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Prefix: "a b", Timeout: -1}, nil, nil)
	for _, name := range []string{"Addresses", "Prefix", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("New = %v, which lacks %s", err, name)
		}
	}
}

// TestServersShareKeys takes one of three servers away: the values of the others are still found.
func TestServersShareKeys(t *testing.T) {
	all := []*server{newServer(t), newServer(t), newServer(t)}
	c := newClient(t, Config{}, all...)
	keys := make([]string, 300)
	for i := range keys {
		keys[i] = fmt.Sprint("key ", i)
		c.Set(t.Context(), keys[i], []byte(keys[i]))
	}
	for i, s := range all {
		if n := s.count(); n < 50 {
			t.Errorf("server %d has %d of 300 values", i, n)
		}
	}
	fewer := newClient(t, Config{}, all[0], all[2])
	found := 0
	for i, v := range fewer.Get(t.Context(), keys...) {
		if v != nil && string(v) != keys[i] {
			t.Errorf("value of %q is %q", keys[i], v)
		}
		if v != nil {
			found++
		}
	}
	if want := all[0].count() + all[2].count(); found != want {
		t.Errorf("found %d values, the servers have %d", found, want)
	}
}

// TestFailingServer shows that a server that does not answer costs little.
func TestFailingServer(t *testing.T) {
	s := newServer(t)
	now := time.Unix(1000, 0)
	c := newClient(t, Config{Timeout: 20 * time.Millisecond, MaxFailures: 2, Now: func() time.Time { return now }}, s)
	reg := prometheus.NewRegistry()
	c.metrics = newMetrics("x", reg)
	s.mu.Lock()
	s.mute = true
	s.mu.Unlock()
	failures := func() float64 { return testutil.ToFloat64(c.metrics.failures.WithLabelValues("get")) }
	for range 5 {
		if got := c.Get(t.Context(), "a"); got[0] != nil {
			t.Errorf("Get = %q", got)
		}
	}
	if n := failures(); n != 2 {
		t.Errorf("%v exchanges, want 2 until the server is left alone", n)
	}
	now = now.Add(time.Minute)
	s.mu.Lock()
	s.mute = false
	s.mu.Unlock()
	c.cfg.Timeout, c.rpc.Timeout = time.Minute, time.Minute
	c.Set(t.Context(), "a", []byte("1"))
	if got := c.Get(t.Context(), "a"); string(got[0]) != "1" {
		t.Errorf("Get = %q when the server answers again", got)
	}
	s.stop()
	if got := c.Get(t.Context(), "a"); got[0] != nil || failures() != 3 {
		t.Errorf("Get = %q without a server, %v failures", got, failures())
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
}

func TestLargeValuesStayOut(t *testing.T) {
	s := newServer(t)
	c := newClient(t, Config{MaxItemSize: 10}, s)
	c.Set(t.Context(), "a", make([]byte, 11))
	if s.count() != 0 {
		t.Error("a value that is too large was sent")
	}
}

func TestNames(t *testing.T) {
	s := newServer(t)
	_, port, _ := net.SplitHostPort(s.listener.Addr().String())
	c := newClient(t, Config{Addresses: []string{"dns+localhost:" + port}})
	c.servers.refresh(t.Context())
	var all []string
	c.servers.Each(func(a net.Addr) error {
		all = append(all, a.String())
		return nil
	})
	if !strings.Contains(strings.Join(all, " "), "127.0.0.1:"+port) {
		t.Errorf("localhost has the addresses %v", all)
	}
}
