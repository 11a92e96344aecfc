package main

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// The machine on which the goals were set does this with one thread, when nobody else uses it.
const (
	referenceGrep       = 2600 // MB/s
	referenceDecompress = 1340 // MB/s
)

// machine is the mean of what it did before and after.
func (r *results) machine() baseline {
	mean := func(a, b float64) float64 { return (a + b) / 2 }
	return baseline{
		Grep:       mean(r.before.Grep, r.after.Grep),
		Compress:   mean(r.before.Compress, r.after.Compress),
		Decompress: mean(r.before.Decompress, r.after.Decompress),
		Ratio:      r.before.Ratio,
		JSON:       mean(r.before.JSON, r.after.JSON),
		Copy:       mean(r.before.Copy, r.after.Copy),
		Scan:       mean(r.before.Scan, r.after.Scan),
		SnappyC:    mean(r.before.SnappyC, r.after.SnappyC),
		SnappyD:    mean(r.before.SnappyD, r.after.SnappyD),
	}
}

// slowness is how many times as long as on the reference machine work takes here.
func (m baseline) slowness() float64 {
	return math.Sqrt(referenceGrep / m.Grep * referenceDecompress / m.Decompress)
}

// group is queries with a goal for each.
type group struct {
	title   string
	goal    float64 // ms
	queries []string
	limit   func(m baseline, rawMB float64) string
	// Whether speed over all lines is compared with that of decompression.
	decompresses bool
}

// profile is the name of the file with the profile of its queries.
func (g *group) profile() string {
	return "query-" + strings.ReplaceAll(strings.ToLower(g.title), " ", "-") + ".pprof"
}

func scanLimit(m baseline, rawMB float64) string {
	return fmt.Sprintf("zstd -d of everything on two cores %.0f ms, grep %.0f ms", rawMB/m.Decompress/2*1e3, rawMB/m.Grep*1e3)
}

func grepLimit(m baseline, rawMB float64) string {
	return fmt.Sprintf("grep %.0f ms", rawMB/m.Grep*1e3)
}

func noLimit(baseline, float64) string { return "" }

var groups = []group{
	{"Find one", 15, []string{"needle_all", "needle_app", "trace_by_metadata"}, grepLimit, false},
	{"Find many", 60, []string{"needle_1000_all", "phrase_all"}, grepLimit, false},
	{"Scan", 1000, []string{"regex_all", "regex_nocase_all", "count_filter"}, scanLimit, true},
	{"Count", 30, []string{"volume_by_app", "volume_by_level_label", "volume_by_detected_level", "bytes_by_namespace"}, noLimit, false},
	{"Parse and aggregate", 400, []string{"json_5xx_by_path", "logfmt_p99_by_app", "top_client_ip", "top_trace_1h"}, noLimit, false},
	{"Newest", 10, []string{"tail_app", "tail_namespace", "negative", "json_filter_logs"}, noLimit, false},
	{"Labels and series", 10, []string{"labels", "label_values_pod", "series_namespace"}, noLimit, false},
}

// markdown renders the tables.
func (r *results) markdown() ([]byte, error) {
	var b bytes.Buffer
	m := r.machine()
	slow := m.slowness()
	fmt.Fprintf(&b, "The machine in this run, one thread on the same lines: grep %.0f MB/s, zstd -3 %.0f MB/s in and %.0f MB/s out, "+
		"encoding/json %.0f MB/s; zstd -3 of lines sorted by stream makes them %.1f times smaller. "+
		"That is %.1f times as slow as the machine of the goals (grep %d MB/s, zstd %d MB/s out).\n\n",
		m.Grep, m.Compress, m.Decompress, m.JSON, m.Ratio, slow, referenceGrep, referenceDecompress)
	r.writes(&b, m, slow)
	if r.soak != nil {
		r.soak.write(&b)
	}
	r.reads(&b, m, slow)
	b.WriteByte('\n')
	r.pushTable(&b, m)
	r.queryTable(&b)
	writeSections(&b, r.sections, r.mergedParts)
	writeStreams(&b, r.streams)
	writeOperators(&b, r.operators)
	err := r.compare(&b, m)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

const (
	mb  = 1e6
	mib = 1 << 20
)

func (r *results) writes(b *bytes.Buffer, m baseline, slow float64) {
	b.WriteString("| | goal | reached | at the speed of the goals' machine | limit here |\n|---|---:|---:|---:|---|\n")
	row := func(name, goal, reached, scaled, limit string) {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", name, goal, reached, scaled, limit)
	}
	f := fmt.Sprintf
	if p := r.push; p != nil {
		row("Push, CPU seconds a GB", "12", f("%.1f", p.CPUPerGB), f("%.1f", p.CPUPerGB/slow), f("zstd -3: %.1f", 1e3/m.Compress))
		row("Push, MB/s", "120", f("%.0f", p.MBps), f("%.0f", p.MBps*slow), f("zstd -3 on two cores: %.0f", 2*m.Compress))
		row("Push, peak memory, MiB", "500", f("%.0f", float64(p.PeakRSS)/mib), "", "")
		row("Written to disk, log included, over what zstd -3 makes of it", "1.6", f("%.2f", float64(p.Written)/(float64(p.Raw)/m.Ratio)), "", "1")
		row("Raw bytes for each stored one, after the flush", "6.0", f("%.2f", p.Ratio), "", f("zstd -3 of the lines alone: %.1f", m.Ratio))
	} else {
		row("Push", "", "not measured", "", "")
	}
	if q := r.merged; q != nil {
		row("Raw bytes for each stored one, after merging", "6.5", f("%.2f", q.Ratio), "", f("zstd -3 of the lines alone: %.1f", m.Ratio))
	}
	if s := r.stored; s != nil {
		row("Start with the data stored, s", "0.3", f("%.2f", s.Seconds), f("%.2f", s.Seconds/slow), "")
		row("Memory at rest with the data stored, MiB", "100", f("%.0f", float64(s.RSS)/mib), "", "")
	}
	if q := r.query; q != nil {
		row("Peak memory over all queries, MiB", "300", f("%.0f", float64(q.PeakRSS)/mib), "", "")
	}
	if l := r.load; l != nil {
		row(f("Mixed load: MB/s taken of %.0f pushed while %d clients query", l.Asked, l.Clients), f("%.0f", l.Asked), f("%.0f", l.Taken), "", "")
		row("Mixed load: push p99, ms", "100", f("%.0f", l.PushP99), f("%.0f", l.PushP99/slow), "")
		row("Mixed load: query p50 and p99, ms", "", f("%.0f, %.0f", l.QueryP50, l.QueryP99), f("%.0f, %.0f", l.QueryP50/slow, l.QueryP99/slow), "")
		row("Mixed load: errors", "0", f("%d", l.Errors), "", "")
		row("Mixed load: peak memory, MiB", "", f("%.0f", float64(l.PeakRSS)/mib), "", "")
	}
	b.WriteByte('\n')
}

func (r *results) reads(b *bytes.Buffer, m baseline, slow float64) {
	if r.query == nil {
		b.WriteString("Queries were not measured.\n")
		return
	}
	byName, merged := r.query.byName(), r.merged.byName()
	b.WriteString("| query | goal, ms | reached, ms | CPU, ms | at the speed of the goals' machine, ms: reached, CPU on two cores | merged, ms | limit here |\n|---|---:|---:|---:|---:|---:|---|\n")
	for _, g := range groups {
		fmt.Fprintf(b, "| **%s** | | | | | | %s |\n", g.title, g.limit(m, float64(r.query.Raw)/mb))
		for _, name := range g.queries {
			after := "" // of merged segments
			if q, ok := merged[name]; ok && q.OK {
				after = millis(q.P50)
			} else if ok {
				after = "wrong answer"
			}
			q, ok := byName[name]
			switch {
			case !ok:
				fmt.Fprintf(b, "| %s | %.0f | not measured | | | %s | |\n", name, g.goal, after)
			case !q.OK:
				fmt.Fprintf(b, "| %s | %.0f | wrong answer | | | %s | |\n", name, g.goal, after)
			default:
				limit := ""
				if g.decompresses { // the goal is half of what both processors decompress
					limit = fmt.Sprintf("%.0f %% of the speed of zstd -d on two cores; the goal is 50 %%", float64(r.query.Raw)/mb/m.Decompress/2*1e3/q.P50*100)
				}
				fmt.Fprintf(b, "| %s | %.0f | %s | %s | %s, %s | %s | %s |\n", name, g.goal,
					millis(q.P50), millis(q.CPU*1e3), millis(q.P50/slow), millis(q.CPU*1e3/2/slow), after, limit)
			}
		}
	}
}

func millis(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
