package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// result is what was measured of a shape.
type result struct {
	shape
	gb, lines  float64
	pushTime   time.Duration
	push, dist used // of all processes, of the distributor
	flush      used // of all
	smallPush  time.Duration
	pushed     map[string]int // requests
	queries    []asked
	smallQuery time.Duration
}

// asked is what a query used.
type asked struct {
	name     string
	time     time.Duration
	all      used
	between  used // frontend and scheduler
	requests map[string]int
}

// questions are asked in this order, nothing being in any cache at first.
func questions() []struct{ name, query string } {
	const scan = `sum(count_over_time({app=~".+"} |~ "items/7+ .*ms" [10m]))`
	return []struct{ name, query string }{
		{"counts by app", `sum by (app) (count_over_time({app=~".+"}[10m]))`},
		{"regular expression over everything", scan},
		{"the same again", scan},
		{"newest 1000 lines", `{app="app-7"}`},
	}
}

// measure runs a shape.
func (c config) measure(ctx context.Context, s shape, d *data) (r result, err error) {
	dir := filepath.Join(c.dir, fmt.Sprintf("%d-%d", s.members, s.replication))
	if err := os.Mkdir(dir, 0o750); err != nil {
		return r, err
	}
	k, err := c.start(ctx, s, dir)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, k.stop(), os.RemoveAll(dir)) }()
	r = result{shape: s, gb: float64(d.bytes) / 1e9, lines: float64(d.lines)}
	into, from := k.of("distributor")[0].url, k.of("query-frontend")[0].url

	if r.smallPush, err = median(40, func(n int) error { _, err := post(ctx, into+"/loki/api/v1/push", small(n)); return err }); err != nil {
		return r, err
	}
	before := k.store.requests()
	began := time.Now()
	r.push, err = k.used(ctx, k.all, func() error {
		r.dist, err = k.used(ctx, k.of("distributor"), func() error { return d.push(ctx, into) })
		return err
	})
	if err != nil {
		return r, err
	}
	r.pushTime = time.Since(began)
	if r.flush, err = k.used(ctx, k.all, func() error { return k.flush(ctx) }); err != nil {
		return r, err
	}
	r.pushed = less(k.store.requests(), before)
	// Whoever reads has to know of the segments, or it asks the ingesters for what they have written.
	pause(ctx, 12*time.Second)

	middle := slices.Concat(k.of("query-frontend"), k.of("query-scheduler"))
	var answers []string
	for _, q := range questions() {
		a := asked{name: q.name}
		before := k.store.requests()
		a.all, err = k.used(ctx, k.all, func() error {
			var err error
			a.between, err = k.used(ctx, middle, func() error {
				began := time.Now()
				text, err := d.ask(ctx, from, q.query, 1000)
				a.time = time.Since(began)
				answers = append(answers, text)
				return err
			})
			return err
		})
		if err != nil {
			return r, err
		}
		a.requests = less(k.store.requests(), before)
		r.queries = append(r.queries, a)
	}
	for i, text := range answers {
		if !strings.Contains(text, `"values":[[`) {
			return r, fmt.Errorf("%s: %.300s", questions()[i].query, text)
		}
	}
	r.smallQuery, err = median(40, func(int) error {
		_, err := d.ask(ctx, from, `sum(count_over_time({pod="pod-7"}[10m]))`, 10)
		return err
	})
	return r, err
}

// used returns what processes used for f.
func (k *cluster) used(ctx context.Context, list []*process, f func() error) (used, error) {
	before, err := usage(ctx, list)
	if err != nil {
		return used{}, err
	}
	if err := f(); err != nil {
		return used{}, err
	}
	after, err := usage(ctx, list)
	return after.minus(before), err
}

func less(a, b map[string]int) map[string]int {
	diff := map[string]int{}
	for method, n := range a {
		if n -= b[method]; n > 0 {
			diff[method] = n
		}
	}
	return diff
}

// median returns the median time of n calls, one after the other.
func median(n int, f func(int) error) (time.Duration, error) {
	var times []time.Duration
	for i := range n {
		began := time.Now()
		if err := f(i); err != nil {
			return 0, err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	return times[n/2], nil
}

// print writes the tables. The first result is what the others are compared with.
func print(w io.Writer, all []result, requests bool) {
	one := all[0]
	fmt.Fprintf(w, "%.2f GB of lines of %.0f bytes into %d streams. In one process: push %.1f CPU s a GB (flush %.1f) at %.0f MB/s, %.2f allocations a line.\n\n",
		one.gb, one.gb*1e9/one.lines, streams, one.push.cpu/one.gb, one.flush.cpu/one.gb, one.gb*1e3/one.pushTime.Seconds(), one.push.allocs/one.lines)
	fmt.Fprint(w, "| push | throughput | CPU | allocations | allocated bytes | bytes moved | of these the distributor | flush, CPU | a push of one line |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(w, "| %s | %.2f | %.2f | %.2f | %.2f | %.2f a byte of lines | %.2f | %.2f | %.1f ms |\n", r.name, one.pushTime.Seconds()/r.pushTime.Seconds(),
			r.push.cpu/one.push.cpu, r.push.allocs/one.push.allocs, r.push.bytes/one.push.bytes, r.push.moved/r.gb/1e9, r.dist.moved/r.gb/1e9, r.flush.cpu/one.flush.cpu, ms(r.smallPush))
	}
	fmt.Fprint(w, "\n| query | shape | time | CPU | allocations | bytes moved | … by frontend and scheduler | their CPU |\n|---|---|---|---|---|---|---|---|\n")
	for i, q := range one.queries {
		for _, r := range all {
			a := r.queries[i]
			between := "| – | – |"
			if r.members > 0 {
				between = fmt.Sprintf("| %.2f MB | %.2f s |", a.between.moved/1e6, a.between.cpu)
			}
			fmt.Fprintf(w, "| %s | %s | %.2f | %.2f | %.2f | %.1f MB %s\n", q.name, r.name, a.time.Seconds()/q.time.Seconds(), a.all.cpu/q.all.cpu,
				a.all.allocs/q.all.allocs, a.all.moved/1e6, between)
		}
	}
	fmt.Fprint(w, "\n| shape | a small query |\n|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(w, "| %s | %.1f ms |\n", r.name, ms(r.smallQuery))
	}
	if !requests {
		return
	}
	fmt.Fprint(w, "\n| requests | shape | PUT | HEAD | GET | LIST |\n|---|---|---|---|---|---|\n")
	row := func(what, shape string, n map[string]int, per float64) {
		fmt.Fprintf(w, "| %s | %s | %.0f | %.0f | %.0f | %.0f |\n", what, shape, float64(n["PUT"])/per, float64(n["HEAD"])/per, float64(n["GET"])/per, float64(n["LIST"])/per)
	}
	for _, r := range all {
		row("a GB ingested", r.name, r.pushed, r.gb)
	}
	for i, q := range one.queries {
		for _, r := range all {
			row(q.name, r.name, r.queries[i].requests, 1)
		}
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
