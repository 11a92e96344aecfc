package indexgw_test

import (
	"testing"

	"google.golang.org/grpc"

	"example.com/loki/indexgw"
	"example.com/loki/indexgw/indexgwtest"
	"example.com/loki/internal/wire/wiretest"
)

func TestContractOverGRPC(t *testing.T) {
	indexgwtest.Contract(t, func(t *testing.T, segments []indexgwtest.Segment) indexgw.Service {
		return indexgw.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) {
			indexgw.RegisterServer(r, &indexgwtest.Fake{Segs: segments})
		}))
	})
}
