package store_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql/column"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// oneLine is a segment of a stream with one line.
func oneLine(app string, at int64) store.Rows {
	return func(yield func(*store.StreamRows, error) bool) {
		yield(&store.StreamRows{
			Labels: labels.FromStrings("app", app), Times: []int64{at},
			Lines: column.Lines{Data: []byte("line"), Offsets: []uint32{0, 4}},
		}, nil)
	}
}

// metricOf returns the value of a metric without labels.
func metricOf(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			return m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// readCounter counts the reads of a bucket.
type readCounter struct {
	objstore.Bucket
	reads atomic.Int64
}

func (b *readCounter) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	b.reads.Add(1)
	return b.Bucket.GetRange(ctx, name, off, n)
}

// copiedFiles returns the names of the copies in a folder, in order.
func copiedFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, d.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

// withCopies starts a store with copies until the test ends, or until the function is called.
func withCopies(t *testing.T, b objstore.Bucket, cfg store.Config, reg prometheus.Registerer) (*store.Store, func()) {
	t.Helper()
	cfg.RefreshInterval = -1
	s, err := store.New(cfg, b, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return s, stop
}

func TestIndexCopies(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := &readCounter{Bucket: objstore.NewInMemBucket()}
	writer, _ := withCopies(t, b, store.Config{}, nil)
	const segments = 10
	var ids []ulid.ULID
	for n := range segments {
		ids = append(ids, ulid.MustNew(uint64(n+1), strings.NewReader("0123456789")))
		if _, err := writer.Put(ctx, ids[n], oneLine(fmt.Sprint("a", n), int64(n))); err != nil {
			t.Fatal(err)
		}
	}
	var want []string
	for n := range segments {
		want = append(want, fmt.Sprintf("a%d", n))
	}
	// ask returns how many reads of the bucket an answer took.
	ask := func(s *store.Store) int64 {
		t.Helper()
		before := b.reads.Load()
		got, err := s.LabelValues(ctx, "app", 0, segments, nil)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("values %q, %v, want %q", got, err, want)
		}
		return b.reads.Load() - before
	}
	cfg := store.Config{IndexDir: filepath.Join(t.TempDir(), "indexes"), CatalogFile: filepath.Join(t.TempDir(), "catalog.db")}

	s, stop := withCopies(t, b, cfg, nil)
	if n := b.reads.Load(); n != segments {
		t.Errorf("a start without anything takes %d reads of %d segments", n, segments)
	}
	if n := ask(s); n != 0 {
		t.Errorf("what was read for the catalog is read again: %d reads", n)
	}
	stop()
	before, reg := b.reads.Load(), prometheus.NewRegistry()
	s, stop = withCopies(t, b, cfg, reg)
	if n := ask(s) + b.reads.Load() - before; n != 0 {
		t.Errorf("after a restart %d reads", n)
	}
	if n := metricOf(t, reg, "loki_store_index_copies_read_total"); n != segments {
		t.Errorf("%v copies read", n)
	}
	stop()

	// Deleted: made again when the segments are opened.
	if err := os.RemoveAll(cfg.IndexDir); err != nil {
		t.Fatal(err)
	}
	s, stop = withCopies(t, b, cfg, nil)
	if n := ask(s); n != segments {
		t.Errorf("without copies %d reads", n)
	}
	stop()
	if got := copiedFiles(t, cfg.IndexDir); len(got) != segments {
		t.Errorf("copies %q", got)
	}

	// Damaged, cut off, another segment's, and left by a crash.
	dir := filepath.Join(cfg.IndexDir, "a")
	file := func(n int) string { return filepath.Join(dir, ids[n].String()) }
	damage := func(n int, change func([]byte) []byte) {
		t.Helper()
		data, err := os.ReadFile(file(n))
		if err == nil {
			err = os.WriteFile(file(n), change(data), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage(0, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
	damage(1, func(b []byte) []byte { return b[1:] })
	damage(2, func(b []byte) []byte { return b[:len(b)-1] })
	damage(3, func([]byte) []byte { return nil })
	damage(4, func([]byte) []byte {
		other, err := os.ReadFile(file(5))
		if err != nil {
			t.Fatal(err)
		}
		return other
	})
	if err := os.WriteFile(filepath.Join(dir, "x"+".tmp"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, stop = withCopies(t, b, cfg, nil)
	if n := ask(s); n != 5 {
		t.Errorf("with five damaged copies %d reads", n)
	}
	if got := copiedFiles(t, cfg.IndexDir); len(got) != segments {
		t.Errorf("copies %q", got)
	}
	stop()
	s, stop = withCopies(t, b, cfg, nil)
	if n := ask(s); n != 0 {
		t.Errorf("after they were made again %d reads", n)
	}

	// A segment goes: by this store, by another one, and while none runs.
	gone := func(n int) {
		t.Helper()
		if err := b.Delete(ctx, store.SegmentPath("a", ids[n])); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(ctx, ids[0]); err != nil {
		t.Fatal(err)
	}
	if got := copiedFiles(t, cfg.IndexDir); len(got) != segments-1 {
		t.Errorf("after one was removed: copies %q", got)
	}
	gone(1)
	if err := s.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got := copiedFiles(t, cfg.IndexDir); len(got) != segments-2 {
		t.Errorf("after another one was removed: copies %q", got)
	}
	stop()
	gone(2)
	_, stop = withCopies(t, b, cfg, nil)
	if got := copiedFiles(t, cfg.IndexDir); len(got) != segments-3 || slices.Contains(got, ids[2].String()) {
		t.Errorf("after one was removed meanwhile: copies %q", got)
	}
	stop()
	want, ids = want[3:], ids[3:]

	// Bounded: there is room for three.
	info, err := os.Stat(file(0))
	if err != nil {
		t.Fatal(err)
	}
	cfg.IndexDirBytes = 4*info.Size() - 1
	reg = prometheus.NewRegistry()
	s, _ = withCopies(t, b, cfg, reg)
	if got := copiedFiles(t, cfg.IndexDir); len(got) != 3 {
		t.Errorf("more than fits: copies %q", got)
	}
	ask(s)
	if got := copiedFiles(t, cfg.IndexDir); len(got) != 3 {
		t.Errorf("more than fits: copies %q", got)
	}
	if n := metricOf(t, reg, "loki_store_index_copies_bytes"); n > float64(cfg.IndexDirBytes) || n < float64(info.Size()) {
		t.Errorf("%v bytes counted", n)
	}
}

// TestIndexCopiesOfSome checks that only wanted copies are made in advance, and that a folder that can't be written
// to fails no query.
func TestIndexCopiesOfSome(t *testing.T) {
	b := objstore.NewInMemBucket()
	writer, _ := withCopies(t, b, store.Config{}, nil)
	for n, tenant := range []string{"a", "B"} {
		id := ulid.MustNew(uint64(n+1), strings.NewReader("0123456789"))
		if _, err := writer.Put(storetest.Tenant(tenant), id, oneLine("x", 1)); err != nil {
			t.Fatal(err)
		}
	}
	cfg := store.Config{IndexDir: filepath.Join(t.TempDir(), "indexes"), KeepIndexes: func(tenant string) bool { return tenant == "a" }}
	s, _ := withCopies(t, b, cfg, nil)
	if got := copiedFiles(t, cfg.IndexDir); len(got) != 1 {
		t.Errorf("copies %q, want that of one tenant", got)
	}
	if err := os.RemoveAll(cfg.IndexDir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.IndexDir, nil, 0o600); err != nil { // a file in the place of the folder
		t.Fatal(err)
	}
	if got, err := s.LabelValues(storetest.Tenant("B"), "app", 0, 2, nil); err != nil || !slices.Equal(got, []string{"x"}) {
		t.Errorf("values %q, %v", got, err)
	}
}
