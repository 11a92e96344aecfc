//go:build !race

// With the race detector, pools drop what they are given at random.

package logql_test

import (
	"strings"
	"testing"
	"time"

	"example.com/loki/internal/alias"
	"example.com/loki/logql"
)

// TestAllocations checks that what a query allocates grows with its groups and pages and not with the rows
// it reads: it compares runs over 2 and over 6 pages of some thousand rows. Times depend on the machine and
// its neighbours; allocations don't, and one more for each row is what makes an operator slow.
func TestAllocations(t *testing.T) {
	if !alias.Shares {
		t.Skip("built to copy what is parsed")
	}
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
		{"regexp parser", "nginx", "sum by (status) (count_over_time({app=\"shop\"} | regexp `\" (?P<status>\\d{3}) ` [24h]))", 12},
		{"template", "logfmt", "sum by (l) (count_over_time({app=\"shop\"} | logfmt | label_format l=`{{if .level}}{{.level | upper | trunc 3}}{{else}}none{{end}}` [24h]))", 12},
		{"line format", "logfmt", "sum by (level) (bytes_over_time({app=\"shop\"} | logfmt | line_format `{{.level | upper}} {{alignLeft 10 .caller}}` [24h]))", 12},
		{"json many groups", "json", `topk(3, sum by (path) (count_over_time({app="shop"} | json [24h])))`, 60}, // tables that double
		{"count", "logfmt", `sum by (pod) (count_over_time({app="shop"}[24h]))`, 12},
		{"minutes: count", "logfmt", `sum by (pod) (count_over_time({app="shop"}[10m]))`, 12},
		{"minutes: bytes", "logfmt", `sum by (pod) (bytes_over_time({app="shop"}[10m]))`, 12},
		{"bytes", "logfmt", `sum by (pod) (bytes_over_time({app="shop"}[24h]))`, 12},
		{"unwrap", "logfmt", `sum by (pod) (sum_over_time({app="shop"} | logfmt | unwrap duration(duration) [24h]))`, 12},
		{"quantile", "logfmt", `quantile_over_time(0.9, {app="shop"} | logfmt | unwrap duration(duration) [24h]) by (pod)`, 40}, // lists that double
	} {
		var allocs [2]float64
		day := int64(24 * time.Hour)
		p := logql.Params{Query: test.query, Start: day, End: day}
		for i, pages := range kinds[test.kind] {
			if strings.HasPrefix(test.name, "minutes") {
				pages = pages.withMinutes()
				p.Start, p.Step = int64(10*time.Minute), 10*time.Minute
			}
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
