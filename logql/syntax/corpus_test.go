package syntax

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

// recorded is a query of the conformance corpus and what Loki 3.7 made of it.
type recorded struct {
	Query  string
	Error  string // why it was refused, if it was
	Kind   string // "matchers": where only a selector was allowed
	Format string // what format_query answered, where that was asked
}

func corpus(t testing.TB) []recorded {
	t.Helper()
	f, err := os.Open("testdata/corpus.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var list []recorded
	for s := bufio.NewScanner(f); s.Scan(); {
		var r recorded
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	return list
}

func (r recorded) parse() (Expr, error) {
	if r.Kind == "matchers" {
		ms, err := ParseMatchers(r.Query)
		return &LogExpr{Matchers: ms}, err
	}
	return Parse(r.Query)
}

// isTemplate tells that the query was refused for a template, into which this package does not look.
func (r recorded) isTemplate() bool { return strings.Contains(r.Error, "template:") }

func TestCorpus(t *testing.T) {
	for _, r := range corpus(t) {
		e, err := r.parse()
		if refused := r.Error != "" && !r.isTemplate(); (err != nil) != refused {
			t.Errorf("Parse(%q) = %v, %v, want error %q", r.Query, e, err, r.Error)
			continue
		}
		if err == nil {
			checkRoundTrip(t, r.Query, e)
			checkNodes(t, e)
		}
	}
}

// checkNodes makes sure that each node prints as it does within the whole.
func checkNodes(t *testing.T, e Expr) {
	t.Helper()
	whole := e.String()
	Walk(e, func(n Node) bool {
		if n != nil && !strings.Contains(whole, n.String()) {
			t.Errorf("%T prints as %q, which is not in %q", n, n, whole)
		}
		return true
	})
}

func TestFormatAsRecorded(t *testing.T) {
	n := 0
	for _, r := range corpus(t) {
		if r.Format == "" {
			continue
		}
		n++
		e, err := Parse(r.Query)
		if err != nil {
			t.Errorf("Parse(%q): %v", r.Query, err)
		} else if got := Format(e); got != r.Format {
			t.Errorf("Format(%q)\n got %s\nwant %s", r.Query, got, r.Format)
		}
	}
	if n < 50 {
		t.Errorf("only %d recorded formats", n)
	}
}

// differently lists queries whose error we place or word in another way, and why.
var differently = map[string]string{
	`sum(1)`: "says what is wrong",
	`topk(-1, sum by (node) (count_over_time({app="kubelet"}[2h])))`: "points at the sign, not behind the number",
	`{app="sparse"} | logfmt --fast`:                                 "takes the flag for a flag",
	`{app="sparse"} | logfmt a="b" --strict`:                         "names the flag",
	`{app="sparse"} + {app="sparse"}`:                                "does not name Go types",
	`rate({app="sparse"}[5m]) + {app="sparse"}`:                      "does not name Go types",
	`{app="sparse"} | pattern ""`:                                    "has no grammar of its own for patterns",
	`{app="sparse"} | json a="b["`:                                   "has no grammar of its own for paths",
	`{app="sparse"} | json a=""`:                                     "has no grammar of its own for paths",
	`{app="logfmt-odd"} | logfmt kd="key.dot"`:                       "has no grammar of its own for keys",
}

var position = regexp.MustCompile(`^parse error (?:at line (\d+), col (\d+))?: `)

// Our messages begin as Loki's do and point to the same place, where Loki points at all.
func TestErrorsAsRecorded(t *testing.T) {
	for _, r := range corpus(t) {
		if r.Error == "" || r.isTemplate() || differently[r.Query] != "" {
			continue
		}
		_, err := r.parse()
		var pe *ParseError
		if !errors.As(err, &pe) {
			t.Errorf("Parse(%q) = %v, want *ParseError", r.Query, err)
			continue
		}
		if pe.Line < 1 || pe.Col < 1 || pe.Pos < 0 || int(pe.Pos) > len(r.Query) {
			t.Errorf("Parse(%q): error at %d, line %d, col %d", r.Query, pe.Pos, pe.Line, pe.Col)
		}
		// Loki says line 0 where an operator of two characters is wrong.
		want := strings.Replace(r.Error, "at line 0,", "at line 1,", 1)
		got := err.Error()
		if m := position.FindStringSubmatch(want); m == nil || m[1] == "" {
			got = position.ReplaceAllString(got, "")
			want = position.ReplaceAllString(want, "")
		}
		want, _, _ = strings.Cut(want, ", expecting")
		if !strings.HasPrefix(strings.ToLower(got), strings.ToLower(want)) {
			t.Errorf("Parse(%q)\n got %s\nwant %s", r.Query, got, want)
		}
	}
}

// checkRoundTrip makes sure that both printed forms of e parse to e again.
func checkRoundTrip(t *testing.T, query string, e Expr) {
	t.Helper()
	for _, text := range []string{e.String(), Format(e)} {
		if len(text) > MaxQuerySize {
			continue
		}
		back, err := Parse(text)
		if err != nil {
			t.Errorf("%q is printed as %q, which is refused: %v", query, text, err)
			continue
		}
		if !equal(reflect.ValueOf(e), reflect.ValueOf(back)) {
			t.Errorf("%q is printed as %q, which parses to something else: %s", query, text, back)
		}
		if back.String() != e.String() {
			t.Errorf("%q prints as %q, then as %q", query, e, back)
		}
	}
}

// equal compares nodes but for their positions.
func equal(a, b reflect.Value) bool {
	if a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Pointer, reflect.Interface:
		if a.IsNil() || b.IsNil() {
			return a.IsNil() == b.IsNil()
		}
		if m, ok := a.Interface().(*labels.Matcher); ok {
			return m.String() == b.Interface().(*labels.Matcher).String()
		}
		return equal(a.Elem(), b.Elem())
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).Type != reflect.TypeFor[Pos]() && !equal(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !equal(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Float64:
		return a.Float() == b.Float() || a.Float() != a.Float() && b.Float() != b.Float()
	default:
		return a.Interface() == b.Interface()
	}
}
