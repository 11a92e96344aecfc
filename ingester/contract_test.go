package ingester_test

import (
	"context"
	"testing"

	"github.com/grafana/dskit/services"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
	"example.com/loki/store"
)

func TestContract(t *testing.T) {
	ingestertest.Contract(t, func(t *testing.T) ingester.Service {
		i, err := ingester.New(ingester.Config{Dir: t.TempDir()}, newStore(), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), i); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), i); err != nil {
				t.Error(err)
			}
		})
		return i
	})
}

func newStore() store.Service { return ingester.NewMemStore() }
