package querier_test

import (
	"context"
	"testing"

	"github.com/grafana/dskit/services"
	"go.uber.org/goleak"

	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestContract(t *testing.T) {
	queriertest.Contract(t, func(t *testing.T, w *queriertest.World) querier.Service {
		q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(t.Context(), q); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), q); err != nil {
				t.Error(err)
			}
		})
		return q
	})
}

func TestConfig(t *testing.T) {
	if _, err := querier.New(querier.Config{Parallelism: -1}, nil, nil, nil, nil, nil, nil); err == nil {
		t.Error("New accepts a negative parallelism")
	}
}
