package syntax

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

const walked = `sum(rate({a="b"} |= "x" | y=1 or z=2 [1m])) / label_replace(max_over_time({c="d"} | unwrap e | f=3 [1m]), "g", "h", "i", "j") + 2`

func TestWalk(t *testing.T) {
	e, err := Parse(walked)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	Walk(e, func(n Node) bool {
		if n == nil {
			got.WriteByte(')')
			return false
		}
		fmt.Fprintf(&got, "(%s", strings.TrimPrefix(fmt.Sprintf("%T", n), "*syntax."))
		return true
	})
	want := "(Binary(Binary" +
		"(VectorAggregation(RangeAggregation(LogExpr(LineFilter)(LabelFilterStage(OrFilter(NumberFilter)(NumberFilter))))))" +
		"(LabelReplace(RangeAggregation(LogExpr)(Unwrap(NumberFilter)))))(Literal))"
	if got.String() != want {
		t.Errorf("walked\n got %s\nwant %s", got.String(), want)
	}

	nodes := 0
	Walk(e, func(n Node) bool {
		nodes++
		return false
	})
	if nodes != 1 {
		t.Errorf("%d calls where the first says no", nodes)
	}
}

func TestMatchers(t *testing.T) {
	e, err := Parse(walked)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(Matchers(e)), `[[a="b"] [c="d"]]`; got != want {
		t.Errorf("Matchers = %s, want %s", got, want)
	}
}

func TestRewrite(t *testing.T) {
	e, err := Parse(walked)
	if err != nil {
		t.Fatal(err)
	}
	before := e.String()
	if same := Rewrite(e, func(e Expr) Expr { return e }); same != e {
		t.Error("rewriting nothing makes a copy")
	}
	team := labels.MustNewMatcher(labels.MatchEqual, "team", "x")
	got := Rewrite(e, func(e Expr) Expr {
		if log, ok := e.(*LogExpr); ok {
			c := *log
			c.Matchers = append(slices.Clip(log.Matchers), team)
			return &c
		}
		return e
	})
	want := strings.NewReplacer(`{a="b"}`, `{a="b", team="x"}`, `{c="d"}`, `{c="d", team="x"}`).Replace(before)
	if got.String() != want {
		t.Errorf("Rewrite\n got %s\nwant %s", got, want)
	}
	if e.String() != before {
		t.Errorf("Rewrite changed its argument to %s", e)
	}
}

func TestBuiltNodes(t *testing.T) {
	e := &VectorAggregation{Op: VectorSum, Grouping: &Grouping{}, Inner: &RangeAggregation{
		Op: RangeRate, Range: day, Log: selector(&LineFilter{Operands: []LineOperand{{Text: `"`}}}),
	}}
	if got, want := e.String(), `sum by ()(rate({a="b"} |= "\""[1d]))`; got != want {
		t.Errorf("printed %s, want %s", got, want)
	}
	checkRoundTrip(t, "built", e)
	if LineContains.Negative() || !LineNotPattern.Negative() {
		t.Error("Negative is wrong")
	}
	if got := RangeOp(200).String(); got != "syntax.RangeOp(200)" {
		t.Errorf("unknown operator prints as %s", got)
	}
}
