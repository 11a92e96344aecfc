// Command budgets runs the benchmarks that budgets.txt names and fails if one of them has become much worse than it is
// written down there:
//
//	go run ./internal/bench/budgets           # from the root of the module
//	go run ./internal/bench/budgets -update   # write down what it measures instead
//
// Folders of packages may follow, and are then the only ones looked at.
//
// It compares what does not depend on the machine: allocations, sizes, and speeds as multiples of what zstd or bytes.Index
// do on the same machine the moment before or after. Where nothing is allocated nothing may be; else allocations may grow by
// half, as pools are emptied now and then. Speeds may halve, since machines are noisy; a size, which is the same in each run, may
// grow by a tenth. Counts of instructions would say more than speeds, but virtual machines, those of CI among them, seldom let a
// program read them (perf_event_open fails). The best of three measurements counts, and what fails is measured twice more, for
// longer.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const (
	module = "example.com/loki/"
	table  = "internal/bench/budgets/budgets.txt"
)

func main() {
	packages := os.Args[1:]
	update := len(packages) > 0 && packages[0] == "-update"
	if update {
		packages = packages[1:]
	}
	if err := run(update, packages, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "budgets:", err)
		os.Exit(1)
	}
}

func run(update bool, packages []string, w io.Writer) error {
	text, err := os.ReadFile(filepath.FromSlash(table))
	if err != nil {
		return err
	}
	rows, err := parseTable(text)
	if err != nil {
		return fmt.Errorf("%s: %w", table, err)
	}
	measured, bad := 0, []string(nil)
	for from := 0; from < len(rows); {
		to := from + 1
		for to < len(rows) && rows[to].pkg == rows[from].pkg {
			to++
		}
		some := rows[from:to]
		from = to
		if len(packages) > 0 && !slices.Contains(packages, some[0].pkg) {
			continue
		}
		if err := measure(some, update, w); err != nil {
			return err
		}
		measured += len(some)
		for _, r := range some {
			if update {
				bad = append(bad, r.missing()...)
			} else {
				bad = append(bad, r.failures()...)
			}
		}
	}
	switch {
	case len(bad) > 0:
		return fmt.Errorf("%d figures of %s are missing or beyond their budgets:\n%s", len(bad), table, strings.Join(bad, "\n"))
	case measured == 0:
		return fmt.Errorf("%s has no such package", table)
	case update:
		return os.WriteFile(filepath.FromSlash(table), formatTable(text, rows), 0o644)
	}
	fmt.Fprintf(w, "%d benchmarks are within their budgets\n", measured)
	return nil
}

// measure runs the benchmarks of one package, and once more those that fail.
func measure(rows []*row, update bool, w io.Writer) error {
	times := []string{"50ms", "200ms", "500ms"} // what grows once counts for less the longer it takes
	if update {
		times = []string{"200ms"}
	}
	for try := range times {
		var names []string
		for _, r := range rows {
			if try == 0 || len(r.failures()) > 0 {
				names = append(names, r.name)
			}
		}
		if len(names) == 0 {
			return nil
		}
		fmt.Fprintf(w, "%s: %d benchmarks\n", rows[0].pkg, len(names))
		cmd := exec.Command("go", "test", "-run=^$", "-bench="+pattern(names), "-benchtime="+times[try], "-count=3", "-cpu=1", module+rows[0].pkg)
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%s: %w\n%s", rows[0].pkg, err, out.Bytes())
		}
		got := parseOutput(out.String())
		for _, r := range rows {
			r.add(got[r.name])
		}
	}
	return nil
}

// pattern makes the argument of -bench that selects some benchmarks.
func pattern(names []string) string {
	var all []string
	for _, name := range names {
		parts := strings.Split(name, "/")
		for i := range parts {
			parts[i] = "^" + regexp.QuoteMeta(parts[i]) + "$"
		}
		all = append(all, strings.Join(parts, "/"))
	}
	return strings.Join(all, "|")
}
