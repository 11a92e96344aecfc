//go:build linux

package clients

import (
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// nest puts a text into itself.
func nest(depth int, outer func(string) string, inner string) string {
	for range depth {
		inner = outer(inner)
	}
	return inner
}

// TestHostileQueries asks for more than a server has. Queries that are only large may be answered; what
// counts is what they cost.
func TestHostileQueries(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	overrides := filepath.Join(t.TempDir(), "overrides.yaml")
	write(t, overrides, "overrides:\n  evil:\n    query_timeout: 500ms\n") // or the test takes minutes
	v := attack(t, "-runtime-config.file", overrides)
	v.feed(t, 1, 10_000)
	now := time.Now()
	year := func(n int) string { return fmt.Sprint(now.AddDate(n, 0, 0).UnixNano()) }
	logs := func(q string) request { return query(rangePath, "query", q, "limit", "5000") }
	old := fmt.Sprint(now.Add(-30 * 24 * time.Hour).UnixNano())
	large := []int{200, 400, http.StatusGatewayTimeout} // the query timeout ends what is slow
	line := func(s string) string { return `{app="evil"} | line_format ` + "`" + s + "`" }
	const sel = `{app="evil"}`

	shots := []shot{
		// Expressions.
		{"regex of a selector", logs(`{app=~"(x+)+y"}`), large},
		{"regex of a line filter", logs(sel + ` |~ "(x+x+)+y"`), large},
		{"regex, repeated counts", logs(sel + ` |~ "((a{1,1000}){1,1000}){1,1000}"`), nil},
		{"regex, large counts", logs(sel + ` |~ "(?i)` + strings.Repeat(`(\\p{L}{900}.*)`, 200) + `"`), large},
		{"regex, 100,000 words", logs(sel + ` |~ "` + strings.Repeat("word|other", 100_000) + `"`), large},
		{"regex, deep", logs(sel + ` |~ "` + strings.Repeat("(", 5000) + "x" + strings.Repeat(")", 5000) + `"`), large},
		{"10,000 regex filters", logs(sel + strings.Repeat(` |~ "(x+x+)+y"`, 10_000)), large},
		{"10,000 line filters", logs(sel + strings.Repeat(` |= "x"`, 10_000)), large},
		{"10,000 parsers", logs(sel + strings.Repeat(` | logfmt`, 10_000)), large},
		{"a filter of 5 MiB", logs(sel + ` |= "` + strings.Repeat("x", 5<<20) + `"`), large},
		{"a query of 11 MiB", logs(sel + ` |= "` + strings.Repeat("x", 11<<20) + `"`), nil},
		{"parentheses, 500,000 deep", logs(strings.Repeat("(", 500_000) + "vector(1)" + strings.Repeat(")", 500_000)), nil},
		{"500,000 additions", logs("vector(1)" + strings.Repeat("+1", 500_000)), nil},
		{"500,000 signs", logs("vector(1) + " + strings.Repeat("-", 500_000) + "1"), nil},
		{"10,000 aggregations", logs(nest(10_000, func(s string) string { return "sum(" + s + ")" }, `rate({app="evil"}[1m])`)), large},
		{"200 joined leaves", logs(strings.Repeat(`rate({app="evil"}[5m]) or `, 200) + `vector(1)`), large},
		{"label filters, deep", logs(sel + " | " + strings.Repeat("(", 100_000) + `a="b"` + strings.Repeat(")", 100_000)), nil},
		{"10,000 matchers", logs("{" + strings.TrimSuffix(strings.Repeat(`app=~".+",`, 10_000), ",") + "}"), large},
		{"format_query, deep", query("/loki/api/v1/format_query", "query", nest(10_000, func(s string) string { return "sum(" + s + ")" }, "vector(1)")), large},

		// Templates.
		{"template, repeat", logs(line(`{{ repeat 1000000000 "x" }}`)), large},
		{"template, printf", logs(line(`{{ printf "%1000000000d" 1 }}`)), large},
		{"template, alignLeft", logs(line(`{{ alignLeft 1000000000 "x" }}`)), large},
		{"template, indent", logs(line(`{{ indent 1000000000 "x" }}`)), large},
		{"template, range", logs(line(`{{ range 1000000000000 }}x{{ end }}`)), large},
		{"template, silent range", logs(line(`{{ range 1000000000000 }}{{ end }}`)), large},
		{"template that calls itself", logs(line(`{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}`)), large},
		{"template, replace squared", logs(line(`{{ $x := "aaaaaaaa" }}` + strings.Repeat(`{{ $x = replace "a" $x $x }}`, 10) + `{{ $x }}`)), large},
		{"line doubled 60 times", logs(sel + strings.Repeat(" | line_format `{{ __line__ }}{{ __line__ }}`", 60)), large},
		{"label doubled 60 times", logs(sel + ` | label_format a="x"` + strings.Repeat(" | label_format a=`{{ .a }}{{ .a }}`", 60)), large},
		{"metric, line doubled", query("/loki/api/v1/query", "query", `sum(bytes_over_time(`+sel+strings.Repeat(" | line_format `{{ __line__ }}{{ __line__ }}`", 60)+`[1h]))`), large},
		{"label_replace doubled", logs(nest(60, func(s string) string { return `label_replace(` + s + `, "a", "$1$1", "a", "(.*)")` },
			`label_replace(vector(1), "a", "x", "", "")`)), large},
		{"join doubled", logs(nest(16, func(s string) string { return "(" + s + ") + (" + s + ")" }, "vector(1)")), nil},

		// Ranges.
		{"all of time", query(rangePath, "query", sel, "start", fmt.Sprint(math.MinInt64), "end", fmt.Sprint(int64(math.MaxInt64))), nil},
		{"from 1970 to 2262", query(rangePath, "query", sel, "start", "1", "end", fmt.Sprint(int64(math.MaxInt64))), nil},
		{"a time beyond int64", query(rangePath, "query", sel, "start", "99999999999999999999999"), nil},
		{"a time of 1e308", query(rangePath, "query", sel, "start", "1"+strings.Repeat("0", 308)+".0"), nil},
		{"a step of a nanosecond", query(rangePath, "query", `rate(`+sel+`[1m])`, "step", "0.000000001"), nil},
		{"a step of 1e300", query(rangePath, "query", `rate(`+sel+`[1m])`, "step", "1e300"), nil},
		{"a step that is no number", query(rangePath, "query", `rate(`+sel+`[1m])`, "step", "NaN"), nil},
		{"11,000 points over 30 days", query(rangePath, "query", `count_over_time(`+sel+`[30d])`, "start", old, "step", "240"), large},
		{"11,000 points over 30 days, quantile", query(rangePath, "query", `quantile_over_time(0.5, `+sel+` | logfmt | unwrap n [30d])`, "start", old, "step", "240"), large},
		{"11,000 points of each series", query(rangePath, "query", `sum by (id) (count_over_time(`+sel+` | logfmt [30d]))`, "start", old, "step", "240"), large},
		{"a range of 290 years", query("/loki/api/v1/query", "query", `count_over_time(`+sel+`[290y])`), large},
		{"an offset of 290 years", query("/loki/api/v1/query", "query", `count_over_time(`+sel+`[1h] offset -290y)`), large},
		{"topk of everything", query("/loki/api/v1/query", "query", `topk(9223372036854775807, count_over_time(`+sel+` | logfmt [1h]))`), large},
		{"topk beyond int64", query("/loki/api/v1/query", "query", `topk(1e300, count_over_time(`+sel+`[1h]))`), large},
		{"approx_topk of everything", query("/loki/api/v1/query", "query", `approx_topk(2000000000, count_over_time(`+sel+` | logfmt [1h]))`), large},
		{"sort of 40,000 series", query("/loki/api/v1/query", "query", `sort(count_over_time(`+sel+` | logfmt [1h]))`), large},

		// Numbers.
		{"a limit of 2^63-1", query(rangePath, "query", sel, "limit", "9223372036854775807"), nil},
		{"a limit beyond int64", query(rangePath, "query", sel, "limit", "99999999999999999999"), nil},
		{"a negative limit", query(rangePath, "query", sel, "limit", "-1"), nil},
		{"volume, a limit of 2^63-1", query("/loki/api/v1/index/volume", "query", sel, "limit", "9223372036854775807"), large},
		{"volume_range, a step of a nanosecond", query("/loki/api/v1/index/volume_range", "query", sel, "step", "0.000000001"), nil},
		{"volume of 50 years", query("/loki/api/v1/index/volume_range", "query", sel, "start", year(-50), "step", "1s"), nil},
		{"detected fields, huge limits", query("/loki/api/v1/detected_fields", "query", sel, "limit", "9223372036854775807", "line_limit", "9223372036854775807"), large},
		{"patterns, a step of a nanosecond", query("/loki/api/v1/patterns", "query", sel, "step", "0.000000001"), large},
		{"patterns of 50 years", query("/loki/api/v1/patterns", "query", sel, "start", year(-50), "step", "1s"), large},
		{"labels of all time", query("/loki/api/v1/labels", "start", "1", "end", fmt.Sprint(int64(math.MaxInt64))), large},
		{"label values by a regex", query("/loki/api/v1/label/app/values", "query", `{app=~"(.*)*(.*)*(.*)*x"}`), large},
		{"10,000 selectors", request{method: http.MethodPost, path: "/loki/api/v1/series", params: map[string][]string{
			"match[]": strings.Split(strings.Repeat(`{app=~".+x"} `, 10_000), " ")[:10_000],
		}}, large},
		{"a million parameters", request{method: http.MethodPost, path: rangePath, body: []byte(strings.Repeat("a=b&", 1<<20)),
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}}, nil},
		{"a header of 2 MiB", request{method: http.MethodGet, path: "/ready", header: map[string]string{"X-Query-Tags": strings.Repeat("x", 2<<20)}}, []int{431}},
		{"tail of a broken query", request{method: http.MethodGet, path: "/loki/api/v1/tail", params: map[string][]string{"query": {"{"}}}, nil},
		{"tail without WebSocket", request{method: http.MethodGet, path: "/loki/api/v1/tail", params: map[string][]string{"query": {sel}}}, nil},
	}
	for _, s := range shots {
		v.fire(t, s)
	}
}
