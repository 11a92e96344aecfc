package pipeline

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestSequence compares sequences with what Go's regular expressions find.
func TestSequence(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	exprs := []string{
		`^(?P<ip>\S+) (?P<user>\S+) \[(?P<time>[^\]]+)\] "(?P<method>\w+) (?P<path>[^ "]*)`, `" (?P<status>\d{3}) `,
		`(?P<a>\w+)=(?P<b>[^ ]*)`, `^(?P<a>[^:]*):(?P<b>.*)$`, `(?P<a>\d+)ms$`, `a(?P<x>b?)c`, `x(?P<y>(?P<z>\d+)-\d+)`, `(?P<w>[a-c]{2,3})x`,
	}
	for range 3000 {
		var b strings.Builder
		b.WriteString(pick("", "", "^"))
		for range 1 + r.IntN(5) {
			item := pick("a", "b", " ", `"`, "=", "é", "ab", `\d`, `\w`, `[^ ]`, `\S`, `[a-c]`, `.`, `[^"]`, `[éè]`, `\s`) +
				pick("", "", "+", "*", "+?", "?", "{2}", "{1,3}", "{2,}")
			if r.IntN(3) == 0 {
				item = "(" + item + pick("", "", "x", `\d`) + ")"
			}
			b.WriteString(item)
		}
		b.WriteString(pick("", "", "", "$"))
		exprs = append(exprs, b.String())
	}
	sequences := 0
	for i, expr := range exprs {
		seq := newSequence(expr)
		if seq == nil {
			if i < 7 {
				t.Errorf("%s is no sequence", expr)
			}
			continue
		}
		sequences++
		re := regexp.MustCompile(expr)
		for range 40 {
			var b strings.Builder
			for range r.IntN(14) {
				b.WriteString(pick("a", "b", "c", "1", "23", " ", "=", `"`, "é", "x", "\n", "\xff", "\xc3", ":", "-", "ms"))
			}
			line := b.String()
			if i == 0 {
				line = `10.0.0.1 ann [` + line + `] "GET /` + line
			}
			caps := make([]int, 2*seq.caps)
			want := re.FindStringSubmatchIndex(line)
			if got := seq.match([]byte(line), caps); got != (want != nil) || got && !slices.Equal(caps, want) {
				t.Fatalf("%s in %q: %t, %d; want %d", expr, line, got, caps, want)
			}
		}
	}
	if sequences < 500 {
		t.Errorf("only %d of %d expressions are sequences", sequences, len(exprs))
	}
}

// BenchmarkSequence compares a sequence with what Go's regular expressions take for the same.
func BenchmarkSequence(b *testing.B) {
	const expr = `^(?P<ip>\S+) \S+ \S+ \[(?P<time>[^\]]+)\] "(?P<method>\w+) (?P<path>\S+) [^"]*" (?P<status>\d{3})`
	line := []byte(`10.20.1.20 - alice [01/Jan/2026:00:10:20 +0000] "DELETE /api/v1/items/512 HTTP/2.0" 500 1234 "-" "Mozilla/5.0"`)
	b.Run("sequence", func(b *testing.B) {
		seq := newSequence(expr)
		caps := make([]int, 2*seq.caps)
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if !seq.match(line, caps) {
				b.Fatal("no match")
			}
		}
	})
	b.Run("regexp", func(b *testing.B) {
		re := regexp.MustCompile(expr)
		b.SetBytes(int64(len(line)))
		for b.Loop() {
			if re.FindSubmatchIndex(line) == nil {
				b.Fatal("no match")
			}
		}
	})
}
