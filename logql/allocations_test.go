//go:build !race

// With the race detector, pools drop what they are given at random.

package logql_test

import (
	"testing"
	"time"

	"example.com/loki/logql"
)

// TestAllocations checks that what a query allocates grows with its groups and pages and not with the rows
// it reads: it compares runs over 2 and over 6 pages of some thousand rows. Times depend on the machine and
// its neighbours; allocations don't, and one more for each row is what makes an operator slow.
func TestAllocations(t *testing.T) {
	kinds := map[string][2]*storedPages{}
	for kind := range operatorLines {
		kinds[kind] = [2]*storedPages{newStoredPages(t, kind, 2), newStoredPages(t, kind, 6)}
	}
	for _, test := range []struct {
		name, kind, query string
		perPage           float64
	}{
		{"contains", "logfmt", `sum(count_over_time({app="shop"} |= "error" [24h]))`, 12},
		{"not contains", "logfmt", `sum(count_over_time({app="shop"} != "level=info" [24h]))`, 12},
		{"any case", "logfmt", `sum(count_over_time({app="shop"} |~ "(?i)ERROR" [24h]))`, 12},
		{"regexp", "logfmt", `sum(count_over_time({app="shop"} |~ "level=error.*duration=1\\d+ms" [24h]))`, 12},
		{"pattern filter", "nginx", "sum(count_over_time({app=\"shop\"} |> `<_>\"DELETE <_>\" 500 <_>` [24h]))", 12},
		{"json", "json", `sum by (status) (count_over_time({app="shop"} | json [24h]))`, 12},
		{"json filter", "json", `sum(count_over_time({app="shop"} | json | status >= 500 | method="GET" [24h]))`, 12},
		{"logfmt", "logfmt", `sum by (level) (count_over_time({app="shop"} | logfmt [24h]))`, 12},
		{"logfmt filter", "logfmt", `sum(count_over_time({app="shop"} | logfmt | duration > 1s | size > 50KB [24h]))`, 12},
		{"pattern", "nginx", "sum by (status) (count_over_time({app=\"shop\"} | pattern `<_>\" <status> <_>` [24h]))", 12},
		{"count", "logfmt", `sum by (pod) (count_over_time({app="shop"}[24h]))`, 12},
		{"bytes", "logfmt", `sum by (pod) (bytes_over_time({app="shop"}[24h]))`, 12},
		{"unwrap", "logfmt", `sum by (pod) (sum_over_time({app="shop"} | logfmt | unwrap duration(duration) [24h]))`, 12},
		{"quantile", "logfmt", `quantile_over_time(0.9, {app="shop"} | logfmt | unwrap duration(duration) [24h]) by (pod)`, 40}, // lists that double
	} {
		var allocs [2]float64
		day := int64(24 * time.Hour)
		p := logql.Params{Query: test.query, Start: day, End: day}
		for i, pages := range kinds[test.kind] {
			allocs[i] = testing.AllocsPerRun(3, func() {
				if _, err := logql.Query(t.Context(), p, pages, logql.Options{Parallelism: 1}); err != nil {
					t.Fatal(err)
				}
			})
		}
		if got := (allocs[1] - allocs[0]) / 4; got > test.perPage {
			t.Errorf("%s: a page more of some thousand rows costs %.1f allocations, want at most %.0f", test.name, got, test.perPage)
		} else {
			t.Logf("%s: %.0f allocations, %.1f for each further page", test.name, allocs[0], got)
		}
	}
}
