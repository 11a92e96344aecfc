package store_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// The file was written once, by this test with -golden, and is never to change: it shows that segments
// of version 1 stay readable.
var writeGolden = flag.Bool("golden", false, "write testdata/segment/v1 anew")

func TestGoldenV1(t *testing.T) {
	file := filepath.Join("testdata", "segment", "v1")
	want := append(storetest.Generate(42, 6, 500), storetest.EachSecond(900)...)
	if *writeGolden {
		b := objstore.NewInMemBucket()
		storetest.Put(t, storetest.Tenant("a"), start(t, store.Config{Writer: "ingester-1", Digests: true}, b), storetest.ID(1), want)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Objects()[store.SegmentPath("a", storetest.ID(1))], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s, b := withObject(t, data)
	if err := verify(b); err != nil {
		t.Fatal(err)
	}
	got := storetest.Collect(t, storetest.Tenant("a"), s, &logql.SelectRequest{End: 1 << 62})
	storetest.Equal(t, "golden file", got, storetest.Sorted(want))
}
