package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// manyStreams is what internal/bench/streams has measured of some number of streams.
type manyStreams struct {
	Streams     int     `json:"streams"`
	Lines       int     `json:"lines"`
	PushSeconds float64 `json:"push_s"`
	CPU         float64 `json:"cpu_s"` // with the flush
	PeakBytes   int64   `json:"peak_rss_bytes"`
	Queries     []struct {
		Name  string  `json:"name"`
		First float64 `json:"first_ms"`
		P50   float64 `json:"p50_ms"`
	} `json:"queries"`
}

// readStreams returns the results by the number of streams.
func readStreams(dir string) ([]manyStreams, error) {
	names, err := filepath.Glob(filepath.Join(dir, "streams-*.json"))
	if err != nil {
		return nil, err
	}
	var out []manyStreams
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var m manyStreams
		if err := json.Unmarshal(data, &m); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b manyStreams) int { return cmp.Compare(a.Streams, b.Streams) })
	return out, nil
}

// writeStreams says what the same lines cost in more and more streams, each beside the fewest.
func writeStreams(w io.Writer, all []manyStreams) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "The same %d lines in more and more streams (`internal/bench/streams`), every push with lines of as many as there can be. The goal is "+
		"at most twice what the fewest take; times of queries are medians in ms, in brackets when asked first.\n\n|", all[0].Lines)
	for _, m := range all {
		fmt.Fprintf(w, " | %d streams", m.Streams)
	}
	fmt.Fprint(w, " |\n|---|")
	for range all {
		fmt.Fprint(w, "---:|")
	}
	fmt.Fprintln(w)
	row := func(name string, cell func(m *manyStreams) (text string, value float64)) {
		fmt.Fprintf(w, "| %s |", name)
		_, least := cell(&all[0])
		for i := range all {
			text, value := cell(&all[i])
			if i > 0 && least > 0 && value >= 1 { // of less, chance decides
				text += fmt.Sprintf(", %.1f×", value/least)
			}
			fmt.Fprintf(w, " %s |", text)
		}
		fmt.Fprintln(w)
	}
	row("push, s", func(m *manyStreams) (string, float64) { return fmt.Sprintf("%.1f", m.PushSeconds), m.PushSeconds })
	row("push and flush, CPU s", func(m *manyStreams) (string, float64) { return fmt.Sprintf("%.1f", m.CPU), m.CPU })
	row("peak memory, MiB", func(m *manyStreams) (string, float64) {
		return fmt.Sprintf("%.0f", float64(m.PeakBytes)/mib), float64(m.PeakBytes)
	})
	for _, q := range all[0].Queries {
		row(q.Name, func(m *manyStreams) (string, float64) {
			for _, same := range m.Queries {
				if same.Name == q.Name {
					return fmt.Sprintf("%s (%s)", millis(same.P50), millis(same.First)), same.P50
				}
			}
			return "", 0
		})
	}
	fmt.Fprintln(w)
}

// operator is a benchmark of one operator.
type operator struct {
	name                  string
	mbps, ofIndex, ofZstd float64
}

// readOperators reads what go test has printed, and returns nil if there is no such file.
func readOperators(dir string) ([]operator, error) {
	f, err := os.Open(filepath.Join(dir, "operators.txt"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []operator
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkOperators/") {
			continue
		}
		o := operator{name: strings.TrimPrefix(fields[0], "BenchmarkOperators/")}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("operators.txt: %q: %w", lines.Text(), err)
			}
			switch fields[i+1] {
			case "MB/s":
				o.mbps = v
			case "of-index":
				o.ofIndex = v
			case "of-zstd":
				o.ofZstd = v
			}
		}
		out = append(out, o)
	}
	return out, lines.Err()
}

func writeOperators(w io.Writer, all []operator) {
	if len(all) == 0 {
		return
	}
	fmt.Fprint(w, "Operators on pages that are decoded already, one core (`go test -bench Operators ./logql`):\n\n"+
		"| operator | MB/s | of bytes.Index | of zstd -d |\n|---|---:|---:|---:|\n")
	for _, o := range all {
		fmt.Fprintf(w, "| %s | %.0f | %.2f | %.2f |\n", o.name, o.mbps, o.ofIndex, o.ofZstd)
	}
	fmt.Fprintln(w)
}

// section is a part of segments.
type section struct {
	name         string
	bytes, share float64 // share in percent
}

// readSections reads what internal/bench/streams has printed of the segments of a folder, and returns nil if there is no such
// file.
func readSections(dir, name string) ([]section, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []section
	for line := range strings.Lines(string(data)) {
		at := strings.Index(line, "%")
		if !strings.HasPrefix(line, "  ") || at < 0 {
			continue
		}
		fields := strings.Fields(line[:at])
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s: %q", name, line)
		}
		n := len(fields) - 2
		s := section{name: strings.Join(fields[:n], " ")}
		var err1, err2 error
		s.bytes, err1 = strconv.ParseFloat(fields[n], 64)
		s.share, err2 = strconv.ParseFloat(fields[n+1], 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", name, line, err)
		}
		out = append(out, s)
	}
	return out, nil
}

// writeSections says what segments consist of, after the flush and after merging.
func writeSections(w io.Writer, flushed, merged []section) {
	if len(flushed) == 0 {
		return
	}
	fmt.Fprint(w, "What is stored, MB and percent:\n\n| | after the flush | after merging |\n|---|---:|---:|\n")
	for _, s := range flushed {
		if s.share < 0.05 {
			continue
		}
		after := ""
		for _, m := range merged {
			if m.name == s.name {
				after = fmt.Sprintf("%.2f, %.1f %%", m.bytes/mb, m.share)
			}
		}
		fmt.Fprintf(w, "| %s | %.2f, %.1f %% | %s |\n", s.name, s.bytes/mb, s.share, after)
	}
	fmt.Fprintln(w)
}
