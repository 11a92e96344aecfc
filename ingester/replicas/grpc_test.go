package replicas

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc"

	"example.com/loki/ingester"
	"example.com/loki/ingester/ingestertest"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wiretest"
	"example.com/loki/logql"
)

// remote puts ingesters behind gRPC.
func remote(t *testing.T, local []ingester.Service) ([]ingester.Service, []*wiretest.Peer) {
	var out []ingester.Service
	var peers []*wiretest.Peer
	for _, s := range local {
		p := wiretest.Serve(t, wire.Config{}, func(reg grpc.ServiceRegistrar) { ingester.RegisterServer(reg, s) })
		out = append(out, ingester.NewClient(p.Dial(t, wire.Config{})))
		peers = append(peers, p)
	}
	return out, peers
}

func TestContractOverGRPC(t *testing.T) {
	for _, m := range []string{"fine", "failing"} {
		t.Run(m, func(t *testing.T) {
			ingestertest.Contract(t, func(t *testing.T) ingester.Service {
				nodes, _ := remote(t, ingesters(t, 3))
				c := newCluster(t, 3, Config{MaxFailures: 1 << 30}, nodes...)
				c.nodes[2].set(modes[m])
				return once{c}
			})
		})
	}
}

// TestServerDies ends a server during pushes; all that was acknowledged is read from the others.
func TestServerDies(t *testing.T) {
	nodes, peers := remote(t, ingesters(t, 3))
	c := newCluster(t, 3, Config{}, nodes...)
	var want []string
	for n := range 60 {
		if n == 30 {
			now, cancel := context.WithCancel(context.Background())
			cancel()
			peers[1].Server.Shutdown(now)
		}
		line := fmt.Sprintf("%03d", n)
		if err := c.Push(as(t.Context(), "a"), &ingester.PushRequest{Streams: []ingester.Stream{entry(fmt.Sprint("app", n%7), int64(n), line)}}); err != nil {
			t.Fatal(err)
		}
		want = append(want, line)
		if n%10 == 5 {
			if got, err := c.read(t, logql.Backward); err != nil || !slices.Equal(got, want) {
				t.Errorf("after %d pushes: read %q, %v", n+1, got, err)
			}
		}
	}
	if got, err := c.read(t, logql.Forward); err != nil || !slices.Equal(got, want) {
		t.Errorf("read %q, %v", got, err)
	}
}
