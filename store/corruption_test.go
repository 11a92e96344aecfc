package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// smallSegment is a segment that has everything, in as few bytes as possible.
func smallSegment(t testing.TB) []byte {
	t.Helper()
	var entries []storetest.Entry
	entries = append(entries, storetest.Generate(7, 3, 6)...)
	entries = append(entries, storetest.EachSecond(130)...)
	md := []string{"common", "x"}
	for i := range 203 {
		md = append(md, fmt.Sprintf("n%03d", i), "v")
	}
	entries = append(entries, storetest.Entry{Labels: labels.FromStrings("app", "z"), Time: 2000e9, Line: "many names", Metadata: labels.FromStrings(md...)})
	b := objstore.NewInMemBucket()
	ctx := storetest.Tenant("a")
	storetest.Put(t, ctx, start(t, store.Config{}, b), storetest.ID(1), entries)
	return b.Objects()[store.SegmentPath("a", storetest.ID(1))]
}

// answers asks a store for everything. It returns nil if some answer is an error, which must be
// ErrCorrupt.
func answers(t *testing.T, s *store.Store) []any {
	t.Helper()
	ctx := storetest.Tenant("a")
	var out []any
	fail := func(err error) []any {
		if !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrVersion) {
			t.Errorf("error is not ErrCorrupt: %v", err)
		}
		var c *store.CorruptError
		if errors.As(err, &c) && (c.Object == "" || c.Section == "") {
			t.Errorf("error does not say where: %v", err)
		}
		return nil
	}
	for _, req := range []*logql.SelectRequest{
		{End: 1 << 62},
		{End: 1 << 62, Contains: []logql.Needle{{Text: "request done"}}},
		{End: 1 << 62, Metadata: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "host", "one")}},
		{End: 1 << 62, Direction: logql.Forward, Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchRegexp, "app", "app1|z")}},
	} {
		for b, err := range s.Select(ctx, req) {
			if err != nil {
				return fail(err)
			}
			es, err := storetest.BatchEntries(ctx, b)
			for _, r := range b.Runs {
				if err == nil {
					_, _, err = b.Totals.Minutes(ctx, r.From, r.To)
				}
			}
			b.Release()
			if err != nil {
				return fail(err)
			}
			for _, e := range es {
				out = append(out, fmt.Sprint(e))
			}
		}
	}
	names, err := s.Labels(ctx, 0, 1<<62, nil)
	if err != nil {
		return fail(err)
	}
	values, err := s.LabelValues(ctx, "app", 0, 1<<62, nil)
	if err != nil {
		return fail(err)
	}
	series, err := s.Series(ctx, 0, 1<<62, nil)
	if err != nil {
		return fail(err)
	}
	volumes, err := s.Volumes(ctx, 0, 1<<62, nil, nil, nil)
	if err != nil {
		return fail(err)
	}
	return append(out, names, values, fmt.Sprint(series), fmt.Sprint(volumes))
}

// withObject returns a store over a bucket that holds this one segment.
func withObject(t testing.TB, data []byte) (*store.Store, objstore.Bucket) {
	t.Helper()
	b := objstore.NewInMemBucket()
	if err := b.Upload(context.Background(), store.SegmentPath("a", storetest.ID(1)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	return start(t, store.Config{RefreshInterval: -1}, b), b
}

func verify(b objstore.Bucket) error {
	ctx := context.Background()
	seg, err := store.OpenSegment(ctx, b, store.SegmentPath("a", storetest.ID(1)))
	if err != nil {
		return err
	}
	defer seg.Close()
	return seg.Verify(ctx, nil)
}

func TestFlippedBytes(t *testing.T) {
	data := smallSegment(t)
	s, b := withObject(t, data)
	want := answers(t, s)
	if want == nil {
		t.Fatal("the intact segment is not readable")
	}
	if err := verify(b); err != nil {
		t.Fatalf("Verify of the intact segment: %v", err)
	}
	step := 1
	if testing.Short() {
		step = 17
	}
	for i := 0; i < len(data); i += step {
		mask := byte(0xff)
		if i%2 == 0 {
			mask = 1 << (i / 2 % 8)
		}
		bad := bytes.Clone(data)
		bad[i] ^= mask
		t.Run("", func(t *testing.T) {
			s, b := withObject(t, bad)
			if got := answers(t, s); got != nil && !reflect.DeepEqual(got, want) {
				t.Errorf("byte %d ^ %#x: wrong answers", i, mask)
			}
			if err := verify(b); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("byte %d ^ %#x: Verify = %v", i, mask, err)
			}
		})
	}
}

func TestTruncated(t *testing.T) {
	data := smallSegment(t)
	for n := 0; n < len(data); n += 13 {
		for _, bad := range [][]byte{data[:n], data[n+1:], append(bytes.Clone(data), make([]byte, n+1)...)} {
			t.Run("", func(t *testing.T) {
				s, b := withObject(t, bad)
				if answers(t, s) != nil {
					t.Errorf("%d of %d bytes: no error", len(bad), len(data))
				}
				if err := verify(b); !errors.Is(err, store.ErrCorrupt) {
					t.Errorf("%d of %d bytes: Verify = %v", len(bad), len(data), err)
				}
			})
		}
	}
}

// TestDamageIsContained checks that a damaged segment does not keep others from being read.
func TestDamageIsContained(t *testing.T) {
	b := objstore.NewInMemBucket()
	ctx := storetest.Tenant("a")
	s := start(t, store.Config{RefreshInterval: -1, CacheBytes: 1, IndexCacheBytes: 1}, b)
	entry := func(ts int64) []storetest.Entry {
		return []storetest.Entry{{Labels: labels.FromStrings("app", "x"), Time: ts, Line: "line"}}
	}
	storetest.Put(t, ctx, s, storetest.ID(1), entry(100))
	storetest.Put(t, ctx, s, storetest.ID(2), entry(200))
	b.Objects()[store.SegmentPath("a", storetest.ID(1))][10] ^= 1
	if got := storetest.Collect(t, ctx, s, &logql.SelectRequest{Start: 150, End: 300}); len(got) != 1 {
		t.Errorf("rows of the intact segment: %v", got)
	}
	if n, err := s.Series(ctx, 0, 300, nil); err != nil || len(n) != 1 {
		t.Errorf("Series needs no page: %v, %v", n, err)
	}
	var failed error
	for batch, err := range s.Select(ctx, &logql.SelectRequest{Start: 0, End: 300}) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := batch.Lines(ctx); err != nil {
			failed = err
		}
		batch.Release()
	}
	var c *store.CorruptError
	if !errors.As(failed, &c) || c.Object != store.SegmentPath("a", storetest.ID(1)) || c.Offset != 8 {
		t.Errorf("error of the damaged page: %v", failed)
	}
}

// TestDamageIsCounted where a query meets it, which is when it reads a column, and once for each time.
func TestDamageIsCounted(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := objstore.NewInMemBucket()
	var entries []storetest.Entry
	for i := range int64(3000) {
		entries = append(entries, storetest.Entry{Labels: labels.FromStrings("app", "x"), Time: i, Line: fmt.Sprintf("level=info msg=\"request done\" status=200 id=%d", i*7919)})
	}
	storetest.Put(t, ctx, start(t, store.Config{}, b), storetest.ID(1), entries)
	b.Objects()[store.SegmentPath("a", storetest.ID(1))][10] ^= 1
	reg := prometheus.NewPedanticRegistry()
	s, err := store.New(store.Config{RefreshInterval: -1}, b, nil, reg)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Error(err)
		}
	}()
	for i := range 3 {
		for batch, err := range s.Select(ctx, &logql.SelectRequest{End: 1 << 62}) {
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				_, _, _, err = batch.Columns.(column.Searcher).Search(ctx, &column.Texts{Any: [][]byte{[]byte("request done")}})
			} else {
				_, err = batch.Lines(ctx)
			}
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("lines of a damaged page: %v", err)
			}
			batch.Release()
		}
	}
	const want = "# HELP loki_store_corruptions_total Damaged parts of segments met while reading.\n" +
		"# TYPE loki_store_corruptions_total counter\nloki_store_corruptions_total 3\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "loki_store_corruptions_total"); err != nil {
		t.Error(err)
	}
}

// TestRestoredFile: a damaged segment that was replaced by a whole one is read again, by a store that had it open.
func TestRestoredFile(t *testing.T) {
	dir := t.TempDir()
	s := start(t, store.Config{CacheBytes: 1, IndexCacheBytes: 1}, filesystem(t, dir))
	ctx := storetest.Tenant("a")
	storetest.Put(t, ctx, s, storetest.ID(1), storetest.Generate(7, 3, 600))
	if answers(t, s) == nil {
		t.Fatal("no answer before there is damage")
	}
	file := filepath.Join(dir, filepath.FromSlash(store.SegmentPath("a", storetest.ID(1))))
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	for i := 100; i < len(bad)/2; i++ {
		bad[i] ^= 1
	}
	if err := os.WriteFile(file, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	if answers(t, s) != nil {
		t.Fatal("damage went unnoticed")
	}
	if err := os.WriteFile(file+".good", good, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".good", file); err != nil {
		t.Fatal(err)
	}
	if answers(t, s) == nil {
		t.Error("the whole file is not read")
	}
}
