// Command bench turns the result files of a benchmark run into the table of docs/performance.md: what is
// wanted, what was reached, and what the machine itself does with the same data. docs/performance.sh makes
// the files and calls it:
//
//	go run ./internal/bench RESULTS docs/performance.md
//	go run ./internal/bench -profiles     # names the profiles that it can use, each with the queries it should be of
//
// It replaces what stands between the marks in the file, and leaves the rest alone. Rows whose result file
// is missing say so.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/pprof/profile"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "-profiles" {
		for _, g := range groups {
			fmt.Println(g.profile(), strings.Join(g.queries, ","))
		}
		return
	}
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: bench RESULTS FILE.md, or bench -profiles")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(dir, into string) error {
	r, err := readResults(dir)
	if err != nil {
		return err
	}
	doc, err := os.ReadFile(into)
	if err != nil {
		return err
	}
	text, err := r.markdown()
	if err != nil {
		return err
	}
	doc, err = replace(doc, text)
	if err != nil {
		return fmt.Errorf("%s: %w", into, err)
	}
	return os.WriteFile(into, doc, 0o644)
}

const (
	beginMark = "<!-- figures: made by performance.sh -->\n"
	endMark   = "<!-- end of figures -->\n"
)

// replace puts text between the marks.
func replace(doc, text []byte) ([]byte, error) {
	from, to := bytes.Index(doc, []byte(beginMark)), bytes.Index(doc, []byte(endMark))
	if from < 0 || to < from {
		return nil, errors.New("the marks around the figures are missing")
	}
	from += len(beginMark)
	return bytes.Join([][]byte{doc[:from], text, doc[to:]}, nil), nil
}

// results is what the files say. Missing files are nil.
type results struct {
	before, after *baseline // the machine, before and after the run
	empty, stored *ready    // starts without and with data
	push          *push
	query         *query
	merged        *query // once more, of merged segments
	load          *load
	soak          *soak
	pushProfile   *profile.Profile
	profiles      map[string]*profile.Profile // of queries, by the title of their group
	streams       []manyStreams
	operators     []operator
	sections      []section
	mergedParts   []section
}

type baseline struct {
	Grep       float64 `json:"grep_mb_per_s"`
	Compress   float64 `json:"zstd_compress_mb_per_s"`
	Decompress float64 `json:"zstd_decompress_mb_per_s"`
	Ratio      float64 `json:"zstd_stream_ratio"`
	JSON       float64 `json:"json_mb_per_s"`
	Copy       float64 `json:"copy_mb_per_s"`
	Scan       float64 `json:"scan_mb_per_s"`
	SnappyC    float64 `json:"snappy_compress_mb_per_s"`
	SnappyD    float64 `json:"snappy_decompress_mb_per_s"`
}

type ready struct {
	Seconds float64 `json:"seconds"`
	RSS     int64   `json:"rss_bytes"`
}

type push struct {
	MBps     float64 `json:"mb_per_s"`
	CPUPerGB float64 `json:"cpu_all_s_per_gb"`
	PeakRSS  int64   `json:"peak_rss_bytes"`
	Raw      int64   `json:"raw_bytes"`
	Written  int64   `json:"written_bytes"`
	Ratio    float64 `json:"raw_per_disk"`
	P99      float64 `json:"push_p99_ms"`
}

type query struct {
	Raw     int64       `json:"raw_bytes"`
	PeakRSS int64       `json:"peak_rss_bytes"`
	Ratio   float64     `json:"raw_per_disk"`
	Queries []queryTime `json:"queries"`
}

type queryTime struct {
	Name string  `json:"name"`
	P50  float64 `json:"p50_ms"`
	CPU  float64 `json:"cpu_s"`
	OK   bool    `json:"ok"`
}

func (q *query) byName() map[string]queryTime {
	out := map[string]queryTime{}
	if q != nil {
		for _, t := range q.Queries {
			out[t.Name] = t
		}
	}
	return out
}

// load is what pushing and querying at the same time has shown.
type load struct {
	Seconds  float64 `json:"seconds"`
	Asked    float64 `json:"rate_mb_per_s"`
	Taken    float64 `json:"got_mb_per_s"`
	Clients  int     `json:"clients"`
	PushP99  float64 `json:"push_p99_ms"`
	QueryP50 float64 `json:"query_p50_ms"`
	QueryP99 float64 `json:"query_p99_ms"`
	Errors   int     `json:"errors"`
	PeakRSS  int64   `json:"peak_rss_bytes"`
}

// envelope is the form of all result files.
type envelope struct {
	Ready    *ready    `json:"ready"`
	Push     *push     `json:"push"`
	Query    *query    `json:"query"`
	Load     *load     `json:"load"`
	Baseline *baseline `json:"baseline"`
}

func readResults(dir string) (*results, error) {
	r := &results{}
	for name, take := range map[string]func(*envelope){
		"baseline-before.json": func(e *envelope) { r.before = e.Baseline },
		"baseline-after.json":  func(e *envelope) { r.after = e.Baseline },
		"ready-empty.json":     func(e *envelope) { r.empty = e.Ready },
		"ready-data.json":      func(e *envelope) { r.stored = e.Ready },
		"push.json":            func(e *envelope) { r.push = e.Push },
		"query.json":           func(e *envelope) { r.query = e.Query },
		"query-merged.json":    func(e *envelope) { r.merged = e.Query },
		"load.json":            func(e *envelope) { r.load = e.Load },
	} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		var e envelope
		if err := json.Unmarshal(data, &e); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		take(&e)
	}
	var err error
	if r.soak, err = readSoak(dir); err != nil {
		return nil, err
	}
	if r.pushProfile, err = readProfile(dir, "push.pprof"); err != nil {
		return nil, err
	}
	r.profiles = map[string]*profile.Profile{}
	for _, g := range groups {
		p, err := readProfile(dir, g.profile())
		if err != nil {
			return nil, err
		}
		if p != nil {
			r.profiles[g.title] = p
		}
	}
	if r.streams, err = readStreams(dir); err != nil {
		return nil, err
	}
	if r.operators, err = readOperators(dir); err != nil {
		return nil, err
	}
	if r.sections, err = readSections(dir, "sections.txt"); err != nil {
		return nil, err
	}
	if r.mergedParts, err = readSections(dir, "sections-merged.txt"); err != nil {
		return nil, err
	}
	if r.before == nil {
		return nil, errors.New("there is no baseline-before.json: without the machine's own figures the others say nothing")
	}
	if r.after == nil {
		r.after = r.before
	}
	return r, nil
}
