package pipeline

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"example.com/loki/logql/syntax"
)

// judgedFilters are label filters behind json whose outcome depends on faults, clashes, doubles and nested fields.
var judgedFilters = []string{
	`a >= 5`, `a = "x"`, `a != "x"`, `a = ""`, `b_c = "x" or a > 1`, `a > 1 | b < 3s`, `a > 1 and b_c != ""`, `__error__ = ""`,
	`__error__ != ""`, `a > 1 | __error__ = ""`, `app = "x"`, `app_extracted = "x"`, `a = ip("10.0.0.0/8")`, `missing > 1`, `a_extracted = ""`,
	`b_c > 1KB | a < 3`,
}

// checkJudge compares a row that the filters see before all fields are extracted with one that they see behind.
func checkJudge(t *testing.T, before, filters, line string) {
	t.Helper()
	e, err := syntax.ParseLog(`{app="x"} ` + before + ` | json | ` + filters)
	if err != nil {
		t.Fatal(err)
	}
	outcome := func(judged bool) string {
		w := rowWorker(t, line, e.Stages...)
		for _, r := range w.runners {
			if j, ok := r.(*judgingRunner); ok && !judged {
				r = j.all
			} else if !ok && judged && fmt.Sprintf("%T", r) == "*pipeline.jsonRunner" {
				t.Fatalf("%s is not judged", e)
			}
			if !r.run(w) {
				return "dropped"
			}
		}
		return fmt.Sprintf("%s %q %t %t", w.fields(), w.details, w.soft, w.parsed)
	}
	if got, want := outcome(true), outcome(false); got != want {
		t.Errorf("%s on %q gives %s, want %s", e, line, got, want)
	}
}

func FuzzJudge(f *testing.F) {
	for _, line := range []string{
		`{"a":7,"b":{"c":"x"}}`, `{"a":1,"b":{"c":}}`, `{"b":{"c":[}]},"a":7}`, `{"a":"x","a":9}`, `{"a":"\u0078","app":"x"}`, `{"a":7`, `x`,
		`{"b":{"c":"2KB"},"b_c":"1KB","a":2}`, `{"a":"10.1.2.3","z":{"y":{"x":01}}}`, `{"a":"8","z":{"y":{"x":nul}}}`,
	} {
		for n := range judgedFilters {
			f.Add(line, uint8(n))
		}
	}
	f.Fuzz(func(t *testing.T, line string, n uint8) {
		checkJudge(t, "", judgedFilters[int(n)%len(judgedFilters)], line)
	})
}

func TestJudge(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	parts := []string{
		`{`, `}`, `"a"`, `"b"`, `"c"`, `:`, `:`, `:`, `,`, `,`, `1`, `7`, `"x"`, `"2KB"`, `"1s"`, `{"c":"x"}`, `{"c":5}`, `"b":{"c":`, `[1,{"a":2}]`,
		`"a":9`, `"a":"\u0078"`, `"app":"x"`, `"a_extracted":"q"`, `"b_c":"3KB"`, ` `, `null`, `true`, `nul`, `"\"`, `"d":{"e":{"f":`, `"b":{"c":}`, `"d":{"e":[}]}`,
	}
	for range 30_000 {
		line := "{"
		if r.IntN(10) == 0 {
			line = ""
		}
		for range r.IntN(4) {
			if r.IntN(3) > 0 {
				line += fmt.Sprintf(`"%c":%s,`, 'a'+rune(r.IntN(3)), parts[10+r.IntN(9)])
			}
		}
		for range r.IntN(8) {
			line += parts[r.IntN(len(parts))]
		}
		if r.IntN(3) > 0 {
			line += `"z":1}`
		}
		before := []string{"", "| app > 1", "| label_format a=`6`", "| logfmt"}[r.IntN(4)]
		checkJudge(t, before, judgedFilters[r.IntN(len(judgedFilters))], line)
	}
}

// TestJudgeRests sees that lines are no longer looked at twice where most pass, and again later.
func TestJudgeRests(t *testing.T) {
	e, err := syntax.ParseLog(`{app="x"} | json | a > 5`)
	if err != nil {
		t.Fatal(err)
	}
	w := rowWorker(t, `{"a":7}`, e.Stages...)
	j := w.runners[0].(*judgingRunner)
	for range judgedLines + 1 {
		w.startRow(0, 0)
		w.line = []byte(`{"a":7}`)
		if !j.run(w) {
			t.Fatal("a line that passes was dropped")
		}
	}
	if j.rest == 0 {
		t.Error("lines that all pass are still looked at twice")
	}
	dropped := 0
	for range restLines + judgedLines {
		w.startRow(0, 0)
		w.line = []byte(`{"a":1}`)
		if !j.run(w) {
			dropped++
		}
	}
	if dropped < judgedLines/2 || dropped > judgedLines {
		t.Errorf("after the rest %d lines were dropped, want some %d", dropped, judgedLines)
	}
}
