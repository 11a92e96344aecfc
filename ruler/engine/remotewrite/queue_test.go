package remotewrite

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	common "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// receiver is a remote-write receiver whose answers a test decides about.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(values []float64) int // status; nil: all is well
	got    []float64                  // values of the samples that were taken
	labels []labels.Labels
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		raw, err := snappy.Decode(nil, body)
		var m prompb.WriteRequest
		if err != nil || m.Unmarshal(raw) != nil {
			t.Errorf("malformed request: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		var values []float64
		for _, s := range m.Timeseries {
			values = append(values, s.Samples[0].Value)
		}
		if r.answer != nil {
			if status := r.answer(values); status != 0 {
				http.Error(w, "no", status)
				return
			}
		}
		r.got = append(r.got, values...)
		for _, s := range m.Timeseries {
			r.labels = append(r.labels, s.ToLabels(&labels.ScratchBuilder{}, nil))
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) answers(f func([]float64) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
}

func (r *receiver) values() []float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) config(t *testing.T) *config.RemoteWriteConfig {
	u, err := url.Parse(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := config.DefaultRemoteWriteConfig
	c.Name, c.URL, c.RemoteTimeout = "prom", &common.URL{URL: u}, model.Duration(5*time.Second)
	c.QueueConfig.MaxBackoff = model.Duration(50 * time.Millisecond)
	return &c
}

// running is a queue at work.
type running struct {
	*Queue
	reg  *prometheus.Registry
	stop func()
}

func run(t *testing.T, cfg Config) *running {
	t.Helper()
	reg := prometheus.NewRegistry()
	q, err := Open(cfg, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); q.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-done
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &running{q, reg, stop}
}

func (r *running) append(t *testing.T, values ...float64) {
	t.Helper()
	var samples []Sample
	for _, v := range values {
		samples = append(samples, Sample{labels.FromStrings("__name__", "m", "n", strconv.Itoa(int(v))), time.Now().UnixMilli(), v})
	}
	if err := r.Append(samples); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			t.Fatal(what + " does not come true")
		case <-tick.C:
		}
	}
}

func (r *receiver) await(t *testing.T, want ...float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("the receiver has %v; it", want), func() bool { return slices.Equal(r.values(), want) })
}

func TestDelivery(t *testing.T) {
	r := newReceiver(t)
	q := run(t, Config{Dir: t.TempDir(), Receivers: []*config.RemoteWriteConfig{r.config(t)}, ExternalLabels: labels.FromStrings("cluster", "c", "n", "x")})
	q.append(t, 1, 2)
	q.append(t, 3)
	r.await(t, 1, 2, 3)
	if got := r.labels[0].String(); got != `{__name__="m", cluster="c", n="1"}` {
		t.Errorf("labels are %s", got)
	}
	eventually(t, "nothing pending", func() bool { return testutil.ToFloat64(q.senders[0].pending) == 0 })
	if n := testutil.ToFloat64(q.senders[0].sent); n != 3 {
		t.Errorf("samples_total is %v", n)
	}
}

// TestOutageAndRestart takes the receiver away and restarts the queue while it is away: everything comes, once
// and in order.
func TestOutageAndRestart(t *testing.T) {
	for _, status := range []int{http.StatusServiceUnavailable, http.StatusNotFound, http.StatusUnauthorized, http.StatusTooManyRequests} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			r := newReceiver(t)
			cfg := Config{Dir: t.TempDir(), Receivers: []*config.RemoteWriteConfig{r.config(t)}}
			q := run(t, cfg)
			q.append(t, 1)
			r.await(t, 1)
			r.answers(func([]float64) int { return status })
			q.append(t, 2)
			eventually(t, "a retry", func() bool { return testutil.ToFloat64(q.senders[0].retried) > 1 })
			q.append(t, 3)
			q.stop()
			q = run(t, cfg)
			if n := testutil.ToFloat64(q.senders[0].pending); n != 2 {
				t.Errorf("%v samples are pending after a restart, want 2", n)
			}
			q.append(t, 4)
			r.answers(nil)
			r.await(t, 1, 2, 3, 4)
		})
	}
}

// TestRefusal lets the receiver refuse some samples for what they are: only these are lost.
func TestRefusal(t *testing.T) {
	r := newReceiver(t)
	r.answers(func(values []float64) int {
		if slices.Contains(values, 3) || slices.Contains(values, 6) {
			return http.StatusBadRequest
		}
		return 0
	})
	q := run(t, Config{Dir: t.TempDir(), Receivers: []*config.RemoteWriteConfig{r.config(t)}})
	q.append(t, 1, 2, 3, 4, 5, 6, 7)
	r.await(t, 1, 2, 4, 5, 7)
	eventually(t, "two refusals counted", func() bool { return testutil.ToFloat64(q.senders[0].failed) == 2 })
}

// TestLogIsCleaned appends more than files hold and sees them go when the receiver has what is in them.
func TestLogIsCleaned(t *testing.T) {
	r := newReceiver(t)
	dir := t.TempDir()
	cfg := Config{Dir: dir, Receivers: []*config.RemoteWriteConfig{r.config(t)}}
	files := func() int {
		all, err := filepath.Glob(filepath.Join(dir, "wal", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	q := run(t, cfg)
	for range 4 {
		q.append(t, 1)
		q.stop() // each start begins a file
		q = run(t, cfg)
	}
	r.await(t, 1, 1, 1, 1)
	q.append(t, 2)
	r.await(t, 1, 1, 1, 1, 2)
	eventually(t, "a clean folder", func() bool { return files() == 1 })
}

// TestDamage flips a byte in a file that is complete: what is before it and in later files arrives.
func TestDamage(t *testing.T) {
	r := newReceiver(t)
	r.answers(func([]float64) int { return http.StatusServiceUnavailable })
	dir := t.TempDir()
	cfg := Config{Dir: dir, Receivers: []*config.RemoteWriteConfig{r.config(t)}}
	q := run(t, cfg)
	q.append(t, 1)
	q.append(t, 2)
	q.stop()
	file := filepath.Join(dir, "wal", "00000000")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	end := len(b)
	for end > 0 && b[end-1] == 0 {
		end--
	}
	b[end-1] ^= 0xff
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
	q = run(t, cfg)
	q.append(t, 3)
	r.answers(nil)
	r.await(t, 1, 3)
}

func TestOldSamplesAreDropped(t *testing.T) {
	r := newReceiver(t)
	q := run(t, Config{Dir: t.TempDir(), MaxAge: time.Minute, Receivers: []*config.RemoteWriteConfig{r.config(t)}})
	if err := q.Append([]Sample{{labels.FromStrings("__name__", "m"), time.Now().Add(-time.Hour).UnixMilli(), 1}}); err != nil {
		t.Fatal(err)
	}
	q.append(t, 2)
	r.await(t, 2)
	if n := testutil.ToFloat64(q.senders[0].dropped.WithLabelValues("too_old")); n != 1 {
		t.Errorf("%v samples were dropped as too old, want 1", n)
	}
}

func TestOpenRefuses(t *testing.T) {
	r := newReceiver(t)
	good := r.config(t)
	nameless, twin, new2 := *good, *good, *good
	nameless.Name = ""
	new2.ProtobufMessage = "io.prometheus.write.v2.Request"
	for name, cfg := range map[string]Config{
		"no folder": {Receivers: []*config.RemoteWriteConfig{good}},
		"no name":   {Dir: t.TempDir(), Receivers: []*config.RemoteWriteConfig{&nameless}},
		"same name": {Dir: t.TempDir(), Receivers: []*config.RemoteWriteConfig{good, &twin}},
		"protocol":  {Dir: t.TempDir(), Receivers: []*config.RemoteWriteConfig{&new2}},
	} {
		if _, err := Open(cfg, nil, nil); err == nil {
			t.Errorf("%s: Open succeeds", name)
		}
	}
}
