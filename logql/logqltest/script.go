package logqltest

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
)

// Base is the time 0s of scripts: 2026-01-01T00:00:00Z, in nanoseconds since 1970.
const Base = int64(1767225600) * 1e9

// Run runs the scripts of a folder, each as a subtest. open makes the source to query from the rows
// that a script has loaded; an engine that keeps rows elsewhere can be tested with the same scripts.
//
// A script is a sequence of blocks. A block is a line that says what to do and indented lines with
// what belongs to it; # begins a comment.
//
//	load {app="api"}                    # rows of a stream: time, metadata if any, line
//	  0s   level=info msg=ok
//	  10s  @{trace="x"} level=error msg=slow
//
//	query {app="api"} |= "slow" from 0s to 1m
//	  10s  level=error msg=slow         # entries in their order …
//
//	query {app="api"} | logfmt from 0s to 1m
//	  {app="api", level="info", msg="ok"}
//	    0s  level=info msg=ok           # … or by stream, as the answer has them
//
//	query count_over_time({app="api"}[1m]) at 1m
//	  {app="api"}  2
//
//	query sum(count_over_time({app="api"}[10s])) from 0s to 20s step 10s
//	  {}  0s:1 10s:1
//
//	error {app="api"} |= from 0s to 1m  # a part of the message
//	  expected
//
// A log query takes limit N, forward (else newest come first), interval D and categorize.
func Run(t *testing.T, scripts fs.FS, open func(t *testing.T, rows []Row) logql.Source) {
	t.Helper()
	names, err := fs.Glob(scripts, "*.test")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, name := range names {
		text, err := fs.ReadFile(scripts, name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(path.Base(name), ".test"), func(t *testing.T) {
			runScript(t, name, string(text), open)
		})
	}
}

// block is a command of a script.
type block struct {
	line      int
	verb, arg string
	body      []string
}

func parseScript(text string) []block {
	var all []block
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " "):
			if len(all) > 0 {
				b := &all[len(all)-1]
				b.body = append(b.body, strings.TrimRight(line, " "))
			}
		default:
			verb, arg, _ := strings.Cut(line, " ")
			all = append(all, block{line: i + 1, verb: verb, arg: strings.TrimSpace(arg)})
		}
	}
	return all
}

func runScript(t *testing.T, name, text string, open func(*testing.T, []Row) logql.Source) {
	t.Helper()
	var rows []Row
	var src logql.Source
	for _, b := range parseScript(text) {
		where := fmt.Sprintf("%s:%d", name, b.line)
		if b.verb == "load" {
			loaded, err := parseRows(b)
			if err != nil {
				t.Fatalf("%s: %v", where, err)
			}
			rows, src = append(rows, loaded...), nil
			continue
		}
		params, err := parseQuery(b.arg)
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		if src == nil {
			src = open(t, rows)
		}
		want := strings.Join(b.body, "\n")
		res, err := logql.Query(context.Background(), params, src, logql.Options{Parallelism: 2})
		switch b.verb {
		case "query":
			if err != nil {
				t.Errorf("%s: %s\n  failed: %v", where, b.arg, err)
				continue
			}
			byStream := len(b.body) > 0 && strings.HasPrefix(strings.TrimSpace(b.body[0]), "{")
			if got := Format(res, byStream, params.Direction); normal(got) != normal(want) {
				t.Errorf("%s: %s\ngot:\n%s\nwant:\n%s", where, b.arg, got, want)
			}
		case "error":
			if err == nil {
				t.Errorf("%s: %s\n  gave an answer, want an error", where, b.arg)
			} else if !strings.Contains(err.Error(), strings.TrimSpace(want)) {
				t.Errorf("%s: %s\n  got error %q, want %q", where, b.arg, err, strings.TrimSpace(want))
			}
		default:
			t.Fatalf("%s: %q is neither load, query nor error", where, b.verb)
		}
	}
}

// normal makes indentation and the width of gaps in front of values meaningless.
func normal(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		line = strings.TrimSpace(line)
		if first, rest, ok := strings.Cut(line, " "); ok && !strings.HasPrefix(line, "{") {
			line = first + " " + strings.TrimSpace(rest)
		}
		if i := strings.LastIndex(line, "}  "); i >= 0 && strings.HasPrefix(line, "{") {
			line = line[:i+1] + " " + strings.TrimSpace(line[i+1:])
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

func parseRows(b block) ([]Row, error) {
	stream, err := parseLabels(b.arg)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, line := range b.body {
		at, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		d, err := time.ParseDuration(at)
		if err != nil {
			return nil, err
		}
		r := Row{Stream: stream, Time: Base + int64(d)}
		rest = strings.TrimLeft(rest, " ")
		if strings.HasPrefix(rest, "@{") {
			set, line, _ := strings.Cut(rest[1:], "} ")
			if r.Metadata, err = parseLabels(set + "}"); err != nil {
				return nil, err
			}
			rest = line
		}
		r.Line = rest
		if strings.HasPrefix(rest, `"`) { // a Go string, for lines with odd characters
			if s, err := strconv.Unquote(rest); err == nil {
				r.Line = s
			}
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// parseLabels reads {a="b"}.
func parseLabels(s string) (labels.Labels, error) {
	if s == "{}" {
		return labels.EmptyLabels(), nil
	}
	expr, err := syntax.Parse(s)
	if err != nil {
		return labels.EmptyLabels(), err
	}
	log, ok := expr.(*syntax.LogExpr)
	if !ok {
		return labels.EmptyLabels(), fmt.Errorf("%s is no label set", s)
	}
	b := labels.NewScratchBuilder(len(log.Matchers))
	for _, m := range log.Matchers {
		b.Add(m.Name, m.Value)
	}
	b.Sort()
	return b.Labels(), nil
}

var (
	timeRange = regexp.MustCompile(`^(.*?)\s+from (\S+) to (\S+)((?: (?:step \S+|limit \d+|interval \S+|forward|backward|categorize))*)$`)
	timePoint = regexp.MustCompile(`^(.*?)\s+at (\S+)$`)
)

// parseQuery reads the query and the words behind it.
func parseQuery(s string) (p logql.Params, err error) {
	duration := func(s string) time.Duration {
		d, e := time.ParseDuration(s)
		if e != nil && err == nil {
			err = e
		}
		return d
	}
	if m := timePoint.FindStringSubmatch(s); m != nil {
		p.Query = m[1]
		p.End = Base + int64(duration(m[2]))
		p.Start = p.End
		return p, err
	}
	m := timeRange.FindStringSubmatch(s)
	if m == nil {
		return p, fmt.Errorf("%q ends with neither at TIME nor from TIME to TIME", s)
	}
	p.Query = m[1]
	p.Start, p.End = Base+int64(duration(m[2])), Base+int64(duration(m[3]))
	words := strings.Fields(m[4])
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "step":
			i++
			p.Step = duration(words[i])
		case "interval":
			i++
			p.Interval = duration(words[i])
		case "limit":
			i++
			p.Limit, _ = strconv.Atoi(words[i])
		case "forward":
			p.Direction = logql.Forward
		case "categorize":
			p.Categorize = true
		}
	}
	return p, err
}

// Format prints a result as scripts have it: entries in direction d, or by stream.
func Format(res *logql.Result, byStream bool, d logql.Direction) string {
	var b strings.Builder
	switch res.Type {
	case logql.ResultScalar:
		fmt.Fprintf(&b, "  %s\n", number(res.Scalar.Value))
	case logql.ResultVector:
		for _, s := range res.Series {
			fmt.Fprintf(&b, "  %s  %s\n", s.Labels, number(s.Points[0].Value))
		}
	case logql.ResultMatrix:
		for _, s := range res.Series {
			fmt.Fprintf(&b, "  %s ", s.Labels)
			for _, p := range s.Points {
				fmt.Fprintf(&b, " %s:%s", offset(p.Time*1e6), number(p.Value))
			}
			b.WriteByte('\n')
		}
	default:
		if !byStream {
			var all []logql.EntryResult
			for _, s := range res.Streams {
				all = append(all, s.Entries...)
			}
			slices.SortStableFunc(all, func(a, b logql.EntryResult) int {
				if d == logql.Backward {
					a, b = b, a
				}
				return int(a.Time - b.Time)
			})
			res = &logql.Result{Streams: []logql.StreamResult{{Entries: all}}}
		}
		for _, s := range res.Streams {
			if byStream {
				fmt.Fprintf(&b, "  %s\n", s.Labels)
			}
			for _, e := range s.Entries {
				fmt.Fprintf(&b, "    %s  ", offset(e.Time))
				if !e.Metadata.IsEmpty() {
					fmt.Fprintf(&b, "@%s ", e.Metadata)
				}
				if !e.Parsed.IsEmpty() {
					fmt.Fprintf(&b, "^%s ", e.Parsed)
				}
				b.WriteString(e.Line + "\n")
			}
		}
	}
	return strings.TrimRight(b.String(), "\n")
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 10, 64) }

// offset prints a time as scripts write it.
func offset(ns int64) string {
	s := time.Duration(ns - Base).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
