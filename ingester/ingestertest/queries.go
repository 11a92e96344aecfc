package ingestertest

import (
	"fmt"
	"slices"
	"testing"

	"example.com/loki/ingester"
	"example.com/loki/logql"
)

// testQueries executes queries over a service, which may use all that a request says of them.
func testQueries(t *testing.T, s ingester.Service) {
	push(t, s, "a",
		stream("app=x", "1 abc level=info", "2 abcd level=error", "3 de level=error n=4", "5 ABC"),
		stream("app=y,level=info", "2 abc level=error", "4 xyz n=5"))
	push(t, s, "a", stream("app=x", "2 abcd level=error", "5 abc", "6 level=info")) // one again
	for _, c := range []struct {
		query string
		want  string
	}{
		{`sum(count_over_time({app=~".+"}[1m]))`, `{} 8`},
		{`sum by (app) (count_over_time({app=~".+"}[1m]))`, `{app="x"} 6;{app="y"} 2`},
		{`sum by (level) (count_over_time({app="x"}[1m]))`, `{} 3;{level="error"} 2;{level="info"} 1`},
		{`sum by (level_extracted) (count_over_time({app=~".+"}[1m]))`, `{} 7;{level_extracted="error"} 1`},
		{`sum(bytes_over_time({app="x"}[1m]))`, `{} 25`},
		{`sum(count_over_time({app=~".+"} |= "abc" [1m]))`, `{} 4`},
		{`sum(count_over_time({app=~".+"} |~ "(?i)abc" != "d" [1m]))`, `{} 4`},
		{`sum(bytes_over_time({app=~".+"} |= "abc" [1m]))`, `{} 13`},
		{`sum(count_over_time({app=~".+"} | level="error" [1m]))`, `{} 2`},
		{`sum by (app) (count_over_time({app=~".+"} | level="info" or n>3 |~ "c|d" [1m]))`, `{app="x"} 2;{app="y"} 1`},
		{`sum(sum_over_time({app=~".+"} | unwrap n [1m]))`, `{} 9`},
		{`sum by (app) (count_over_time({app=~".+"} | regexp "(?P<first>.)" | first="a" [1m]))`, `{app="x"} 3;{app="y"} 1`},
		{`absent_over_time({app="x"} |= "abc" [1m])`, ``},
		{`absent_over_time({app="x"} |= "nowhere" [1m])`, `{app="x"} 1`},
		{`count_over_time({app="y"} |= "abc" [1m])`, `{app="y", level="info", level_extracted="error"} 1`},
	} {
		res, err := logql.Query(as(t, "a"), logql.Params{Query: c.query, Start: 10, End: 10}, s, logql.Options{})
		if err != nil {
			t.Errorf("%s: %v", c.query, err)
			continue
		}
		got := ""
		for n, s := range res.Series {
			if n > 0 {
				got += ";"
			}
			got += fmt.Sprintf("%s %v", s.Labels, s.Points[0].Value)
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.query, got, c.want)
		}
	}
	res, err := logql.Query(as(t, "a"), logql.Params{Query: `{app=~".+"} |= "abc" | level!="info"`, Start: 1, End: 100, Limit: 10, Direction: logql.Forward}, s, logql.Options{})
	check(t, err)
	var lines []string
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			lines = append(lines, fmt.Sprint(e.Time, " ", e.Line))
		}
	}
	slices.Sort(lines)
	equal(t, "lines", fmt.Sprint(lines), "[2 abcd 5 abc]")
}

// testOverlaps asks where rows overlap a range of times.
func testOverlaps(t *testing.T, s ingester.Service) {
	push(t, s, "a", stream("app=x", "10 a", "30 b"), stream("app=y", "40 a"), stream("app=z", "5 a"))
	calls := 0
	var told []logql.Overlap
	req := all()
	req.Since, req.Until = 20, 30
	req.Overlaps = func(o []logql.Overlap) {
		calls++
		told = append(told, o...)
	}
	batches := 0
	for b, err := range s.Select(as(t, "a"), req) {
		check(t, err)
		if batches++; batches == 1 && calls > 1 {
			t.Errorf("Overlaps was called %d times before the first batch", calls)
		}
		b.Release()
	}
	if calls == 0 {
		return // it is not known
	}
	equal(t, "calls of Overlaps", calls, 1)
	x := stream("app=x").Hash
	for _, o := range told {
		if !o.Any && o.Stream != x {
			t.Errorf("%+v overlaps nothing", o)
		}
	}
	if !slices.ContainsFunc(told, func(o logql.Overlap) bool { return o.Any || o.Stream == x && o.MinTime == 10 && o.MaxTime == 30 }) {
		t.Errorf("Overlaps: %+v", told)
	}
	req.Since, req.Until = 6, 9
	told = nil
	for b, err := range s.Select(as(t, "a"), req) {
		check(t, err)
		b.Release()
	}
	if len(told) > 0 {
		t.Errorf("nothing overlaps from 6 to 9, but Overlaps says %+v", told)
	}
}
