package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// step is a part of the work that a profile tells from others by the names of functions.
type step struct {
	name  string
	funcs *regexp.Regexp
	limit func(m baseline) (what string, mbps float64) // what the machine does at best; nil if nothing compares
}

func steps(list ...step) []step { return list }

func named(name, funcs string, limit func(m baseline) (string, float64)) step {
	return step{name, regexp.MustCompile(funcs), limit}
}

func copying(m baseline) (string, float64)   { return "a copy", m.Copy }
func scanning(m baseline) (string, float64)  { return "bytes.Count", m.Scan }
func unsnappy(m baseline) (string, float64)  { return "snappy -d", m.SnappyD }
func snappy(m baseline) (string, float64)    { return "snappy", m.SnappyC }
func zstandard(m baseline) (string, float64) { return "zstd -3", m.Compress }

const (
	rest    = "the rest"
	garbage = "garbage collection"
)

// pushSteps and querySteps are in no order: of the functions that were running, the innermost that belongs to a step decides.
func pushSteps() []step {
	return steps(
		named("bodies and answers, network", `^net/http\.|^net\.|^bufio\.`, copying),
		named("snappy of bodies", `golang/snappy\.`, unsnappy),
		named("decoding of bodies", `/internal/push\.`, copying),
		named("levels, labels, limits", `/loki/distributor\.`, scanning),
		named("compression of the log", `compress/s2\.`, snappy),
		named("log and heads", `/loki/ingester[./]`, copying),
		named("files: writing and syncing", `^os\.\(\*File\)`, nil),
		named("compression of segments", `compress/(zstd|huff0|fse)\.`, zstandard),
		named("filters of segments", `/loki/store\.(\(\*keyFinder\)|\(\*idSet\)|appendFilter|filter\.)`, scanning),
		named("columns and indexes of segments", `/loki/store\.`, nil),
		named(garbage, collector, nil),
	)
}

const collector = `^runtime\.(gcBgMarkWorker|gcAssistAlloc|bgsweep|bgscavenge|gcStart|gcMarkTermination)`

func querySteps() []step {
	return steps(
		named("decompression", `compress/(zstd|huff0|fse|s2)\.`, nil),
		named("files and checksums", `^os\.\(\*File\)|^hash/crc32\.`, nil),
		named("finding text", `/internal/bytesearch\.|/loki/store\.\(\*(lineLoader|unpacker|blockCursor)\)|^regexp\.|^bytes\.(Index|Count|Contains)|/pipeline\.\(?\*?line`, nil),
		named("filters", `/loki/store\.(filter\.|needle|\(\*searches\))`, nil),
		named("columns and indexes", `/loki/store\.|/logql/column\.`, nil),
		named("parsing and filters of labels", `/logql/pipeline\.`, nil),
		named("aggregation and order", `/loki/logql\.`, nil),
		named("plan and answer", `/logql/syntax\.|/loki/(frontend|querier|scheduler|ingester|indexgw)[./]|/internal/(lokihttp|route|server)\.|^net/http\.|^net\.|^bufio\.|model/labels\.`, nil),
		named(garbage, collector, nil),
	)
}

// shares returns which part of the processor time of a profile each step has taken, in the order of the steps, what belongs
// to none last.
func shares(p *profile.Profile, all []step) []float64 {
	out := make([]float64, len(all)+1)
	total := 0.0
	for _, s := range p.Sample {
		v := float64(s.Value[len(s.Value)-1]) // of samples and nanoseconds, the latter
		total += v
		out[stepOf(s, all)] += v
	}
	for i := range out {
		out[i] /= max(total, 1)
	}
	return out
}

func stepOf(s *profile.Sample, all []step) int {
	for _, l := range s.Location { // innermost first
		for _, line := range l.Line {
			if line.Function == nil {
				continue
			}
			for i := range all {
				if all[i].funcs.MatchString(line.Function.Name) {
					return i
				}
			}
		}
	}
	return len(all)
}

// readProfile returns nil if there is no such file, or nothing in it.
func readProfile(dir, name string) (*profile.Profile, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(p.Sample) == 0 {
		return nil, nil
	}
	return p, nil
}

// pushTable says what each step of a push costs, beside what the machine takes for the least that it must do.
func (r *results) pushTable(w io.Writer, m baseline) {
	if r.pushProfile == nil || r.push == nil {
		return
	}
	all := pushSteps()
	part := shares(r.pushProfile, all)
	fmt.Fprintf(w, "What pushes cost by step, with the flush, in a run of its own with a profile of the server; seconds are the shares of the %.1f above.\n\n", r.push.CPUPerGB)
	fmt.Fprint(w, "| step of a push | share | CPU seconds a GB | limit here, one pass over the lines |\n|---|---:|---:|---|\n")
	for _, i := range order(part[:len(all)]) {
		if part[i] < 0.005 {
			continue
		}
		limit := ""
		if f := all[i].limit; f != nil {
			if what, speed := f(m); speed > 0 {
				limit = fmt.Sprintf("%s: %.2f", what, 1e3/speed)
			}
		}
		fmt.Fprintf(w, "| %s | %.0f %% | %.2f | %s |\n", all[i].name, 100*part[i], part[i]*r.push.CPUPerGB, limit)
	}
	fmt.Fprintf(w, "| %s | %.0f %% | %.2f | |\n\n", rest, 100*part[len(all)], part[len(all)]*r.push.CPUPerGB)
}

// queryTable says what the queries of each group spend their processor time on.
func (r *results) queryTable(w io.Writer) {
	if len(r.profiles) == 0 {
		return
	}
	fmt.Fprint(w, "What the processor time of queries goes to, from profiles of the server while it answered those of a group again and again, "+
		"so with what caches then hold:\n\n| queries | steps |\n|---|---|\n")
	all := querySteps()
	for _, g := range groups {
		p := r.profiles[g.title]
		if p == nil {
			continue
		}
		part := shares(p, all)
		var list []string
		for _, i := range order(part[:len(all)]) {
			if part[i] >= 0.01 {
				list = append(list, fmt.Sprintf("%s %.0f %%", all[i].name, 100*part[i]))
			}
		}
		if part[len(all)] >= 0.005 {
			list = append(list, fmt.Sprintf("%s %.0f %%", rest, 100*part[len(all)]))
		}
		fmt.Fprintf(w, "| %s | %s |\n", g.title, strings.Join(list, ", "))
	}
	fmt.Fprintln(w)
}

// order returns the indexes of values, the largest first.
func order(values []float64) []int {
	out := make([]int, len(values))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(values[b], values[a]) })
	return out
}
