package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

var everything = &logql.SelectRequest{End: 1 << 62}

// countingBucket counts reads of objects.
type countingBucket struct {
	objstore.Bucket
	mu    sync.Mutex
	reads int
}

func (b *countingBucket) Attributes(ctx context.Context, name string) (objstore.ObjectAttributes, error) {
	b.mu.Lock()
	b.reads++
	b.mu.Unlock()
	return b.Bucket.Attributes(ctx, name)
}

func TestRestart(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := &countingBucket{Bucket: filesystem(t, t.TempDir())}
	file := filepath.Join(t.TempDir(), "catalog")
	want := storetest.Generate(1, 5, 20)
	run := func(name string, reads int) {
		t.Helper()
		b.reads = 0
		s, err := store.New(store.Config{CatalogFile: file}, b, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b.reads != reads {
			t.Errorf("%s: %d segments were looked at, want %d", name, b.reads, reads)
		}
		if ok, err := s.Exists(ctx, storetest.ID(2)); !ok && name != "first" || err != nil {
			t.Errorf("%s: Exists: %v, %v", name, ok, err)
		}
		if name == "first" {
			storetest.Put(t, ctx, s, storetest.ID(1), want[:50])
			storetest.Put(t, ctx, s, storetest.ID(2), want[50:])
		}
		storetest.Equal(t, name, storetest.Collect(t, ctx, s, everything), storetest.Sorted(want))
		if got := s.Tenants(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("%s: Tenants = %v", name, got)
		}
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	run("first", 0)
	run("with catalog file", 0)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	run("without catalog file", 2)
	run("again", 0)

	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("this is no database"), 0o644); err != nil {
		t.Fatal(err)
	}
	run("garbage", 2)
	for _, n := range []int{0, 100, 4096, len(good) / 2} {
		if err := os.WriteFile(file, good[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		run("truncated", 2)
	}
}

// TestDamagedCatalogFile flips bytes of the catalog file: whatever it then says, answers are right.
func TestDamagedCatalogFile(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := objstore.NewInMemBucket()
	dir := t.TempDir()
	file := filepath.Join(dir, "catalog")
	want := storetest.Generate(1, 3, 5)
	once := func() {
		t.Helper()
		s, err := store.New(store.Config{CatalogFile: file}, b, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		storetest.Put(t, ctx, s, storetest.ID(1), want)
		storetest.Equal(t, "rows", storetest.Collect(t, ctx, s, everything), storetest.Sorted(want))
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Fatal(err)
		}
	}
	once()
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(good); i += 1 + len(good)/97 {
		bad := bytes.Clone(good)
		for j := range 40 {
			bad[(i+j)%len(bad)] ^= 0xff
		}
		if err := os.WriteFile(file, bad, 0o644); err != nil {
			t.Fatal(err)
		}
		once()
	}
}

func TestCatalogFileInUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog")
	b := objstore.NewInMemBucket()
	start(t, store.Config{CatalogFile: file}, b)
	s, err := store.New(store.Config{CatalogFile: file}, b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(context.Background(), s); !errors.Is(err, store.ErrLocked) {
		t.Errorf("start with a catalog file in use: %v", err)
	}
}

func TestRefresh(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := objstore.NewInMemBucket()
	writer := start(t, store.Config{RefreshInterval: -1}, b)
	reader := start(t, store.Config{RefreshInterval: -1}, b)
	want := storetest.Generate(1, 5, 20)
	storetest.Put(t, ctx, writer, storetest.ID(1), want)
	if got := storetest.Collect(t, ctx, reader, everything); len(got) != 0 {
		t.Errorf("%d rows before the refresh", len(got))
	}
	// Put of a segment that another store has written finds it.
	if info, err := reader.Put(ctx, storetest.ID(1), storetest.Rows()); err != nil || info.Rows != 100 {
		t.Errorf("Put of what exists: %+v, %v", info, err)
	}
	storetest.Put(t, storetest.Tenant("b"), writer, storetest.ID(1), want)
	if err := reader.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	for _, tenant := range []string{"a", "b"} {
		storetest.Equal(t, tenant, storetest.Collect(t, storetest.Tenant(tenant), reader, everything), storetest.Sorted(want))
	}
	if err := b.Delete(ctx, store.SegmentPath("a", storetest.ID(1))); err != nil {
		t.Fatal(err)
	}
	if err := reader.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got := reader.Tenants(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("Tenants after a removal: %v", got)
	}
}

func TestRefreshByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := storetest.Tenant("a")
		b := objstore.NewInMemBucket()
		reader := start(t, store.Config{RefreshInterval: time.Minute}, b)
		writer := start(t, store.Config{RefreshInterval: -1}, b)
		storetest.Put(t, ctx, writer, storetest.ID(1), storetest.Generate(1, 1, 1))
		time.Sleep(2 * time.Minute) // of the test's own clock
		synctest.Wait()
		if got := reader.Tenants(); len(got) != 1 {
			t.Errorf("Tenants after two minutes: %v", got)
		}
	})
}

// TestReplace checks that readers see a merged segment or the ones it was merged from, never both or
// neither.
func TestReplace(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := objstore.NewInMemBucket()
	s := start(t, store.Config{RefreshInterval: -1}, b)
	reader := start(t, store.Config{RefreshInterval: -1}, b)
	want := storetest.Generate(1, 5, 20)
	storetest.Put(t, ctx, s, storetest.ID(1), want[:50])
	storetest.Put(t, ctx, s, storetest.ID(2), want[50:])
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if got := storetest.Collect(t, ctx, s, everything); len(got) != len(want) {
				t.Errorf("%d rows, want %d", len(got), len(want))
				return
			}
		}
	})
	info, err := s.Replace(ctx, storetest.ID(3), []ulid.ULID{storetest.ID(1), storetest.ID(2)}, storetest.Rows(want...))
	if err != nil || len(info.Replaces) != 2 {
		t.Fatalf("Replace: %+v, %v", info, err)
	}
	if err := reader.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	close(stop)
	wg.Wait()
	for _, svc := range []*store.Store{s, reader} {
		infos, err := svc.Segments(ctx, 0, 1<<62)
		if err != nil || len(infos) != 1 || infos[0].ID != storetest.ID(3) {
			t.Errorf("Segments = %v, %v", infos, err)
		}
		storetest.Equal(t, "after Replace", storetest.Collect(t, ctx, svc, everything), storetest.Sorted(want))
	}
	for _, n := range []int{1, 2} {
		if err := b.Delete(ctx, store.SegmentPath("a", storetest.ID(n))); err != nil {
			t.Fatal(err)
		}
	}
	if err := reader.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	storetest.Equal(t, "after removal", storetest.Collect(t, ctx, reader, everything), storetest.Sorted(want))
}

// TestForeignObjects checks that what is no segment is no obstacle.
func TestForeignObjects(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := objstore.NewInMemBucket()
	for _, name := range []string{"segments/a/README", "segments/A/" + storetest.ID(1).String(), "segments/x", "other/y"} {
		if err := b.Upload(ctx, name, bytes.NewReader([]byte("hello"))); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, store.Config{}, b)
	storetest.Put(t, ctx, s, storetest.ID(1), []storetest.Entry{{Labels: labels.FromStrings("app", "x"), Time: 1, Line: "x"}})
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got := storetest.Collect(t, ctx, s, everything); len(got) != 1 {
		t.Errorf("rows: %v", got)
	}
}

func TestConfig(t *testing.T) {
	_, err := store.New(store.Config{CompressionLevel: 9, CacheBytes: -1}, objstore.NewInMemBucket(), nil, nil)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"CompressionLevel 9", "CacheBytes -1"} {
		if !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("error %q does not mention %q", err, want)
		}
	}
}
