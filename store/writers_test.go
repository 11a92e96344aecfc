package store

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// TestWriters puts copies of the same rows by three stores and merges two of them: whoever reads the bucket, or
// a catalog that a file has kept, knows whose rows each segment has, and counts them once.
func TestWriters(t *testing.T) {
	ctx := user.InjectOrgID(context.Background(), "a")
	bucket := objstore.NewInMemBucket()
	file := filepath.Join(t.TempDir(), "catalog")
	open := func(cfg Config) *Store {
		st, err := New(cfg, bucket, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(ctx, st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	stop := func(st *Store) {
		if err := services.StopAndAwaitTerminated(ctx, st); err != nil {
			t.Fatal(err)
		}
	}
	rows := func(yield func(*StreamRows, error) bool) {
		yield(&StreamRows{Labels: labels.FromStrings("app", "x"), Times: []int64{1, 2},
			Lines: column.Lines{Data: []byte("onetwo"), Offsets: []uint32{0, 3, 6}}}, nil)
	}
	check := func(st *Store, when string, want ...string) {
		t.Helper()
		infos, err := st.Segments(ctx, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, i := range infos {
			got = append(got, i.Writers...)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: writers %q, want %q", when, got, want)
		}
		vs, err := st.Volumes(ctx, 0, 10, nil, nil, nil)
		if vs = logql.MergeVolumes(vs, 3); err != nil || len(vs) != 1 || vs[0].Entries != 2 || vs[0].Bytes != 6 {
			t.Errorf("%s: volumes %+v, %v", when, vs, err)
		}
	}
	var ids []ulid.ULID
	for n, w := range []string{"ingester-2", "ingester-0", "ingester-1"} {
		st := open(Config{Writer: w})
		ids = append(ids, ulid.ULID{15: byte(n + 1)})
		if _, err := st.Put(ctx, ids[n], rows); err != nil {
			t.Fatal(err)
		}
		stop(st)
	}
	st := open(Config{CatalogFile: file})
	check(st, "three copies", "ingester-0", "ingester-1", "ingester-2")
	if _, err := st.Rewrite(ctx, ulid.ULID{15: 9}, rows, RewriteOptions{Replaces: ids[:2]}); err != nil {
		t.Fatal(err)
	}
	check(st, "two are merged", "ingester-0", "ingester-1", "ingester-2")
	stop(st)
	st = open(Config{CatalogFile: file})
	defer stop(st)
	check(st, "after a restart", "ingester-0", "ingester-1", "ingester-2")

	if _, err := New(Config{Writer: string(make([]byte, 256))}, bucket, nil, nil); err == nil {
		t.Error("a name that is too long was accepted")
	}
}
