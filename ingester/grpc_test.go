package ingester_test

import (
	"testing"

	"google.golang.org/grpc"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
	"example.com/loki/internal/wire/wiretest"
)

// remote returns s as a client sees it.
func remote(t testing.TB, s ingester.Service) ingester.Service {
	return ingester.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) { ingester.RegisterServer(r, s) }))
}

func TestContractOverGRPC(t *testing.T) {
	t.Run("fake", func(t *testing.T) {
		ingestertest.Contract(t, func(t *testing.T) ingester.Service { return remote(t, new(ingestertest.Fake)) })
	})
	t.Run("real", func(t *testing.T) {
		ingestertest.Contract(t, func(t *testing.T) ingester.Service {
			i, err := ingester.New(ingester.Config{Dir: t.TempDir()}, newStore(t), nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			run(t, i)
			return remote(t, i)
		})
	})
}
