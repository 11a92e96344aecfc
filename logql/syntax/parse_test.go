package syntax

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

func eq(name, value string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, name, value)
}

// selector is {a="b"} with stages.
func selector(stages ...Stage) *LogExpr {
	return &LogExpr{Matchers: []*labels.Matcher{eq("a", "b")}, Stages: stages}
}

func filters(f LabelFilter) *LogExpr { return selector(&LabelFilterStage{Filter: f}) }

func number(name string, op CompareOp, v float64) *NumberFilter {
	return &NumberFilter{Name: name, Op: op, Value: v}
}

func TestParse(t *testing.T) {
	count := &RangeAggregation{Op: RangeCount, Log: selector(), Range: time.Minute}
	const c = `count_over_time({a="b"}[1m])`
	for _, tc := range []struct {
		query string
		want  Expr
	}{
		{`{a="b"}`, selector()},
		{" # comment\n{ a\t=\r\n`b` } # end", selector()},
		{`{a="b", c!="d", e=~"f|g", h!~"i.*"}`, &LogExpr{Matchers: []*labels.Matcher{
			eq("a", "b"),
			labels.MustNewMatcher(labels.MatchNotEqual, "c", "d"),
			labels.MustNewMatcher(labels.MatchRegexp, "e", "f|g"),
			labels.MustNewMatcher(labels.MatchNotRegexp, "h", "i.*"),
		}}},
		{`({a="b"})`, selector()},

		// Line filters.
		{`{a="b"} |= "x" != "y" |~ "z" !~ "w" |> "<_>p" !> "q"`, selector(
			&LineFilter{Op: LineContains, Operands: []LineOperand{{Text: "x"}}},
			&LineFilter{Op: LineNotContains, Operands: []LineOperand{{Text: "y"}}},
			&LineFilter{Op: LineMatches, Operands: []LineOperand{{Text: "z"}}},
			&LineFilter{Op: LineNotMatches, Operands: []LineOperand{{Text: "w"}}},
			&LineFilter{Op: LinePattern, Operands: []LineOperand{{Text: "<_>p"}}},
			&LineFilter{Op: LineNotPattern, Operands: []LineOperand{{Text: "q"}}},
		)},
		{`{a="b"} |= "x" or ip("10.0.0.0/8") OR "y"`, selector(
			&LineFilter{Op: LineContains, Operands: []LineOperand{{Text: "x"}, {Text: "10.0.0.0/8", IP: true}, {Text: "y"}}},
		)},
		{`{a="b"} |= "\"\t\\\u00e9"`, selector(
			&LineFilter{Op: LineContains, Operands: []LineOperand{{Text: "\"\t\\é"}}},
		)},

		// Parsers and formatters.
		{"{a=\"b\"} | json | json x, y=\"a.b[0][\\\"c d\\\"]\"", selector(
			&JSONStage{}, &JSONStage{Fields: []Extraction{{"x", "x"}, {"y", `a.b[0]["c d"]`}}},
		)},
		{`{a="b"} | logfmt | logfmt --keep-empty --strict x="y", z`, selector(
			&LogfmtStage{}, &LogfmtStage{Strict: true, KeepEmpty: true, Fields: []Extraction{{"x", "y"}, {"z", "z"}}},
		)},
		{"{a=\"b\"} | pattern `<x> <_>` | regexp `(?P<x>.)` | unpack | decolorize | line_format `{{.x}}`", selector(
			&PatternStage{Pattern: "<x> <_>"}, &RegexpStage{Regexp: "(?P<x>.)"}, &UnpackStage{}, &DecolorizeStage{},
			&LineFormatStage{Template: "{{.x}}"},
		)},
		{`{a="b"} | label_format x=y, z="{{.y}}", w=""`, selector(&LabelFormatStage{
			Formats: []LabelFormat{{Name: "x", Rename: "y"}, {Name: "z", Template: "{{.y}}"}, {Name: "w"}},
		})},
		{`{a="b"} | drop x, y="z" | keep w, v!="u"`, selector(
			&DropStage{Labels: []LabelSelector{{Name: "x"}, {"y", eq("y", "z")}}},
			&KeepStage{Labels: []LabelSelector{{Name: "w"}, {"v", labels.MustNewMatcher(labels.MatchNotEqual, "v", "u")}}},
		)},

		// Label filters. Conjunctions bind tighter than or.
		{`{a="b"} | x="y"`, filters(&MatchFilter{Matcher: eq("x", "y")})},
		{`{a="b"} | x=1 or y==2 and z!=3, w>4 v>=5`, filters(&OrFilter{
			Left: number("x", OpEqual, 1),
			Right: &AndFilter{
				Left: &AndFilter{
					Left:  &AndFilter{Left: number("y", OpEqual, 2), Right: number("z", OpNotEqual, 3)},
					Right: number("w", OpGreater, 4),
				},
				Right: number("v", OpGreaterEqual, 5),
			},
		})},
		{`{a="b"} | (x<1 or y<=-2.5e3) z=+3`, filters(&AndFilter{
			Left:  &OrFilter{Left: number("x", OpLess, 1), Right: number("y", OpLessEqual, -2500)},
			Right: number("z", OpEqual, 3),
		})},
		{`{a="b"} | x>1h30m | x>1.5s | x<-3ms | x=1d | x=5µs`, selector(
			&LabelFilterStage{Filter: &DurationFilter{Name: "x", Op: OpGreater, Value: 90 * time.Minute}},
			&LabelFilterStage{Filter: &DurationFilter{Name: "x", Op: OpGreater, Value: 1500 * time.Millisecond}},
			&LabelFilterStage{Filter: &DurationFilter{Name: "x", Op: OpLess, Value: -3 * time.Millisecond}},
			&LabelFilterStage{Filter: &DurationFilter{Name: "x", Value: day}},
			&LabelFilterStage{Filter: &DurationFilter{Name: "x", Value: 5 * time.Microsecond}},
		)},
		{`{a="b"} | x>20MB or x>=1.5KiB`, filters(&OrFilter{
			Left:  &BytesFilter{Name: "x", Op: OpGreater, Value: 20e6},
			Right: &BytesFilter{Name: "x", Op: OpGreaterEqual, Value: 1536},
		})},
		{`{a="b"} | x=ip("::1") or y!=ip("10.0.0.1-10.0.0.9")`, filters(&OrFilter{
			Left:  &IPFilter{Name: "x", Range: "::1"},
			Right: &IPFilter{Name: "y", Op: OpNotEqual, Range: "10.0.0.1-10.0.0.9"},
		})},
		{`{a="b"} | a="b" != "c"`, selector(
			&LabelFilterStage{Filter: &MatchFilter{Matcher: eq("a", "b")}},
			&LineFilter{Op: LineNotContains, Operands: []LineOperand{{Text: "c"}}},
		)},

		// Names of functions are names of labels too.
		{`{sum="a", ip="b"} | duration > 1s`, &LogExpr{
			Matchers: []*labels.Matcher{eq("sum", "a"), eq("ip", "b")},
			Stages:   []Stage{&LabelFilterStage{Filter: &DurationFilter{Name: "duration", Op: OpGreater, Value: time.Second}}},
		}},

		// Range aggregations.
		{c, count},
		{`Count_Over_Time(({a="b"})[1m])`, count},
		{`count_over_time((({a="b"}[1m])))`, count},
		{`rate({a="b"} |= "x" [1h30m] offset -5m)`, &RangeAggregation{
			Op: RangeRate, Range: 90 * time.Minute, Offset: -5 * time.Minute,
			Log: selector(&LineFilter{Operands: []LineOperand{{Text: "x"}}}),
		}},
		{`rate({a="b"} [1m] offset 5m |= "x")`, &RangeAggregation{
			Op: RangeRate, Range: time.Minute, Offset: 5 * time.Minute,
			Log: selector(&LineFilter{Operands: []LineOperand{{Text: "x"}}}),
		}},
		{`quantile_over_time(0.99, {a="b"} | unwrap bytes(x) | y="z" [5m]) by (v, w)`, &RangeAggregation{
			Op: RangeQuantile, Param: 0.99, Range: 5 * time.Minute, Log: selector(),
			Unwrap: &Unwrap{Label: "x", Convert: UnwrapBytes, Filters: []LabelFilter{
				&MatchFilter{Matcher: eq("y", "z")},
			}},
			Grouping: &Grouping{Names: []string{"v", "w"}},
		}},
		{`max_over_time({a="b"}[5m] | logfmt | unwrap x) without ()`, &RangeAggregation{
			Op: RangeMax, Range: 5 * time.Minute, Log: selector(&LogfmtStage{}), Unwrap: &Unwrap{Label: "x"},
			Grouping: &Grouping{Without: true},
		}},

		// Vector aggregations and functions.
		{`sum(` + c + `)`, &VectorAggregation{Op: VectorSum, Inner: count}},
		{`SUM(` + c + `) BY (x)`, &VectorAggregation{Op: VectorSum, Inner: count, Grouping: &Grouping{Names: []string{"x"}}}},
		{`topk by (x) (3, ` + c + `)`, &VectorAggregation{
			Op: VectorTopK, Param: 3, Inner: count, Grouping: &Grouping{Names: []string{"x"}},
		}},
		{`label_replace(vector(1.5), "a", "$1", "b", "(.*)")`, &LabelReplace{
			Inner: &Vector{Value: 1.5}, Destination: "a", Replacement: "$1", Source: "b", Regex: "(.*)",
		}},

		// Binary operators.
		{`vector(1) + vector(2) * vector(3) ^ vector(4) ^ vector(5)`, &Binary{
			Op: BinAdd, Left: &Vector{Value: 1}, Right: &Binary{
				Op: BinMul, Left: &Vector{Value: 2}, Right: &Binary{
					Op: BinPow, Left: &Vector{Value: 3}, Right: &Binary{Op: BinPow, Left: &Vector{Value: 4}, Right: &Vector{Value: 5}},
				},
			},
		}},
		{`vector(1) or vector(2) and vector(3) > vector(4) - vector(5)`, &Binary{
			Op: BinOr, Left: &Vector{Value: 1}, Right: &Binary{
				Op: BinAnd, Left: &Vector{Value: 2}, Right: &Binary{
					Op: BinGreater, Left: &Vector{Value: 3}, Right: &Binary{Op: BinSub, Left: &Vector{Value: 4}, Right: &Vector{Value: 5}},
				},
			},
		}},
		{c + ` > bool on (x, y) group_left (z) ` + c, &Binary{
			Op: BinGreater, Left: count, Right: count, ReturnBool: true,
			Matching: &VectorMatching{On: true, Labels: []string{"x", "y"}, Card: ManyToOne, Include: []string{"z"}},
		}},
		{c + ` / ignoring () group_right ` + c, &Binary{
			Op: BinDiv, Left: count, Right: count, Matching: &VectorMatching{Card: OneToMany},
		}},
		// Loki takes these, though they mean nothing.
		{c + ` + bool ` + c, &Binary{Op: BinAdd, Left: count, Right: count}},
		{c + ` and on (x) group_left ` + c, &Binary{
			Op: BinAnd, Left: count, Right: count, Matching: &VectorMatching{On: true, Labels: []string{"x"}},
		}},

		// Arithmetic between numbers is done.
		{`-2 ^ 2`, &Literal{Value: 4}},
		{`2 ^ 3 ^ 2`, &Literal{Value: 512}},
		{`10 - 4 - 3`, &Literal{Value: 3}},
		{`(1 + .5) * 2e1`, &Literal{Value: 30}},
		{`-7 % 3`, &Literal{Value: -1}},
		{`1 > bool 2`, &Literal{Value: 0}},
		{`1 <= 2`, &Literal{Value: 1}},
		{c + ` * (60 * 60)`, &Binary{Op: BinMul, Left: count, Right: &Literal{Value: 3600}}},
	} {
		got, err := Parse(tc.query)
		if err != nil {
			t.Errorf("Parse(%q): %v", tc.query, err)
			continue
		}
		if !equal(reflect.ValueOf(got), reflect.ValueOf(tc.want)) {
			t.Errorf("Parse(%q)\n got %s\nwant %s", tc.query, got, tc.want)
		}
		checkRoundTrip(t, tc.query, got)
	}
}

// Numbers that cannot be written come out of arithmetic, and are printed as such.
func TestSpecialNumbers(t *testing.T) {
	for _, tc := range []struct {
		query string
		want  float64
	}{
		{"1 / 0", math.NaN()},
		{"0 / 0", math.NaN()},
		{"5 % 0", math.NaN()},
		{"1e+300 * 1e300", math.Inf(1)},
		{"-1E300 * 1e300", math.Inf(-1)},
		{"-0", math.Copysign(0, -1)},
		{"1e-320", 1e-320},
		{"1.7976931348623157e308", math.MaxFloat64},
	} {
		e, err := Parse(tc.query)
		if err != nil {
			t.Errorf("Parse(%q): %v", tc.query, err)
			continue
		}
		if got := e.(*Literal).Value; fmt.Sprint(got) != fmt.Sprint(tc.want) {
			t.Errorf("Parse(%q) = %v, want %v", tc.query, got, tc.want)
		}
		checkRoundTrip(t, tc.query, e)
	}
	for _, v := range []string{"vector(0.000000)", "vector(1.500000)", "vector(1e-09)", "vector(1e+300)"} {
		e, err := Parse(v)
		if err != nil {
			t.Errorf("Parse(%q): %v", v, err)
			continue
		}
		checkRoundTrip(t, v, e)
	}
}

func TestPositions(t *testing.T) {
	const query = `sum by (x) (rate({a="b"} |= "c" | json | y > 1 or z="w" [5m])) + 2`
	e, err := Parse(query)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	Walk(e, func(n Node) bool {
		if n == nil {
			return false
		}
		got = append(got, (query + "  ")[n.Position():][:3])
		return true
	})
	want := []string{"sum", "sum", "rat", `{a=`, `|= `, "| j", "| y", "y >", "y >", `z="`, "2  "}
	if !slices.Equal(got, want) {
		t.Errorf("nodes begin at %q, want %q", got, want)
	}
}

func TestParseErrorText(t *testing.T) {
	for _, tc := range []struct {
		query, want string
	}{
		{`{app="x"`, `parse error at line 1, col 9: syntax error: unexpected $end, expecting } or , (close the selector with "}")`},
		{"{app=\"ü\"}\n| json\n| x ==", `parse error at line 3, col 7: syntax error: unexpected $end, expecting NUMBER or DURATION or BYTES`},
		{`{app="ü"} § "x"`, `parse error at line 1, col 11: syntax error: unexpected character '§'`},
		{`variants(rate({a="b"}[1m])) of ({a="b"}[1m])`, `parse error at line 1, col 1: variants is not supported (run one query for each variant)`},
		{`{json="x"}`, `parse error at line 1, col 2: syntax error: unexpected json, expecting IDENTIFIER or } (json is a reserved word)`},
		{`{größe="x"}`, `parse error at line 1, col 4: syntax error: unexpected character 'ö' (names consist of ASCII letters, digits and _)`},
		{`{"a b"="x"}`, `parse error at line 1, col 2: syntax error: unexpected STRING, expecting IDENTIFIER or } (names of labels are not quoted)`},
		{`{app=“x”}`, "parse error at line 1, col 6: syntax error: unexpected character '“' (use straight quotes: \")"},
		{`rate({a="b"}[$__interval])`, `parse error at line 1, col 13: not a valid duration string: "$__interval" (variables must be replaced before the query is sent)`},
		{`rate({a="b"}[5m:1m])`, `parse error at line 1, col 13: not a valid duration string: "5m:1m" (LogQL has no subqueries)`},
		{`rate({a="b"}[5m]) @ 5`, `parse error at line 1, col 19: syntax error: unexpected character '@' (LogQL has no @ modifier)`},
		{`-rate({a="b"}[5m])`, `parse error at line 1, col 2: syntax error: unexpected rate, expecting NUMBER (only numbers have a sign; write -1 * (...))`},
		{`abs(rate({a="b"}[5m]))`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER (abs is PromQL and not part of LogQL)`},
		{`{a="b"} | x="\d"`, `parse error at line 1, col 13: invalid char escape in "\d" (write a backslash as \\ or put the string in backquotes)`},
		{`{a="b"} |~ "(a)\\1"`, "parse error at line 1, col 9: stage '|~ \"(a)\\\\1\"' : error parsing regexp: invalid escape sequence: `\\1` (RE2 has no back-references)"},
		{`{a="b"} | a > 1.2.3`, `parse error at line 1, col 15: not a valid number: "1.2.3"`},
		{`{a="b"} | x = 1e999`, `parse error at line 1, col 15: not a valid number: "1e999"`},
		{`{a="b"} | x > 1e999s`, `parse error at line 1, col 15: not a valid number: "1e999"`},
		{"{a=\"b\nc\"}", `parse error at line 1, col 4: literal not terminated (close the string with ")`},
		{`rate({a="b"}[5m`, `parse error at line 1, col 13: missing closing ']' in duration (close the range with "]")`},
		{`{a="b"} ! "x"`, `parse error at line 1, col 9: syntax error: unexpected character '!'`},
		{"{a=\"b\"}\u00a0", `parse error at line 1, col 8: syntax error: unexpected character '\u00a0' (use plain blanks)`},
		{`{a="b"} | 5m`, `parse error at line 1, col 11: syntax error: unexpected DURATION, expecting a parser or a label filter or a formatter`},
		{`{a="b"} | 5KB`, `parse error at line 1, col 11: syntax error: unexpected BYTES, expecting a parser or a label filter or a formatter`},
		{`{a="b"} | "x"`, `parse error at line 1, col 11: syntax error: unexpected STRING, expecting a parser or a label filter or a formatter (a line filter has an operator such as |=)`},
		{`{a="b"} | sum(x)`, `parse error at line 1, col 11: syntax error: unexpected sum, expecting a parser or a label filter or a formatter (functions stand around a query, not behind it)`},
		{`{a="b"} | x=ip(5)`, `parse error at line 1, col 16: syntax error: unexpected NUMBER, expecting STRING (put the value in double quotes)`},
		{`rate({a="b"} | unwrap ip(x) [5m])`, `parse error at line 1, col 23: syntax error: unexpected ip, expecting IDENTIFIER (conversions are bytes, duration and duration_seconds)`},
		{`rate by (x) ({a="b"}[5m])`, `parse error at line 1, col 6: syntax error: unexpected by, expecting ( (write rate(...) by (...))`},
		{`1 or vector(1)`, `parse error at line 1, col 1: unexpected literal for left leg of logical/set binary operation (or): 1.000000 (write vector(5) for a series of a number)`},
		{`"error"`, `parse error at line 1, col 1: syntax error: unexpected STRING (search with a selector and a line filter: {app="api"} |= "text")`},
		{`sum`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER (sum is written as sum by (label) (...))`},
		{`rate`, `parse error at line 1, col 1: syntax error: unexpected IDENTIFIER (functions are followed by parentheses)`},
		{`sum by (x y) (vector(1))`, `parse error at line 1, col 11: syntax error: unexpected IDENTIFIER, expecting , or )`},
		{`{a="b"} | regexp "(?P<größe>x)"`, "parse error at line 1, col 9: invalid regexp parser: error parsing regexp: invalid named capture: `(?P<größe>`"},
		{`absent_over_time({a="b"}[5m]) by (x)`, `parse error at line 1, col 31: grouping not allowed for absent_over_time aggregation (write sum by (...) (absent_over_time(...)))`},
	} {
		e, err := Parse(tc.query)
		if err == nil || err.Error() != tc.want {
			t.Errorf("Parse(%q) = %v\n got %v\nwant %s", tc.query, e, err, tc.want)
		}
	}
}

func TestParseLog(t *testing.T) {
	e, err := ParseLog(`{a="b"} | json`)
	if err != nil || len(e.Stages) != 1 {
		t.Errorf("ParseLog = %v, %v", e, err)
	}
	if _, err := ParseLog("{"); err == nil {
		t.Error("ParseLog takes a broken query")
	}
	const want = `parse error at line 1, col 1: only log selector is supported (leave out functions and operators)`
	if _, err := ParseLog(`rate({a="b"}[1m])`); err == nil || err.Error() != want {
		t.Errorf("ParseLog of a metric query: %v, want %s", err, want)
	}
}

func TestParseMatchers(t *testing.T) {
	for _, tc := range []struct {
		query            string
		matchers, series bool // whether ParseMatchers and ParseSeriesMatchers take it
	}{
		{`{a="b"}`, true, true},
		{`{a="b", c!="d"}`, true, true},
		{`{}`, false, true},
		{`{a!="b"}`, false, false},
		{`{a=~".*"}`, false, false},
		{`{a="b"} |= "c"`, false, false},
		{`rate({a="b"}[1m])`, false, false},
		{``, false, false},
	} {
		if _, err := ParseMatchers(tc.query); (err == nil) != tc.matchers {
			t.Errorf("ParseMatchers(%q): %v", tc.query, err)
		}
		if _, err := ParseSeriesMatchers(tc.query); (err == nil) != tc.series {
			t.Errorf("ParseSeriesMatchers(%q): %v", tc.query, err)
		}
	}
}
