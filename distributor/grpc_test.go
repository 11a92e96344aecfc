package distributor_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"example.com/loki/distributor"
	"example.com/loki/distributor/distributortest"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/limits"
)

func TestContractOverGRPC(t *testing.T) {
	distributortest.Contract(t, func(t *testing.T, l limits.Limits) distributortest.World {
		store := &distributortest.Store{}
		d, err := distributor.New(distributor.Config{}, store, limits.Fixed(l), nil, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		conn := wiretest.Connect(t, func(r grpc.ServiceRegistrar) { distributor.RegisterServer(r, d) })
		return distributortest.World{Service: distributor.NewClient(conn), Store: store}
	})
}
