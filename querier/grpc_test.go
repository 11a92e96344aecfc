package querier_test

import (
	"context"
	"testing"

	"github.com/grafana/dskit/services"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/querier"
	"example.com/loki/querier/queriertest"
)

// start returns a running querier over a world.
func start(t *testing.T, w *queriertest.World) *querier.Querier {
	t.Helper()
	q, err := querier.New(querier.Config{}, w.Heads(), w.Index(), w.Store(), nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, q)
	return q
}

// run runs a service until the test ends.
func run(t *testing.T, s services.Service) {
	t.Helper()
	if err := services.StartAndAwaitRunning(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
			t.Error(err)
		}
	})
}

func TestContractOverGRPC(t *testing.T) {
	queriertest.Contract(t, func(t *testing.T, w *queriertest.World) querier.Service {
		q := start(t, w)
		return querier.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) { querier.RegisterServer(r, q) }))
	})
}
