package loki_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki"
)

// TestSeveralSchedulers asks through two schedulers while one of them dies, and then one of two queriers leaves.
func TestSeveralSchedulers(t *testing.T) {
	t.Run("address", func(t *testing.T) { severalSchedulers(t, false) })
	t.Run("ring", func(t *testing.T) { severalSchedulers(t, true) })
}

func severalSchedulers(t *testing.T, byRing bool) {
	m := &members{bucket: objstore.NewInMemBucket()}
	var schedulers []*node
	var addresses string
	for n := range 2 {
		schedulers = append(schedulers, m.start(t, fmt.Sprint("scheduler-", n), "", func(c *loki.Config) {
			addresses += "," + c.Cluster.Membership.(*process).Addr()
		}, loki.QueryScheduler))
	}
	reach := func(c *loki.Config) {
		if c.Cluster.Addresses == nil {
			c.Cluster.Addresses = map[loki.Component]string{}
		}
		if c.Cluster.SchedulerRing = byRing; !byRing {
			c.Cluster.Addresses[loki.QueryScheduler] = addresses
		}
	}
	var stays string
	writer := m.start(t, "writer", "", nil, loki.Distributor, loki.Ingester)
	m.start(t, "querier-0", "", func(c *loki.Config) {
		reach(c)
		stays = c.Cluster.Membership.(*process).Addr()
	}, loki.Querier)
	leaver := m.start(t, "querier-1", "", reach, loki.Querier)
	reader := m.start(t, "frontend", "", func(c *loki.Config) {
		reach(c)
		c.Cluster.Addresses[loki.Querier] = stays
	}, loki.QueryFrontend)

	if err := writer.Push(t.Context(), loki.Line{Labels: `{app="x"}`, Time: time.Now().Add(-time.Minute), Text: "line"}); err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 10 {
					lines := 0
					for e, err := range reader.Query(t.Context(), `{app="x"}`, loki.Last(time.Hour)) {
						if err != nil || e.Text != "line" {
							t.Errorf("got %q, %v", e.Text, err)
						}
						lines++
					}
					if lines != 1 {
						t.Errorf("got %d lines, want one", lines)
					}
				}
			})
		}
		all.Wait()
	}
	ask()
	var during sync.WaitGroup
	during.Go(ask)
	schedulers[0].server.Stop()
	during.Wait()
	ask()
	during.Go(ask)
	if err := leaver.Close(); err != nil {
		t.Error(err)
	}
	during.Wait()
	ask()
}
