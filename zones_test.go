package loki_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki"
	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
	"example.com/loki/ring/member"
)

// TestZones has two ingesters in each of three zones and copies each line three times. With one zone down pushes and
// queries go on, and no line is missing or counted twice.
func TestZones(t *testing.T) {
	m := &members{
		bucket:  objstore.NewInMemBucket(),
		options: map[loki.Component]member.Options{loki.Ingester: {Kind: "ingester", ReplicationFactor: 3, ZoneAware: true}},
	}
	type inZone struct {
		*node
		zone   string
		client ingester.Service
	}
	var ingesters []inZone
	for n := range 6 {
		i := inZone{zone: fmt.Sprint("zone-", n/2)}
		i.node = m.start(t, fmt.Sprint("ingester-", n), i.zone, func(c *loki.Config) {
			conn, err := wire.Dial(c.Cluster.Membership.(*process).Addr(), wire.Config{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			i.client = ingester.NewClient(conn)
		}, loki.Ingester)
		ingesters = append(ingesters, i)
	}
	rest := m.start(t, "rest", "", nil, loki.Distributor, loki.Querier, loki.QueryFrontend, loki.QueryScheduler)

	const streams = 40
	start := time.Now().Add(-time.Minute)
	push := func(round int) {
		t.Helper()
		var lines []loki.Line
		for n := range streams {
			lines = append(lines, loki.Line{
				Labels: fmt.Sprintf(`{app="app-%d"}`, n), Time: start.Add(time.Duration(round) * time.Second), Text: fmt.Sprint("line ", round),
			})
		}
		if err := rest.Push(t.Context(), lines...); err != nil {
			t.Fatalf("push %d: %v", round, err)
		}
	}
	// zones returns in which zones each stream is, ascending.
	zones := func() map[string][]string {
		t.Helper()
		in := map[string][]string{}
		for _, i := range ingesters {
			apps, err := i.client.LabelValues(loki.WithTenant(context.Background(), loki.DefaultTenant), "app", 0, time.Now().UnixNano(), nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, app := range apps {
				in[app] = append(in[app], i.zone)
			}
		}
		return in
	}
	count := func(want int) {
		t.Helper()
		got := map[string]int{}
		for e, err := range rest.Query(t.Context(), `{app=~".+"}`, loki.Last(time.Hour), loki.Limit(10*streams)) {
			if err != nil {
				t.Fatal(err)
			}
			got[fmt.Sprint(e.Labels, e.Text)]++
		}
		if len(got) != want {
			t.Errorf("found %d lines, want %d", len(got), want)
		}
		for line, n := range got {
			if n != 1 {
				t.Errorf("%s is there %d times", line, n)
			}
		}
	}

	push(1)
	eventually(t, "each stream is in three zones", func() bool {
		in := zones()
		for n := range streams {
			if !slices.Equal(in[fmt.Sprint("app-", n)], []string{"zone-0", "zone-1", "zone-2"}) {
				return false
			}
		}
		return true
	})
	count(streams)

	for _, i := range ingesters[:2] {
		i.server.Stop()
	}
	push(2)
	count(2 * streams)

	// Of a second zone nothing may be missing: an entry might be there alone with the first.
	ingesters[2].server.Stop()
	failed := false
	for _, err := range rest.Query(t.Context(), `{app=~".+"}`, loki.Last(time.Hour)) {
		failed = err != nil
	}
	if !failed {
		t.Error("a query is answered though ingesters of two zones are away")
	}
}
