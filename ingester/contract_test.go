package ingester_test

import (
	"context"
	"testing"

	"github.com/grafana/dskit/services"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

func TestContract(t *testing.T) {
	for name, newStore := range map[string]func(*testing.T) store.Service{
		"fake store": func(*testing.T) store.Service { return new(storetest.Fake) },
		"real store": newStore,
	} {
		t.Run(name, func(t *testing.T) {
			ingestertest.Contract(t, func(t *testing.T) ingester.Service {
				i, err := ingester.New(ingester.Config{Dir: t.TempDir()}, newStore(t), nil, nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				run(t, i)
				return i
			})
		})
	}
}

// newStore runs a store on a folder.
func newStore(t *testing.T) store.Service {
	bucket, err := store.NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.New(store.Config{}, bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, st)
	return st
}

// run runs a service until the test ends.
func run(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Error(err)
		}
	})
}
