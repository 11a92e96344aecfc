package store_test

import (
	"testing"

	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// TestFetched checks that a batch counts what is read from the bucket for it, and nothing that the cache
// has.
func TestFetched(t *testing.T) {
	ctx := storetest.Tenant("a")
	s := start(t, store.Config{RefreshInterval: -1}, objstore.NewInMemBucket())
	info := storetest.Put(t, ctx, s, storetest.ID(1), storetest.Generate(1, 3, 200))
	for round := range 2 {
		var fetched, meta int64
		for b, err := range s.Select(ctx, &logql.SelectRequest{End: 1 << 62}) {
			if err != nil {
				t.Fatal(err)
			}
			if n := b.Fetched(); n != 0 {
				t.Errorf("%d bytes fetched before a column was asked for", n)
			}
			if _, err := b.Lines(ctx); err != nil {
				t.Fatal(err)
			}
			fetched += b.Fetched()
			meta += b.MetadataBytes
			b.Release()
		}
		if first := round == 0; first != (fetched > 0) || fetched > info.SizeBytes {
			t.Errorf("round %d: %d bytes fetched of a segment of %d", round, fetched, info.SizeBytes)
		}
		if meta != info.MetadataBytes {
			t.Errorf("batches have %d bytes of metadata, the segment %d", meta, info.MetadataBytes)
		}
	}
}
