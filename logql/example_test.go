package logql_test

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/logqltest"
)

// shop is a source with a few lines of two streams.
func shop() logql.Source {
	api, web := labels.FromStrings("app", "api"), labels.FromStrings("app", "web")
	at := func(d time.Duration) int64 { return logqltest.Base + int64(d) }
	return logqltest.NewSource([]logqltest.Row{
		{Stream: api, Time: at(0), Line: `level=info msg="GET /cart"`},
		{Stream: api, Time: at(20 * time.Second), Line: `level=error msg="timeout on cart"`},
		{Stream: web, Time: at(30 * time.Second), Line: `level=error msg="no answer"`},
	}, logqltest.Layout{})
}

func ExampleQuery() {
	res, err := logql.Query(context.Background(), logql.Params{
		Query: `{app=~".+"} | logfmt | level="error" | line_format "{{.msg}}"`,
		Start: logqltest.Base, End: logqltest.Base + int64(time.Minute), Limit: 10,
	}, shop(), logql.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range res.Streams {
		for _, e := range s.Entries {
			fmt.Println(s.Labels.Get("app"), e.Line)
		}
	}
	// Output:
	// api timeout on cart
	// web no answer
}

// A query in pieces: two tasks of half a minute, whose partials could have come from anywhere.
func ExamplePlan_Finish() {
	ctx, src := context.Background(), shop()
	params := logql.Params{Query: `sum by (app) (count_over_time({app=~".+"}[1m]))`, End: logqltest.Base + int64(time.Minute)}
	plan, err := logql.NewPlan(params)
	if err != nil {
		fmt.Println(err)
		return
	}
	leaf := plan.Leaves[0]
	half := leaf.Start + (leaf.End-leaf.Start)/2
	var partials []*logql.Partial
	for _, task := range []logql.Task{
		{Params: params, Leaf: 0, From: leaf.Start, Through: half},
		{Params: params, Leaf: 0, From: half, Through: leaf.End},
	} {
		part, err := logql.Execute(ctx, task, src, logql.Options{})
		if err != nil {
			fmt.Println(err)
			return
		}
		partials = append(partials, part)
	}
	res, err := plan.Finish(ctx, [][]*logql.Partial{partials}, logql.Options{MaxSeries: 500})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range res.Series {
		fmt.Println(s.Labels, s.Points[0].Value)
	}
	// Output:
	// {app="api"} 1
	// {app="web"} 1
}

func ExampleExplain() {
	plan, err := logql.Explain(logql.Params{
		Query: `topk(3, sum by (app) (rate({env="prod"} |= "error" [5m])))`,
		Start: logqltest.Base, End: logqltest.Base + int64(time.Hour), Step: time.Minute,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(plan)
	// Output:
	// range query, 61 points from 2026-01-01T00:00:00Z every 1m0s
	//   topk 3 all in one
	//     leaf 0
	// leaf 0: sum by (app)(rate({env="prod"} |= "error"[5m]))
	//   reads rows from 2025-12-31T23:55:00.000000001Z to 2026-01-01T01:00:00.000000001Z, backward, of streams with env="prod"
	//   only pages that may hold "error"
	//   stage |= "error"
	//   groups by app
	//   computes sum together with rate
	//   keeps up to 65 cells a series
}
