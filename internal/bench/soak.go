package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// soak is what a long mixed load has shown: whether something grows.
type soak struct {
	samples []sample // of the process, in the order of their times
	rounds  []load   // each of another tenant, with the same data
}

// sample is what the process took at one moment.
type sample struct {
	second                                        int
	residentKiB, heapBytes, goroutines, openFiles float64
}

// fillSeconds is how long heads and caches, which are bounded, may take to fill. What was measured meanwhile is left out,
// and with it the first round.
const fillSeconds = 30

// readSoak returns nil if there was no such run.
func readSoak(dir string) (*soak, error) {
	names, err := filepath.Glob(filepath.Join(dir, "soak-*.json")) // ascending
	if err != nil || len(names) == 0 {
		return nil, err
	}
	s := &soak{}
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var e envelope
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if e.Load == nil {
			return nil, fmt.Errorf("%s: not the result of a mixed load", name)
		}
		s.rounds = append(s.rounds, *e.Load)
	}
	s.rounds = s.rounds[1:]
	text, err := os.ReadFile(filepath.Join(dir, "soak.txt"))
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(strings.NewReader(string(text))); lines.Scan(); {
		var p sample
		if _, err := fmt.Sscan(lines.Text(), &p.second, &p.residentKiB, &p.heapBytes, &p.goroutines, &p.openFiles); err != nil {
			return nil, fmt.Errorf("soak.txt: %q: %w", lines.Text(), err)
		}
		if p.second >= fillSeconds {
			s.samples = append(s.samples, p)
		}
	}
	if len(s.samples) < 3 || len(s.rounds) < 3 {
		return nil, fmt.Errorf("the long run has %d samples and %d rounds: there are no thirds to compare", len(s.samples), len(s.rounds))
	}
	return s, nil
}

// thirds returns the means of a figure in the first and in the last third.
func thirds[T any](all []T, figure func(T) float64) (first, last float64) {
	n := len(all) / 3
	for i := range n {
		first += figure(all[i]) / float64(n)
		last += figure(all[len(all)-1-i]) / float64(n)
	}
	return first, last
}

// write renders the table.
func (s *soak) write(w io.Writer) {
	raw, errors := 0.0, 0
	for _, r := range s.rounds {
		raw += r.Taken * r.Seconds / 1e3
		errors += r.Errors
	}
	fmt.Fprintf(w, "A mixed load of %.1f minutes, in %d rounds that push the same data, each as another tenant: %.0f GB, %d errors. "+
		"A round and %d s before, in which heads and caches filled, are left out.\n\n",
		float64(s.samples[len(s.samples)-1].second-s.samples[0].second)/60, len(s.rounds), raw, errors, fillSeconds)
	fmt.Fprint(w, "| mean of | first third | last third | change |\n|---|---:|---:|---:|\n")
	row := func(name string, first, last float64) {
		change := ""
		if first > 0 {
			change = fmt.Sprintf("%+.0f %%", (last/first-1)*100)
		}
		fmt.Fprintf(w, "| %s | %.0f | %.0f | %s |\n", name, first, last, change)
	}
	taken := func(name string, figure func(sample) float64) {
		first, last := thirds(s.samples, figure)
		row(name, first, last)
	}
	taken("resident memory, MiB", func(p sample) float64 { return p.residentKiB / 1024 })
	taken("heap in use, MiB", func(p sample) float64 { return p.heapBytes / mib })
	taken("goroutines", func(p sample) float64 { return p.goroutines })
	taken("open files and connections", func(p sample) float64 { return p.openFiles })
	reached := func(name string, figure func(load) float64) {
		first, last := thirds(s.rounds, figure)
		row(name, first, last)
	}
	reached("MB/s taken", func(l load) float64 { return l.Taken })
	reached("push p99, ms", func(l load) float64 { return l.PushP99 })
	reached("query p50, ms", func(l load) float64 { return l.QueryP50 })
	reached("query p99, ms", func(l load) float64 { return l.QueryP99 })
	reached("peak memory of a round, MiB", func(l load) float64 { return float64(l.PeakRSS) / mib })
	fmt.Fprintln(w)
}
