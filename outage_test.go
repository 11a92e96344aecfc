package loki_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/store"
)

// outage is a bucket whose server may be away.
type outage struct {
	objstore.Bucket
	away atomic.Bool
}

func (o *outage) err() error {
	if o.away.Load() {
		return fmt.Errorf("the server: %w", store.ErrUnavailable)
	}
	return nil
}

func (o *outage) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := o.err(); err != nil {
		return nil, err
	}
	return o.Bucket.Get(ctx, name)
}

func (o *outage) GetRange(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if err := o.err(); err != nil {
		return nil, err
	}
	return o.Bucket.GetRange(ctx, name, off, length)
}

func (o *outage) Attributes(ctx context.Context, name string) (objstore.ObjectAttributes, error) {
	if err := o.err(); err != nil {
		return objstore.ObjectAttributes{}, err
	}
	return o.Bucket.Attributes(ctx, name)
}

func (o *outage) Iter(ctx context.Context, dir string, f func(string) error, options ...objstore.IterOption) error {
	if err := o.err(); err != nil {
		return err
	}
	return o.Bucket.Iter(ctx, dir, f, options...)
}

// TestOutage: what needs an object store that is away is refused with 503 and says why, in one process and over gRPC, and
// works again when it is back.
func TestOutage(t *testing.T) {
	try := func(t *testing.T, server http.Handler, bucket *outage, flush func(context.Context) error) {
		now := time.Now().UnixNano()
		send := func(method, path, body string) (int, string) {
			r := httptest.NewRequest(method, path, strings.NewReader(body))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Scope-OrgID", "a")
			w := httptest.NewRecorder()
			server.ServeHTTP(w, r)
			return w.Code, w.Body.String()
		}
		body := fmt.Sprintf(`{"streams":[{"stream":{"app":"x"},"values":[["%d","some line"]]}]}`, now-int64(time.Minute))
		if code, text := send("POST", "/loki/api/v1/push", body); code != http.StatusNoContent {
			t.Fatalf("push = %d, %s", code, text)
		}
		if err := flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		paths := []string{
			`/loki/api/v1/query_range?query={app="x"}`, `/loki/api/v1/query?query=sum(bytes_over_time({app="x"}[1h]))`,
			"/loki/api/v1/labels?", "/loki/api/v1/label/app/values?", `/loki/api/v1/series?match[]={app="x"}`,
			`/loki/api/v1/index/stats?query={app="x"}`, `/loki/api/v1/index/volume?query={app="x"}`,
		}
		span := fmt.Sprintf("&start=%d&end=%d", now-int64(time.Hour), now)
		bucket.away.Store(true)
		for _, p := range paths {
			if code, text := send("GET", p+span, ""); code != http.StatusServiceUnavailable || !strings.Contains(text, "the object store can't be reached") {
				t.Errorf("%s = %d, %s", p, code, text)
			}
		}
		if code, text := send("POST", "/loki/api/v1/push", body); code != http.StatusNoContent {
			t.Errorf("push = %d, %s", code, text)
		}
		bucket.away.Store(false)
		for _, p := range paths {
			if code, text := send("GET", p+span, ""); code != http.StatusOK {
				t.Errorf("%s afterwards = %d, %s", p, code, text)
			}
		}
	}
	t.Run("one process", func(t *testing.T) {
		bucket := &outage{Bucket: objstore.NewInMemBucket()}
		eng, err := loki.Open(loki.Config{Dir: t.TempDir(), Bucket: bucket})
		if err != nil {
			t.Fatal(err)
		}
		defer eng.Close()
		try(t, eng.Handler(), bucket, eng.Flush)
	})
	t.Run("components", func(t *testing.T) {
		bucket := &outage{Bucket: objstore.NewInMemBucket()}
		c := newClusterOn(t, bucket)
		try(t, c, bucket, c.nodes[loki.Ingester].Flush)
	})
}
