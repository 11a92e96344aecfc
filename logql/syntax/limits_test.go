package syntax

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// Queries made to hurt end soon, whether they are refused or not, and take little memory.
func TestHostileQueries(t *testing.T) {
	// filled repeats s between head and tail up to the largest size that is parsed.
	filled := func(head, s, tail string) string {
		return head + strings.Repeat(s, (MaxQuerySize-len(head)-len(tail))/len(s)) + tail
	}
	const deep, large = "nests deeper", "regular expressions are too large"
	for _, tc := range []struct {
		name, query, err string
	}{
		{"a megabyte of parentheses", strings.Repeat("(", 1<<20), "input size too long"},
		{"100k stages", `{a="b"}` + strings.Repeat("|json", 100_000), "input size too long"},
		{"parentheses", filled("", "(", ""), deep},
		{"sums", filled("", "sum(", ""), deep},
		{"ranges", filled("rate", "(", ""), deep},
		{"additions", filled("vector(1)", "+vector(1)", ""), deep},
		{"powers", filled("vector(1)", "^vector(1)", ""), deep},
		{"powers of numbers", filled("1", "^1", ""), deep},
		{"additions of numbers", filled("1", "+1", ""), ""},
		{"conditions in parentheses", filled(`{a="b"} | `, "(", ""), deep},
		{"conditions", filled(`{a="b"} | a=1`, " or a=1", ""), deep},
		{"stages", filled(`{a="b"}`, "|json", ""), ""},
		{"line filters", filled(`{a="b"}`, `|="x"`, ""), ""},
		{"matchers", filled(`{a="b"`, `,a="b"`, "}"), ""},
		{"large regular expressions", filled(`{a="b"`, `,a=~"x{1000}"`, "}"), large},
		{"nested repetitions", filled(`{a="b"`, `,a=~"(x{31}){31}"`, "}"), large},
		{"line filters with large regular expressions", filled(`{a="b"}`, `|~"x{1000}"`, ""), large},
		{"dropped large regular expressions", filled(`{a="b"}|drop a`, `,a=~"x{1000}"`, ""), large},
		{"alternatives", filled(`{a=~"b`, `|[^a-z]b`, `"}`), ""},
		{"groups", `{a=~"` + strings.Repeat("(", 60_000) + strings.Repeat(")", 60_000) + `"}`, "too deeply"},
		{"string", filled(`{a="b"} |= "`, "x", `"`), ""},
		{"open string", filled(`{a="b"} |= "`, "x", ""), "not terminated"},
		{"name", filled("{", "x", ""), "$end"},
		{"function", filled("", "x", "("), "there is no function"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			e, err := Parse(tc.query)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			switch {
			case tc.err == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)):
				t.Errorf("error %v, want %q", err, tc.err)
			case err != nil && len(err.Error()) > 4*maxMessage:
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			// Some tens of milliseconds each; the limits leave room for slow machines.
			if took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 100<<20 {
				t.Errorf("took %d MiB", got>>20)
			}
			if e != nil {
				checkRoundTrip(t, tc.name, e)
			}
		})
	}
}

// What nests just as deeply as is allowed can be printed and parsed again.
func TestDepthLimit(t *testing.T) {
	for _, tc := range []struct{ name, head, unit, tail string }{
		{"left", "vector(1)", " + vector(1)", ""},
		{"right", "vector(1)", " ^ vector(1)", ""},
		{"filter", `{a="b"} | x=1`, " or x=1", ""},
	} {
		build := func(n int) string { return tc.head + strings.Repeat(tc.unit, n) + tc.tail }
		allowed := 0
		for n := maxDepth + 10; n > maxDepth-10; n-- {
			e, err := Parse(build(n))
			if err != nil {
				continue
			}
			allowed = n
			checkRoundTrip(t, tc.name, e)
			break
		}
		if allowed == 0 {
			t.Errorf("%s: no depth near %d is allowed", tc.name, maxDepth)
		}
	}
}
