package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

const someTable = `# a remark
store  BenchmarkA/b=1  allocs/op=10 of-zstd=2 bytes/row=20 ratio=5
store  BenchmarkC      allocs/op=0
`

func TestFailures(t *testing.T) {
	for _, c := range []struct {
		name, out string
		want      []string // beginnings
	}{
		{"well", "BenchmarkA/b=1 1 5 ns/op 1.1 of-zstd 21 bytes/row 4.6 ratio 17 allocs/op\nBenchmarkC 9 1 ns/op 0 allocs/op\n", nil},
		{"the best counts", "BenchmarkA/b=1 1 0.1 of-zstd 90 bytes/row 1 ratio 90 allocs/op\nBenchmarkA/b=1 1 2 of-zstd 20 bytes/row 5 ratio 10 allocs/op\nBenchmarkC 9 0 allocs/op\n", nil},
		{"worse", "BenchmarkA/b=1 1 0.9 of-zstd 23 bytes/row 4.5 ratio 18 allocs/op\nBenchmarkC 9 3 allocs/op\n", []string{
			"store BenchmarkA/b=1: 18 allocs/op, want at most 17", "store BenchmarkA/b=1: 0.9 of-zstd, want at least 1",
			"store BenchmarkA/b=1: 23 bytes/row", "store BenchmarkA/b=1: 4.5 ratio", "store BenchmarkC: 3 allocs/op, want at most 0",
		}},
		{"gone", "BenchmarkA/b=1 1 2 of-zstd 20 bytes/row 5 ratio 10 allocs/op\nPASS\n", []string{"store BenchmarkC: NaN allocs/op"}},
	} {
		rows, err := parseTable([]byte(someTable))
		if err != nil {
			t.Fatal(err)
		}
		got := parseOutput(c.out)
		var bad []string
		for _, r := range rows {
			r.add(got[r.name])
			bad = append(bad, r.failures()...)
		}
		if len(bad) != len(c.want) {
			t.Errorf("%s: got %q, want %q", c.name, bad, c.want)
			continue
		}
		for i, want := range c.want {
			if !strings.HasPrefix(bad[i], want) {
				t.Errorf("%s: got %q, want %q", c.name, bad[i], want)
			}
		}
	}
}

// TestUpdate writes down medians, reads them again, and keeps the remarks.
func TestUpdate(t *testing.T) {
	text := []byte("# one\n# two\nstore BenchmarkA of-zstd allocs/op=7\n")
	rows, err := parseTable(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows[0].failures()) != 2 || len(rows[0].missing()) != 2 {
		t.Error("what was not measured passes")
	}
	rows[0].add(parseOutput("BenchmarkA 1 1 of-zstd 5 allocs/op\nBenchmarkA 1 3 of-zstd 5 allocs/op\nBenchmarkA 1 2 of-zstd 6 allocs/op\n")["BenchmarkA"])
	got := string(formatTable(text, rows))
	if bad := rows[0].missing(); len(bad) > 0 {
		t.Error(bad)
	}
	if want := "# one\n# two\nstore  BenchmarkA  of-zstd=2 allocs/op=5\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseTable(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "store BenchmarkA\n", "store BenchmarkA allocs/op=x\n"} {
		if rows, err := parseTable([]byte(text)); err == nil {
			t.Errorf("parseTable(%q) = %v", text, rows)
		}
	}
}

func TestPattern(t *testing.T) {
	got := pattern([]string{"BenchmarkA/b.c", "BenchmarkD"})
	if want := `^BenchmarkA$/^b\.c$|^BenchmarkD$`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, err := regexp.Compile(got); err != nil || slices.Contains(strings.Split(got, "|"), "") {
		t.Error(err)
	}
}
