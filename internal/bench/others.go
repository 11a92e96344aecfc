package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// othersJSON is what Loki and VictoriaLogs reached with the same harness on the same data: see its first line.
//
//go:embed others.json
var othersJSON []byte

// others are engines that were measured on another machine.
type others struct {
	Machine baseline `json:"machine"` // in the same run
	Raw     float64  `json:"raw_bytes"`
	Engines []engine `json:"engines"`
}

type engine struct {
	Name        string             `json:"name"`
	MBps        float64            `json:"push_mb_per_s"`
	CPUPerGB    float64            `json:"push_cpu_s_per_gb"`
	PushPeak    float64            `json:"push_peak_mib"`
	Ratio       float64            `json:"raw_per_stored"`
	Start       float64            `json:"start_s"`
	Rest        float64            `json:"rest_mib"`
	QueriesPeak float64            `json:"queries_peak_mib"`
	Query       map[string]float64 `json:"query_ms"`
}

// compare sets the run beside those of others. Times are divided by what grep takes for all lines on the machine that they
// were measured on, costs of pushing by those of zstd -3 on one thread, so that they say the same on any machine.
func (r *results) compare(w io.Writer, m baseline) error {
	var o others
	if err := json.Unmarshal(othersJSON, &o); err != nil {
		return err
	}
	if r.query == nil {
		return nil
	}
	if raw := float64(r.query.Raw); raw < 0.9*o.Raw || raw > 1.1*o.Raw {
		fmt.Fprintf(w, "Loki and VictoriaLogs were measured with %.1f GB of lines; beside %.1f GB their figures say nothing.\n\n", o.Raw/1e9, raw/1e9)
		return nil
	}
	fmt.Fprint(w, "Beside others, each through the limits of the machine that it ran on: times as multiples of what grep takes for all lines there, pushing as "+
		"multiples of zstd -3 on one thread. Loki 3.7.6 and VictoriaLogs 1.26 were measured with the same harness and the same 2 GiB (its "+
		"BASELINE.md; [others.json](../internal/bench/others.json)), the fastest of several runs and settings of each query. The last column says how many times better this is than the better of both.\n\n")
	fmt.Fprint(w, "| |")
	for _, e := range o.Engines {
		fmt.Fprintf(w, " %s |", e.Name)
	}
	fmt.Fprint(w, " here | times better |\n|---|")
	for range o.Engines {
		fmt.Fprint(w, "---:|")
	}
	fmt.Fprint(w, "---:|---:|\n")

	// row writes a figure of each, which is better the smaller it is, or the larger.
	row := func(name string, larger bool, here float64, of func(e *engine) (float64, bool)) {
		fmt.Fprintf(w, "| %s |", name)
		best := math.NaN()
		for i := range o.Engines {
			v, ok := of(&o.Engines[i])
			if !ok {
				fmt.Fprint(w, " – |")
				continue
			}
			fmt.Fprintf(w, " %s |", significant(v))
			if math.IsNaN(best) || v < best != larger {
				best = v
			}
		}
		times := best / here
		if larger {
			times = here / best
		}
		fmt.Fprintf(w, " %s | %s |\n", significant(here), significant(times))
	}
	if p := r.push; p != nil {
		row("Push, speed", true, p.MBps/m.Compress, func(e *engine) (float64, bool) { return e.MBps / o.Machine.Compress, true })
		row("Push, processor time", false, p.CPUPerGB*m.Compress/1e3, func(e *engine) (float64, bool) { return e.CPUPerGB * o.Machine.Compress / 1e3, true })
		row("Push, peak memory, MiB", false, float64(p.PeakRSS)/mib, func(e *engine) (float64, bool) { return e.PushPeak, true })
		row("Raw bytes for each stored one", true, p.Ratio, func(e *engine) (float64, bool) { return e.Ratio, true })
	}
	if s := r.stored; s != nil {
		row("Start with the data stored, s", false, s.Seconds, func(e *engine) (float64, bool) { return e.Start, true })
		row("Memory at rest, MiB", false, float64(s.RSS)/mib, func(e *engine) (float64, bool) { return e.Rest, true })
	}
	row("Peak memory over all queries, MiB", false, float64(r.query.PeakRSS)/mib, func(e *engine) (float64, bool) { return e.QueriesPeak, true })
	grep, otherGrep := float64(r.query.Raw)/mb/m.Grep*1e3, o.Raw/mb/o.Machine.Grep*1e3
	byName := r.query.byName()
	for _, g := range groups {
		for _, name := range g.queries {
			if q, ok := byName[name]; ok && q.OK {
				row(name, false, q.P50/grep, func(e *engine) (float64, bool) {
					v, ok := e.Query[name]
					return v / otherGrep, ok
				})
			}
		}
	}
	fmt.Fprintln(w)
	return nil
}

// significant renders a number with two or three digits.
func significant(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return "–"
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	case v >= 0.01:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.5f", v)
}
