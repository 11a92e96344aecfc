package logql_test

import (
	"testing"
	"time"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql"
)

// BenchmarkMerge makes the answer of a query of the answers to its tasks: eight, each of three hours. The bytes are those
// of the answers as they come from other processes.
func BenchmarkMerge(b *testing.B) {
	const tasks = 8
	day := 24 * time.Hour
	src := newPages(100_000, false, false)
	for _, bench := range []struct {
		name  string
		query logql.Params
	}{
		{"counts", logql.Params{Query: `sum by (pod) (count_over_time({app=~".+"}[10m]))`, Step: time.Minute}},
		{"groups", logql.Params{Query: `topk(10, sum by (trace_id) (count_over_time({app=~".+"}[24h])))`, Start: int64(day)}},
		{"quantiles", logql.Params{Query: `quantile_over_time(0.99, {app=~".+"} | logfmt | unwrap duration(duration) [10m]) by (pod)`, Step: 10 * time.Minute}},
		{"lines", logql.Params{Query: `{app=~".+"}`, Limit: 5000}},
	} {
		params := bench.query
		params.End = int64(day)
		plan, err := logql.NewPlan(params)
		if err != nil {
			b.Fatal(err)
		}
		var partials []*logql.Partial
		var wire [][]byte
		size := int64(0)
		for n := range int64(tasks) {
			t := logql.Task{Params: params, From: n * int64(day) / tasks, Through: (n + 1) * int64(day) / tasks}
			p, err := plan.Execute(b.Context(), t, src, logql.Options{Parallelism: 1})
			if err != nil {
				b.Fatal(err)
			}
			data, err := p.MarshalBinary()
			if err != nil {
				b.Fatal(err)
			}
			partials, wire = append(partials, p), append(wire, data)
			size += int64(len(data))
		}
		b.Run(bench.name+"/finish", func(b *testing.B) {
			yardstick.Bytes(b, size)
			for b.Loop() {
				res, err := plan.Finish(b.Context(), [][]*logql.Partial{partials}, logql.Options{})
				if err != nil || res.Stats.Returned == 0 {
					b.Fatalf("%d points and lines, %v", res.Stats.Returned, err)
				}
			}
		})
		b.Run(bench.name+"/encode", func(b *testing.B) {
			yardstick.Bytes(b, size)
			for b.Loop() {
				for _, p := range partials {
					if _, err := p.MarshalBinary(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
		b.Run(bench.name+"/decode", func(b *testing.B) {
			yardstick.Bytes(b, size)
			for b.Loop() {
				for _, data := range wire {
					if err := new(logql.Partial).UnmarshalBinary(data); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
