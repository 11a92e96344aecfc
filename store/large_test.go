package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

func TestHugeLines(t *testing.T) {
	ctx := storetest.Tenant("a")
	s := start(t, store.Config{}, objstore.NewInMemBucket())
	var want []storetest.Entry
	for i, n := range []int{0, 10, 256<<10 + 1, 10 << 20, 1, 600 << 10, 512 << 10, 0} {
		line := strings.Repeat(fmt.Sprintf("%x", i), n)
		want = append(want, storetest.Entry{Labels: labels.FromStrings("app", "x"), Time: int64(i), Line: line})
	}
	storetest.Put(t, ctx, s, storetest.ID(1), want)
	storetest.Equal(t, "huge lines", storetest.Collect(t, ctx, s, everything), storetest.Sorted(want))
}

// TestHugeMetadata checks that neither many names nor large values make large pages.
func TestHugeMetadata(t *testing.T) {
	ctx := storetest.Tenant("a")
	b := objstore.NewInMemBucket()
	s := start(t, store.Config{}, b)
	var want []storetest.Entry
	for i := range 300 {
		md := make([]string, 0, 256)
		for k := range 128 {
			md = append(md, fmt.Sprintf("n_%d_%d", i, k), strings.Repeat("x", i))
		}
		want = append(want, storetest.Entry{Labels: labels.FromStrings("app", fmt.Sprint(i%7)), Time: int64(i), Line: "x", Metadata: labels.FromStrings(md...)})
	}
	info := storetest.Put(t, ctx, s, storetest.ID(1), want)
	if info.SizeBytes > info.MetadataBytes {
		t.Errorf("%d bytes of metadata are stored in %d", info.MetadataBytes, info.SizeBytes)
	}
	storetest.Equal(t, "hostile metadata", storetest.Collect(t, ctx, s, everything), storetest.Sorted(want))
	seg, err := store.OpenSegment(ctx, b, store.SegmentPath("a", storetest.ID(1)))
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	if n := seg.Pages(); n < 5 {
		t.Errorf("%d pages for %d bytes of metadata", n, info.MetadataBytes)
	}
}

// TestPagesAreRuledOut checks that filters keep pages from being read.
func TestPagesAreRuledOut(t *testing.T) {
	ctx := storetest.Tenant("a")
	s := start(t, store.Config{}, objstore.NewInMemBucket())
	var es []storetest.Entry
	for i := range 20_000 {
		line := fmt.Sprintf("request %016x%016x done in %d ms %s", uint64(i)*0x9e3779b97f4a7c15, uint64(i)*0xbf58476d1ce4e5b9, i, strings.Repeat("lorem ipsum ", 10))
		if i == 12_345 {
			line += "Extraordinary"
		}
		es = append(es, storetest.Entry{Labels: labels.FromStrings("app", "x"), Time: int64(i), Line: line,
			Metadata: labels.FromStrings("trace_id", fmt.Sprintf("%032x", uint64(i)*0x9e3779b97f4a7c15))})
	}
	storetest.Put(t, ctx, s, storetest.ID(1), es)
	count := func(req logql.SelectRequest) (n int) {
		t.Helper()
		req.End = 1 << 62
		for b, err := range s.Select(ctx, &req) {
			if err != nil {
				t.Fatal(err)
			}
			n++
			b.Release()
		}
		return n
	}
	total := count(logql.SelectRequest{})
	if total < 6 {
		t.Fatalf("%d pages", total)
	}
	for name, req := range map[string]logql.SelectRequest{
		"identifier": {Contains: []logql.Needle{{Text: es[777].Line[12:36]}}},
		"word":       {Contains: []logql.Needle{{Text: "xtraordinar"}}},
		"folded":     {Contains: []logql.Needle{{Text: "EXTRAORDINARY", FoldCase: true}}},
		"metadata":   {Metadata: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "trace_id", es[5000].Metadata.Get("trace_id"))}},
	} {
		if n := count(req); n < 1 || n > 2 {
			t.Errorf("%s: %d of %d pages", name, n, total)
		}
	}
	for name, want := range map[string]int{"missing": 0, "x": total} {
		m := labels.MustNewMatcher(labels.MatchEqual, "app", name)
		if n := count(logql.SelectRequest{Metadata: []*labels.Matcher{m}}); n != want {
			t.Errorf("metadata hint %s on a label: %d pages, want %d", m, n, want)
		}
	}
}

// TestManySmallStreams holds the promise that very many quiet streams cost about what a few loud ones
// do.
func TestManySmallStreams(t *testing.T) {
	ctx := storetest.Tenant("a")
	put := func(streams, rows int) store.SegmentInfo {
		b := objstore.NewInMemBucket()
		return storetest.Put(t, ctx, start(t, store.Config{}, b), storetest.ID(1), storetest.Generate(1, streams, rows))
	}
	few, many := put(10, 2000), put(2000, 10)
	ratio := float64(many.SizeBytes) / float64(few.SizeBytes)
	t.Logf("10 × 2,000 rows: %d bytes; 2,000 × 10 rows: %d bytes; %.2f times", few.SizeBytes, many.SizeBytes, ratio)
	if ratio > 1.4 {
		t.Errorf("small streams take %.2f times as much", ratio)
	}
}
