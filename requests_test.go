package loki_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/ingester"
)

// requests is a bucket that counts what is asked of it.
type requests struct {
	objstore.Bucket
	mu    sync.Mutex
	count map[string]int
	bytes int64 // of range reads
}

func (r *requests) note(kind string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[kind]++
}

// take returns what was counted since the last call.
func (r *requests) take() (count map[string]int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	count, bytes = r.count, r.bytes
	r.count, r.bytes = map[string]int{}, 0
	return count, bytes
}

func (r *requests) Upload(ctx context.Context, name string, body io.Reader, options ...objstore.ObjectUploadOption) error {
	r.note("PUT")
	return r.Bucket.Upload(ctx, name, body, options...)
}

func (r *requests) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	r.note("GET")
	return r.Bucket.Get(ctx, name)
}

func (r *requests) GetRange(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	r.note("GET")
	r.mu.Lock()
	r.bytes += length
	r.mu.Unlock()
	return r.Bucket.GetRange(ctx, name, off, length)
}

func (r *requests) Attributes(ctx context.Context, name string) (objstore.ObjectAttributes, error) {
	r.note("HEAD")
	return r.Bucket.Attributes(ctx, name)
}

func (r *requests) Exists(ctx context.Context, name string) (bool, error) {
	r.note("HEAD")
	return r.Bucket.Exists(ctx, name)
}

func (r *requests) Iter(ctx context.Context, dir string, f func(string) error, options ...objstore.IterOption) error {
	r.note("LIST")
	return r.Bucket.Iter(ctx, dir, f, options...)
}

// TestBucketRequests bounds how many requests to the bucket a segment and a query of it cost, for a process that
// has just started and for one that has read the segments before. docs/scaling.md quotes what it logs.
func TestBucketRequests(t *testing.T) {
	bucket := &requests{Bucket: objstore.NewInMemBucket(), count: map[string]int{}}
	ctx := t.Context()
	open := func() *loki.Engine {
		e, err := loki.Open(loki.Config{Dir: t.TempDir(), Bucket: bucket, Ingester: ingester.Config{SegmentTarget: 4 << 20, MaxAge: -1, MaxIdle: -1}})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	e := open()
	bucket.take()
	random := rand.New(rand.NewPCG(1, 2))
	began := time.Now().Add(-time.Hour)
	size := 0
	for n := 0; size < 24<<20; {
		var lines []loki.Line
		for range 2000 {
			text := fmt.Sprintf(`level=info caller=handler.go:%d msg="request served" method=GET path=/api/v1/items/%d status=200 duration=%dms`,
				random.IntN(500), random.IntN(100_000), random.IntN(500))
			lines = append(lines, loki.Line{Labels: fmt.Sprintf(`{app="app%d"}`, n%10), Time: began.Add(time.Duration(n) * time.Millisecond), Text: text})
			size += len(text)
			n++
		}
		if err := e.Push(ctx, lines...); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	count, _ := bucket.take()
	segments := count["PUT"]
	t.Logf("%d MiB of lines: %v", size>>20, count)
	if all := count["PUT"] + count["GET"] + count["HEAD"] + count["LIST"]; segments < 3 || segments > 8 || all > 3*segments {
		t.Errorf("writing took %v", count)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}

	bucket.take()
	e = open()
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	count, _ = bucket.take()
	t.Logf("start without a catalog, %d segments: %v", segments, count)
	if count["GET"]+count["HEAD"] > 3*segments || count["LIST"] > 4 {
		t.Errorf("the start took %v", count)
	}
	for _, q := range []struct {
		name, query string
		cold, warm  int // at most, for each segment
	}{
		{"count", `sum(count_over_time({app=~".+"}[2h]))`, 3, 1},
		{"count of a stream", `sum(count_over_time({app="app3"}[2h]))`, 3, 1},
		{"a line that is nowhere", `{app=~".+"} |= "0123456789abcdef0123"`, 3, 1},
		{"newest lines of a stream", `{app="app3"}`, 4, 1},
		{"a scan", `sum(count_over_time({app=~".+"} |~ "items/7+ " [2h]))`, 16, 1},
	} {
		for _, when := range []struct {
			name string
			most int
		}{{"cold", q.cold}, {"warm", q.warm}} {
			if when.name == "cold" {
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				e = open()
				bucket.take()
			}
			if strings.HasPrefix(q.query, "sum") {
				if res, err := e.QueryInstant(ctx, q.query, time.Now()); err != nil || len(res.Series) == 0 {
					t.Fatalf("%s: %v", q.query, err)
				}
			} else {
				for _, err := range e.Query(ctx, q.query, loki.Last(2*time.Hour)) {
					if err != nil {
						t.Fatal(err)
					}
				}
			}
			count, bytes := bucket.take()
			t.Logf("%s, %s: %v, %d KiB", q.name, when.name, count, bytes>>10)
			if count["GET"]+count["HEAD"] > when.most*segments {
				t.Errorf("%s, %s: %v for %d segments, want at most %d for each", q.name, when.name, count, segments, when.most)
			}
		}
	}
}
