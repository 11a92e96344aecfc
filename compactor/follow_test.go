package compactor

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/thanos-io/objstore"
)

// awaitInForce waits until so many requests are in force.
func awaitInForce(t *testing.T, what string, d Deletes, want int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for len(d.Deleted(tenantName)) != want {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d requests are in force, want %d", what, len(d.Deleted(tenantName)), want)
		}
		<-time.After(time.Millisecond)
	}
}

// TestFollows: what one process is asked to delete, all others hide soon, those with a compactor too, although they make no pass.
func TestFollows(t *testing.T) {
	b := newBench(t, nil)
	cfg := b.comp.cfg
	cfg.Interval, cfg.FollowEvery = time.Hour, 5*time.Millisecond
	other, err := New(cfg, b.store, b.bucket, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := NewReader(ReaderConfig{Interval: 5 * time.Millisecond}, b.bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []services.Service{other, reader} {
		start(t, s)
		defer stop(t, s)
	}
	generations := [2]string{other.Generation(tenantName), reader.Generation(tenantName)}
	r, err := b.comp.Delete(tenant(), `{app="a"} |= "row 1"`, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	awaitInForce(t, "compactor, after a request", other, 1)
	awaitInForce(t, "reader, after a request", reader, 1)
	if other.Generation(tenantName) == generations[0] || reader.Generation(tenantName) == generations[1] {
		t.Error("kept answers are still used")
	}
	if err := b.comp.Cancel(tenant(), r.ID, false); err != nil {
		t.Fatal(err)
	}
	awaitInForce(t, "compactor, after it was cancelled", other, 0)
	awaitInForce(t, "reader, after it was cancelled", reader, 0)
}

// awayBucket cannot be listed.
type awayBucket struct{ objstore.Bucket }

var errAway = errors.New("the bucket does not answer")

func (awayBucket) IterWithAttributes(context.Context, string, func(objstore.IterObjectAttributes) error, ...objstore.IterOption) error {
	return errAway
}

// TestStartsFromFile: with the copy in the file a compactor starts, hides and answers while the bucket cannot be listed; without
// it the start fails, as deleted rows would be seen.
func TestStartsFromFile(t *testing.T) {
	b := newBench(t, nil)
	cfg := b.comp.cfg
	cfg.Interval, cfg.FollowEvery, cfg.File = time.Hour, -1, filepath.Join(t.TempDir(), "deletes.db")
	begin := func(bucket objstore.Bucket) (*Compactor, error) {
		t.Helper()
		c, err := New(cfg, b.store, bucket, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c, services.StartAndAwaitRunning(context.Background(), c)
	}
	if _, err := begin(awayBucket{b.bucket}); !errors.Is(err, errAway) {
		t.Fatalf("start without a file and without a bucket: %v", err)
	}
	c, err := begin(b.bucket)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Delete(tenant(), `{app="a"} |= "row 1"`, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	stop(t, c)
	if c, err = begin(awayBucket{b.bucket}); err != nil {
		t.Fatal(err)
	}
	list, err := c.Requests(tenant())
	if err != nil || len(list) != 1 || list[0].ID != r.ID || len(c.Deleted(tenantName)) != 1 {
		t.Errorf("requests from the file: %+v, %d in force, %v", list, len(c.Deleted(tenantName)), err)
	}
	if err := c.Run(context.Background()); !errors.Is(err, errAway) {
		t.Errorf("a pass without the list of requests ended with %v", err)
	}
	stop(t, c)
}

// TestManyRequests: what a rewrite asks the bucket does not grow with the number of requests that are being worked on.
func TestManyRequests(t *testing.T) {
	gets := &countingBucket{Bucket: objstore.NewInMemBucket()}
	old := time.Now().Add(-time.Hour)
	gets.modified.Store(&old)
	b := newBench(t, nil)
	cfg := b.comp.cfg
	cfg.CancelPeriod = -1
	c, err := New(cfg, b.store, gets, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	start(t, c)
	defer stop(t, c)
	const many = 50
	for range many {
		if _, err := c.Delete(tenant(), `{app="a"} |= "row 1"`, 0, 1<<62); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() int64 {
		t.Helper()
		if err := c.requests.load(context.Background()); err != nil {
			t.Fatal(err)
		}
		before := gets.n.Load()
		ps, err := c.begin(tenant(), tenantName, c.dueRequests(tenantName, 0, 1))
		if err != nil || len(ps) != many {
			t.Fatalf("%d requests stand, %v", len(ps), err)
		}
		return gets.n.Load() - before
	}
	begin()
	if n := begin(); n != 0 {
		t.Errorf("%d objects were read for %d requests that have not changed", n, many)
	}
}
