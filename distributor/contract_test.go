package distributor_test

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/distributor"
	"example.com/loki/distributor/distributortest"
	"example.com/loki/limits"
)

func TestLocal(t *testing.T) {
	distributortest.Contract(t, func(t *testing.T, l limits.Limits) distributortest.World {
		store := &distributortest.Store{}
		d, err := distributor.New(distributor.Config{}, store, limits.Fixed(l), nil, prometheus.NewRegistry())
		if err != nil {
			t.Fatal(err)
		}
		return distributortest.World{Service: d, Store: store}
	})
}

func TestFake(t *testing.T) {
	distributortest.Contract(t, func(t *testing.T, l limits.Limits) distributortest.World {
		f, err := distributortest.NewFake(l)
		if err != nil {
			t.Fatal(err)
		}
		return distributortest.World{Service: f, Store: f.Store}
	})
}
