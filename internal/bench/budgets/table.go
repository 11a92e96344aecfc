package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// row is a benchmark and what it must reach.
type row struct {
	pkg, name string // folder of the package below the root; as go test prints it
	metrics   []metric
}

// metric is one of the figures that a benchmark prints.
type metric struct {
	unit  string
	want  float64 // NaN before the first update
	seen  []float64
	small bool // less is better
}

// parseTable reads lines of a package, a benchmark and its metrics, each a unit or a unit, an equals sign and a value. Text
// after # is a remark.
func parseTable(text []byte) ([]*row, error) {
	var rows []*row
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 3 {
			return nil, fmt.Errorf("line %d has no metric", n)
		}
		r := &row{pkg: fields[0], name: fields[1]}
		for _, f := range fields[2:] {
			unit, value, ok := strings.Cut(f, "=")
			m := metric{unit: unit, want: math.NaN(), small: unit == "allocs/op" || strings.HasPrefix(unit, "bytes/")}
			if ok {
				var err error
				if m.want, err = strconv.ParseFloat(value, 64); err != nil {
					return nil, fmt.Errorf("line %d: %w", n, err)
				}
			}
			r.metrics = append(r.metrics, m)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, errors.New("names no benchmark")
	}
	return rows, nil
}

// formatTable writes the rows, with what was measured if anything was, after the remarks that the text begins with.
func formatTable(text []byte, rows []*row) []byte {
	var out strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			break
		}
		out.WriteString(line)
	}
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t", r.pkg, r.name)
		for i, m := range r.metrics {
			if i > 0 {
				fmt.Fprint(w, " ")
			}
			fmt.Fprintf(w, "%s=%s", m.unit, strconv.FormatFloat(m.typical(), 'g', 3, 64))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // into memory
	return []byte(out.String())
}

// parseOutput returns for each benchmark that go test has run what it printed for it, by unit.
func parseOutput(out string) map[string][]map[string]float64 {
	all := map[string][]map[string]float64{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		values := map[string]float64{}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				values[fields[i+1]] = v
			}
		}
		all[fields[0]] = append(all[fields[0]], values)
	}
	return all
}

// add takes figures of more runs.
func (r *row) add(runs []map[string]float64) {
	for _, values := range runs {
		for i := range r.metrics {
			if v, ok := values[r.metrics[i].unit]; ok {
				r.metrics[i].seen = append(r.metrics[i].seen, v)
			}
		}
	}
}

// typical returns the median of what was seen, and what is written down if that is nothing.
func (m *metric) typical() float64 {
	if len(m.seen) == 0 {
		return m.want
	}
	sorted := slices.Sorted(slices.Values(m.seen))
	return sorted[len(sorted)/2]
}

// best returns the best that was seen.
func (m *metric) best() float64 {
	switch {
	case len(m.seen) == 0:
		return math.NaN()
	case m.small:
		return slices.Min(m.seen)
	}
	return slices.Max(m.seen)
}

// bound returns the worst that is let through.
func (m *metric) bound() float64 {
	switch {
	case m.unit == "allocs/op" && m.want == 0:
		return 0
	case m.unit == "allocs/op":
		return 1.5*m.want + 2 // pools are emptied now and then
	case strings.HasPrefix(m.unit, "of-"):
		return m.want / 2
	case m.small:
		return m.want * 1.1
	}
	return m.want / 1.1
}

// missing says which metrics were not printed.
func (r *row) missing() []string {
	var bad []string
	for _, m := range r.metrics {
		if len(m.seen) == 0 {
			bad = append(bad, fmt.Sprintf("%s %s has no %s", r.pkg, r.name, m.unit))
		}
	}
	return bad
}

// failures says which metrics are beyond their bounds, or were not printed.
func (r *row) failures() []string {
	var bad []string
	for i := range r.metrics {
		m := &r.metrics[i]
		best := m.best()
		if m.small && best <= m.bound() || !m.small && best >= m.bound() {
			continue
		}
		relation := "at most"
		if !m.small {
			relation = "at least"
		}
		bad = append(bad, fmt.Sprintf("%s %s: %.3g %s, want %s %.3g", r.pkg, r.name, best, m.unit, relation, m.bound()))
	}
	return bad
}
