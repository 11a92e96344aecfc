package e2e

import (
	"testing"
	"time"

	"example.com/loki/internal/conformance"
)

// shape is a way to run a log server.
type shape struct {
	name     string
	replicas int
	define   func(address func(kind string) string) []*kind
}

func shapes() []shape {
	return []shape{
		{"monolith", 1, func(func(string) string) []*kind {
			return []*kind{{name: "monolith", program: "monolithic", count: 1}}
		}},
		{"monoliths", 3, func(func(string) string) []*kind {
			return []*kind{{name: "monolith", program: "monolithic", count: 3, gossip: true}}
		}},
		{"groups", 3, func(address func(string) string) []*kind {
			backend := []string{"-frontend.scheduler-address", address("backend"), "-tsdb.shipper.index-gateway-client.server-address", address("backend")}
			return []*kind{
				{name: "backend", program: "readwrite", count: 1, args: []string{"-target=backend"}, gossip: true},
				{name: "write", program: "readwrite", count: 3, args: []string{"-target=write"}, gossip: true},
				{name: "read", program: "readwrite", count: 2, args: append(backend, "-target=read"), gossip: true},
			}
		}},
		{"microservices", 3, func(address func(string) string) []*kind {
			sched := []string{"-frontend.scheduler-address", address("query-scheduler")}
			index := []string{"-tsdb.shipper.index-gateway-client.server-address", address("index-gateway")}
			return []*kind{
				{name: "ingester", program: "ingester", count: 3, gossip: true},
				{name: "index-gateway", program: "index-gateway", count: 1},
				{name: "compactor", program: "compactor", count: 2, gossip: true},
				{name: "distributor", program: "distributor", count: 2, gossip: true},
				{name: "query-scheduler", program: "query-scheduler", count: 2},
				{name: "querier", program: "querier", count: 2, gossip: true, args: append(sched, index...)},
				{name: "query-frontend", program: "query-frontend", count: 2, args: append(sched, "-frontend.querier-address", address("querier"))},
			}
		}},
	}
}

// TestShapes asks every shape what the corpus asks: before a flush, after it, and when the segments are merged. Shapes are tried
// at the same time, since they mostly wait for compactors.
func TestShapes(t *testing.T) {
	t.Parallel()
	for _, s := range shapes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := launch(t, layout{shape: s, age: 25 * time.Second})
			to := balance(t, c)
			c.settlePushes(t)
			conformance.Push(t, to)
			t.Run("heads", func(t *testing.T) { conformance.Run(t, to, nil) })
			c.flush(t)
			t.Run("segments", func(t *testing.T) { conformance.Run(t, to, nil) })
			if !*full && s.name != "microservices" {
				return
			}
			c.flush(t)              // what the corpus itself has pushed: its segments have other times
			conformance.Push(t, to) // once more: equal entries are one
			c.flush(t)
			c.merged(t)
			t.Run("merged", func(t *testing.T) { conformance.Run(t, to, nil) })
		})
	}
}

// TestOtherShape lets microservices read what a monolith has written: one of the ingesters has its folder with the
// write-ahead log, and all have its segments. Nothing of what the corpus asks may be answered otherwise.
func TestOtherShape(t *testing.T) {
	t.Parallel()
	dir, where := t.TempDir(), bucket(t)
	one := launch(t, layout{shape: shapes()[0], where: where, dir: func(string, int) string { return dir }})
	conformance.Push(t, one)
	if code, err := one.members["monolith"][0].process().Terminate(); err != nil || code != 0 {
		t.Fatalf("the monolith ended with %d, %v", code, err)
	}
	c := launch(t, layout{shape: microservices(), where: where, dir: func(kind string, n int) string {
		if kind == "ingester" && n == 1 {
			return dir
		}
		return ""
	}})
	to := balance(t, c)
	t.Run("log", func(t *testing.T) { conformance.Run(t, to, nil) })
	c.flush(t)
	t.Run("segments", func(t *testing.T) { conformance.Run(t, to, nil) })

	for m := range c.all() {
		m.process().Kill()
	}
	again := launch(t, layout{shape: microservices(), where: where})
	t.Run("others", func(t *testing.T) { conformance.Run(t, balance(t, again), nil) })
}
