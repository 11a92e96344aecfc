package loki_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki"
)

const copiesRead = "loki_store_index_copies_read_total"

// TestGatewayRing spreads tenants over three index gateways: each answers for its tenants from copies of their
// indexes, and no query fails when one of them is gone without a word.
func TestGatewayRing(t *testing.T) {
	for _, byRing := range []bool{true, false} {
		t.Run(map[bool]string{true: "ring", false: "simple"}[byRing], func(t *testing.T) { testGateways(t, byRing) })
	}
}

func testGateways(t *testing.T, byRing bool) {
	m := &members{bucket: objstore.NewInMemBucket()}
	var gateways []*node
	var dirs []string
	var addresses string
	for n := range 3 {
		gateways = append(gateways, m.start(t, fmt.Sprint("gateway-", n), "", func(c *loki.Config) {
			c.Cluster.IndexGatewayRing = byRing
			dirs = append(dirs, filepath.Join(c.Dir, "indexes"))
			addresses += "," + c.Cluster.Membership.(*process).Addr()
		}, loki.IndexGateway))
	}
	reader := m.start(t, "reader", "", func(c *loki.Config) {
		c.Cluster.IndexGatewayRing = byRing
		if !byRing {
			c.Cluster.Addresses = map[loki.Component]string{loki.IndexGateway: addresses}
		}
	}, loki.Distributor, loki.Ingester, loki.Querier, loki.QueryFrontend, loki.QueryScheduler)

	const tenants = 12
	tenant := func(n int) context.Context { return loki.WithTenant(context.Background(), fmt.Sprint("tenant-", n)) }
	for n := range tenants {
		err := reader.Push(tenant(n), loki.Line{Labels: fmt.Sprintf(`{app="app-%d"}`, n), Time: time.Now().Add(-time.Minute), Text: "line"})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := reader.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	wanted := tenants // copies: those of each tenant at one gateway
	if !byRing {
		wanted = 3 * tenants
	}
	copied := func() (sum int) {
		for _, dir := range dirs {
			files, err := filepath.Glob(filepath.Join(dir, "*", "*"))
			if err != nil {
				t.Fatal(err)
			}
			sum += len(files)
		}
		return sum
	}
	eventually(t, "gateways have copies", func() bool { return copied() == wanted })

	ask := func() {
		t.Helper()
		for n := range tenants {
			got, err := reader.LabelValues(tenant(n), "app", "", loki.Last(time.Hour))
			if err != nil || !slices.Equal(got, []string{fmt.Sprint("app-", n)}) {
				t.Errorf("tenant %d: %q, %v", n, got, err)
			}
		}
	}
	read := func() (sum float64) {
		for _, g := range gateways {
			sum += metric(t, g.Engine, copiesRead)
		}
		return sum
	}
	eventually(t, "the reader asks the gateways", func() bool { ask(); return read() == tenants })
	ask() // at the same gateways: nothing is opened anew
	if n := read(); n != tenants || copied() != wanted {
		t.Errorf("%v copies are read and %d kept, want those of %d tenants at one gateway each", n, copied(), tenants)
	}

	// One dies: its server does not answer any more, and the ring does not know yet.
	gateways[0].server.Stop()
	ask()
	for _, g := range gateways[1:] {
		if err := os.RemoveAll(dirs[slices.Index(gateways, g)]); err != nil {
			t.Error(err)
		}
	}
	ask() // without copies on disk
}
