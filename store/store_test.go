package store_test

import (
	"context"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/thanos-io/objstore"

	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// start starts a store and stops it when the test ends.
func start(t testing.TB, cfg store.Config, b objstore.Bucket) *store.Store {
	t.Helper()
	s, err := store.New(cfg, b, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Error(err)
		}
	})
	return s
}

func filesystem(t testing.TB, dir string) *store.FilesystemBucket {
	t.Helper()
	b, err := store.NewFilesystemBucket(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestStore(t *testing.T) {
	t.Run("filesystem", func(t *testing.T) {
		storetest.Contract(t, func(t *testing.T) store.Service {
			return start(t, store.Config{CatalogFile: t.TempDir() + "/catalog"}, filesystem(t, t.TempDir()))
		})
	})
	t.Run("in memory", func(t *testing.T) {
		storetest.Contract(t, func(t *testing.T) store.Service {
			return start(t, store.Config{CacheBytes: 1, IndexCacheBytes: 1, SpoolBytes: 1, PageBytes: 4 << 10}, objstore.NewInMemBucket())
		})
	})
	t.Run("fake", func(t *testing.T) {
		storetest.Contract(t, func(t *testing.T) store.Service { return &storetest.Fake{} })
	})
}
