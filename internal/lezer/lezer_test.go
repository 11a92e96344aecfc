// Package lezer compares our grammar of LogQL with the one that Grafana's editor uses, which is written
// apart from it: npm's @grafana/lezer-logql. It is a test only, and runs where LOKI_LEZER is 1, as it
// needs node, npm and its registry.
package lezer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"example.com/loki/logql/syntax"
)

// tooStrict lists the queries of the corpus that Loki and we take and Grafana's grammar doesn't.
var tooStrict = map[string]string{
	`{app="api", pod="api-7d9f-a"} | json | status >= 400 method="GET" | line_format "{{.status}} {{.latency}} {{.method}}"`: "label filters with only a blank between them",
	`sum(sum_over_time({app="tick", every="60s"} | logfmt | unwrap v [10m] offset 30m))`:                                     "an offset behind the range of an unwrap",
	`SUM(COUNT_OVER_TIME({app="sparse"}[2h])) BY (app)`:                                                                      "keywords in upper case",
}

// tooLax lists why we refuse what Grafana's grammar takes, by our message: all that a grammar cannot know
// or that this one leaves to Loki.
var tooLax = []struct {
	message *regexp.Regexp
	reason  string
}{
	{regexp.MustCompile(`empty-compatible`), "a selector that may match every stream"},
	{regexp.MustCompile(`error parsing regexp|invalid regexp parser`), "what a regular expression says"},
	{regexp.MustCompile(`invalid pattern parser|named captures|found consecutive capture`), "what a pattern says"},
	{regexp.MustCompile(`ip: invalid`), "what ip takes"},
	{regexp.MustCompile(`cannot parse expression`), "paths and keys"},
	{regexp.MustCompile(`invalid aggregation .* with`), "which aggregations go with unwrap"},
	{regexp.MustCompile(`grouping not allowed|doesn't allow grouping`), "which aggregations can be grouped"},
	{regexp.MustCompile(`parameter`), "which aggregations have a parameter, and which values it has"},
	{regexp.MustCompile(`log query|unexpected literal|unexpected type|works on series`), "types of operands"},
	{regexp.MustCompile(`cannot be formatted|not allowed in a single format`), "which labels can be formatted"},
	{regexp.MustCompile(`unexpected by`), "keywords as label names"},
	{regexp.MustCompile(`not a valid duration`), "negative durations"},
}

func TestCorpus(t *testing.T) {
	if os.Getenv("LOKI_LEZER") != "1" {
		t.Skip("LOKI_LEZER is not 1")
	}
	queries := corpus(t)
	firstError := ask(t, queries)
	if len(firstError) != len(queries) {
		t.Fatalf("%d answers to %d queries", len(firstError), len(queries))
	}
	seen := map[string]bool{}
	differ := 0
	for i, q := range queries {
		_, err := syntax.Parse(q)
		if (err == nil) == (firstError[i] == nil) {
			continue
		}
		differ++
		if err == nil {
			seen[q] = true
			if tooStrict[q] == "" {
				t.Errorf("Grafana's grammar refuses %q at %d, we take it", q, *firstError[i])
			}
			continue
		}
		known := false
		for j := range tooLax {
			if tooLax[j].message.MatchString(err.Error()) {
				known = true
				seen[tooLax[j].reason] = true
				break
			}
		}
		if !known {
			t.Errorf("Grafana's grammar takes %q, we say %v", q, err)
		}
	}
	for q, reason := range tooStrict {
		if !seen[q] {
			t.Errorf("both agree on %q now, so %q needs no mention", q, reason)
		}
	}
	for _, d := range tooLax {
		if !seen[d.reason] {
			t.Errorf("no query of the corpus differs for %q any more", d.reason)
		}
	}
	t.Logf("%d queries, %d answered differently, all for known reasons unless listed above", len(queries), differ)
}

// corpus returns the queries that the language is tested with.
func corpus(t *testing.T) []string {
	t.Helper()
	f, err := os.Open(filepath.FromSlash("../../logql/syntax/testdata/corpus.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var queries []string
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var line struct{ Query string }
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		queries = append(queries, line.Query)
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return queries
}

// ask returns for each query where Grafana's grammar finds its first error, or nil.
func ask(t *testing.T, queries []string) []*int {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"package.json", "check.mjs"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	input, err := json.Marshal(queries)
	if err != nil {
		t.Fatal(err)
	}
	run(t, dir, nil, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	var answers []*int
	if err := json.Unmarshal(run(t, dir, input, "node", "check.mjs"), &answers); err != nil {
		t.Fatal(err)
	}
	return answers
}

func run(t *testing.T, dir string, input []byte, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.Bytes())
	}
	return out
}
