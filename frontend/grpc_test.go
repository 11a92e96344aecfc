package frontend_test

import (
	"testing"

	"google.golang.org/grpc"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/limits"
	"example.com/loki/querier/queriertest"
)

func TestContractOverGRPC(t *testing.T) {
	frontendtest.Contract(t, func(t *testing.T, w *queriertest.World, lim limits.Limits) frontend.Service {
		f := over(t, frontend.Config{SplitTasks: true}, w, lim)
		return frontend.NewClient(wiretest.Connect(t, func(r grpc.ServiceRegistrar) { frontend.RegisterServer(r, f) }))
	})
}
