package s3

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/loki/store"
)

// fake is as much of an S3 server as the bucket needs, and fails when it is told to.
type fake struct {
	mu      sync.Mutex
	objects map[string][]byte
	fail    func(n int, r *http.Request) int // status of the n-th request, 0 for none, -1 to break off half-way
	count   int
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	status := 0
	if f.fail != nil {
		status = f.fail(f.count, r)
	}
	if status > 0 {
		w.WriteHeader(status)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/logs/")
	body, ok := f.objects[name]
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Has("list-type"):
		type entry struct{ Key string }
		var list struct {
			XMLName  xml.Name `xml:"ListBucketResult"`
			Contents []entry
		}
		for k := range f.objects {
			list.Contents = append(list.Contents, entry{k})
		}
		slices.SortFunc(list.Contents, func(a, b entry) int { return strings.Compare(a.Key, b.Key) })
		_ = xml.NewEncoder(w).Encode(list)
	case r.Method == http.MethodPut:
		f.objects[name] = unchunk(r.Body)
		w.Header().Set("ETag", `"x"`)
	case r.Method == http.MethodDelete:
		delete(f.objects, name)
		w.WriteHeader(http.StatusNoContent)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `<Error><Code>NoSuchKey</Code></Error>`)
		}
	default:
		w.Header().Set("ETag", `"x"`)
		w.Header().Set("Last-Modified", time.Unix(1e9, 0).UTC().Format(http.TimeFormat))
		if status < 0 {
			from := 0
			if text, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
				first, _, _ := strings.Cut(text, "-")
				from, _ = strconv.Atoi(first)
				w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(body)-from))
			_, _ = w.Write(body[from : from+(len(body)-from)/2])
			panic(http.ErrAbortHandler)
		}
		http.ServeContent(w, r, "", time.Unix(1e9, 0), bytes.NewReader(body))
	}
}

// unchunk reads a body whose pieces are signed, each after a line with its size.
func unchunk(r io.Reader) []byte {
	var all []byte
	for lines := bufio.NewReader(r); ; {
		head, err := lines.ReadString('\n')
		if err != nil {
			return all
		}
		size, _, _ := strings.Cut(head, ";")
		n, _ := strconv.ParseInt(size, 16, 64)
		piece := make([]byte, n+2) // with the line's end
		_, _ = io.ReadFull(lines, piece)
		all = append(all, piece[:n]...)
	}
}

func open(t *testing.T, f *fake, change func(*Config)) (*Bucket, *prometheus.Registry) {
	t.Helper()
	f.objects = map[string][]byte{}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	cfg := Config{
		Bucket: "logs", Endpoint: strings.TrimPrefix(srv.URL, "http://"), Region: "x", Insecure: true, PathStyle: true,
		AccessKey: "key", SecretKey: "secret-secret", MinPause: time.Millisecond, MaxPause: 2 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	reg := prometheus.NewRegistry()
	b, err := NewBucket(cfg, reg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, reg
}

// every fails each request but the n-th.
func every(n, status int) func(int, *http.Request) int {
	return func(i int, _ *http.Request) int {
		if i%n == 0 {
			return 0
		}
		return status
	}
}

func TestObjects(t *testing.T) {
	for name, fail := range map[string]func(int, *http.Request) int{"well": nil, "two of three fail": every(3, 503)} {
		t.Run(name, func(t *testing.T) {
			b, _ := open(t, &fake{fail: fail}, nil)
			ctx := t.Context()
			text := strings.Repeat("0123456789", 1000)
			// A reader that can't be rewound, as it comes from the store.
			if err := b.Upload(ctx, "a/b", io.MultiReader(strings.NewReader(text[:10]), strings.NewReader(text[10:]))); err != nil {
				t.Fatal(err)
			}
			r, err := b.GetRange(ctx, "a/b", 15, 10)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != "5678901234" {
				t.Errorf("GetRange = %q, %v", got, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if a, err := b.Attributes(ctx, "a/b"); err != nil || a.Size != int64(len(text)) {
				t.Errorf("Attributes = %+v, %v", a, err)
			}
			var names []string
			if err := b.Iter(ctx, "a/", func(n string) error { names = append(names, n); return nil }); err != nil || !slices.Equal(names, []string{"a/b"}) {
				t.Errorf("Iter = %q, %v", names, err)
			}
			if err := b.Delete(ctx, "a/b"); err != nil {
				t.Error(err)
			}
			if ok, err := b.Exists(ctx, "a/b"); ok || err != nil {
				t.Errorf("Exists = %v, %v", ok, err)
			}
			if _, err := b.Get(ctx, "a/b"); !b.IsObjNotFoundErr(err) {
				t.Errorf("Get of nothing = %v", err)
			}
		})
	}
}

func TestReadGoesOn(t *testing.T) {
	f := &fake{}
	b, _ := open(t, f, nil)
	text := strings.Repeat("0123456789", 100_000)
	if err := b.Upload(t.Context(), "a", strings.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	broken := 0
	f.fail = func(int, *http.Request) int {
		if broken++; broken <= 3 {
			return -1
		}
		return 0
	}
	r, err := b.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != text {
		t.Errorf("read %d bytes of %d, %v", len(got), len(text), err)
	}
}

func TestGivesUp(t *testing.T) {
	f := &fake{fail: func(int, *http.Request) int { return 500 }}
	b, reg := open(t, f, func(c *Config) { c.Retries = 2; c.Failures = 100 })
	if _, err := b.Exists(t.Context(), "a"); err == nil {
		t.Error("Exists of a server that fails: no error")
	}
	if f.count != 3 {
		t.Errorf("%d requests, want 3", f.count)
	}
	want := `# HELP loki_s3_requests_total Requests to the object store by method and status code; code 0 is no answer.
# TYPE loki_s3_requests_total counter
loki_s3_requests_total{code="500",method="HEAD"} 3
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "loki_s3_requests_total"); err != nil {
		t.Error(err)
	}
	f.fail = func(int, *http.Request) int { return 403 }
	f.count = 0
	if _, err := b.Exists(t.Context(), "a"); err == nil || f.count != 1 {
		t.Errorf("403 = %v after %d requests, want an error after one", err, f.count)
	}
}

func TestOutage(t *testing.T) {
	f := &fake{fail: func(int, *http.Request) int { return 503 }}
	b, _ := open(t, f, func(c *Config) { c.Retries = -1; c.Failures = 3; c.Outage = time.Hour })
	for range 3 {
		if _, err := b.Exists(t.Context(), "a"); !errors.Is(err, store.ErrUnavailable) || errors.Is(err, ErrUnavailable) {
			t.Fatalf("Exists = %v", err)
		}
	}
	if _, err := b.Exists(t.Context(), "a"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, store.ErrUnavailable) || f.count != 3 {
		t.Errorf("Exists = %v after %d requests, want %v after 3", err, f.count, ErrUnavailable)
	}
}

func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(2, time.Minute, time.Now, prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}))
		step := func(want error, ok bool) {
			t.Helper()
			trial, err := b.allow(t.Context())
			if !errors.Is(err, want) {
				t.Fatalf("allow = %v, want %v", err, want)
			}
			if err == nil {
				b.record(trial, ok)
			}
		}
		step(nil, false)
		step(nil, true)
		step(nil, false)
		step(nil, false) // the second in a row
		step(ErrUnavailable, true)
		time.Sleep(time.Minute) // of the bubble
		step(nil, false)        // a single one finds out
		step(ErrUnavailable, true)
		time.Sleep(time.Minute)
		step(nil, true)
		step(nil, true)
	})
}

// TestTrial sends requests while another one finds out whether the server is back.
func TestTrial(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(b *breaker) // of the trial
		want error            // for those that wait
	}{
		"back":      {func(b *breaker) { b.record(true, true) }, nil},
		"still out": {func(b *breaker) { b.record(true, false) }, ErrUnavailable},
		"given up":  {func(b *breaker) { b.forget(true) }, nil},
		"no answer": {func(*breaker) { time.Sleep(2 * time.Minute) }, ErrUnavailable},
		"an earlier request fails": {func(b *breaker) {
			b.record(false, false) // has nothing to do with the trial
			b.record(true, true)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBreaker(1, time.Minute, time.Now, prometheus.NewGauge(prometheus.GaugeOpts{Name: "x"}))
				b.record(false, false)
				time.Sleep(time.Minute)
				if trial, err := b.allow(t.Context()); !trial || err != nil {
					t.Fatalf("allow = %v, %v, want the trial", trial, err)
				}
				var waiting sync.WaitGroup
				for range 3 {
					waiting.Go(func() {
						trial, err := b.allow(t.Context())
						if err != c.want {
							t.Errorf("allow = %v, want %v", err, c.want)
						}
						if err == nil {
							b.record(trial, true)
						}
					})
				}
				cancelled, cancel := context.WithCancel(t.Context())
				waiting.Go(func() {
					if _, err := b.allow(cancelled); !errors.Is(err, context.Canceled) {
						t.Errorf("allow = %v, want %v", err, context.Canceled)
					}
				})
				synctest.Wait() // all wait
				cancel()
				synctest.Wait()
				c.end(b)
				waiting.Wait()
			})
		})
	}
}

func TestConfig(t *testing.T) {
	_, err := NewBucket(Config{AccessKey: "a", MinPause: time.Hour, Outage: -1}, nil)
	if err == nil || strings.Count(err.Error(), "\n") != 4 {
		t.Errorf("NewBucket of nonsense = %v, want five problems", err)
	}
}

func TestCancelled(t *testing.T) {
	b, _ := open(t, &fake{}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Exists(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Exists = %v, want %v", err, context.Canceled)
	}
}
