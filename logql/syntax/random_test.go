package syntax

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Trees built by hand print as LogQL that parses to the same tree.
func TestRandomTrees(t *testing.T) {
	for seed := range uint64(2000) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		e := g.expr(4)
		checkRoundTrip(t, "a built tree", e)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// generator makes trees that the parser could have made.
type generator struct{ *rand.Rand }

func pick[T any](g generator, list ...T) T { return list[g.IntN(len(list))] }

// some returns up to n values, at least one.
func some[T any](g generator, n int, f func() T) []T {
	var list []T
	for range 1 + g.IntN(n) {
		list = append(list, f())
	}
	return list
}

func (g generator) name() string {
	return pick(g, "a", "b_1", "_x", "Level", "sum", "duration", "__error__", "by_", "jsonx")
}

func (g generator) names() []string {
	if g.IntN(4) == 0 {
		return nil
	}
	return some(g, 3, g.name)
}

func (g generator) text() string {
	return pick(g, "", "x", "a b", `"`, "`", "\\", "\n\t\x00", "größe 東京", "\xff", "# }|", "{{.a}}")
}

func (g generator) duration() time.Duration {
	return pick(g, 1, time.Millisecond, 1500*time.Millisecond, time.Minute, 90*time.Minute, day, week, year) *
		time.Duration(1+g.IntN(50))
}

func (g generator) number() float64 {
	return pick(g, 0, 1, -1, 0.5, 1e-9, 1e21, -123456789.25, math.MaxFloat64, g.Float64())
}

func (g generator) matcher() *labels.Matcher {
	typ := pick(g, labels.MatchEqual, labels.MatchNotEqual, labels.MatchRegexp, labels.MatchNotRegexp)
	value := g.text()
	if typ == labels.MatchRegexp || typ == labels.MatchNotRegexp {
		value = pick(g, "", ".+", "a|b", `\d{2}`, "(?i)x")
	}
	return labels.MustNewMatcher(typ, g.name(), value)
}

func (g generator) log() *LogExpr {
	e := &LogExpr{Matchers: []*labels.Matcher{eq("app", "x")}}
	for range g.IntN(3) {
		e.Matchers = append(e.Matchers, g.matcher())
	}
	dropped := false
	for range g.IntN(5) {
		s := g.stage()
		if f, ok := s.(*LineFilter); ok && dropped && (f.Op == LineNotContains || f.Op == LineNotMatches) {
			continue // "drop a != "x"" is a matcher of drop
		}
		e.Stages = append(e.Stages, s)
		dropped = false
		switch s := s.(type) {
		case *DropStage:
			dropped = s.Labels[len(s.Labels)-1].Matcher == nil
		case *KeepStage:
			dropped = s.Labels[len(s.Labels)-1].Matcher == nil
		}
	}
	return e
}

func (g generator) extractions(expression func() string) []Extraction {
	if g.IntN(2) == 0 {
		return nil
	}
	return some(g, 3, func() Extraction { return Extraction{g.name(), expression()} })
}

func (g generator) selectors() []LabelSelector {
	return some(g, 3, func() LabelSelector {
		if g.IntN(2) == 0 {
			return LabelSelector{Name: g.name()}
		}
		m := g.matcher()
		return LabelSelector{Name: m.Name, Matcher: m}
	})
}

func (g generator) stage() Stage {
	switch g.IntN(12) {
	case 0:
		return &LineFilter{Op: pick(g, LineContains, LineNotContains), Operands: some(g, 3, func() LineOperand {
			return pick(g, LineOperand{Text: g.text()}, LineOperand{Text: "10.0.0.0/8", IP: true})
		})}
	case 1:
		return &LineFilter{Op: pick(g, LineMatches, LineNotMatches, LinePattern, LineNotPattern), Operands: some(g, 3, func() LineOperand {
			return LineOperand{Text: pick(g, "", "x", "a b")}
		})}
	case 2:
		return &JSONStage{Fields: g.extractions(func() string { return pick(g, "a", "a.b[0]", `["x y"]`) })}
	case 3:
		return &LogfmtStage{Strict: g.IntN(2) == 0, KeepEmpty: g.IntN(2) == 0, Fields: g.extractions(g.name)}
	case 4:
		return &PatternStage{Pattern: pick(g, "<a>", "<a> <_>\n")}
	case 5:
		return &RegexpStage{Regexp: "(?P<a>.)"}
	case 6:
		return &LineFormatStage{Template: g.text()}
	case 7:
		return &LabelFormatStage{Formats: []LabelFormat{{Name: "l", Rename: g.name()}, {Name: "m", Template: g.text()}}}
	case 8:
		return &DropStage{Labels: g.selectors()}
	case 9:
		return &KeepStage{Labels: g.selectors()}
	case 10:
		return pick[Stage](g, &UnpackStage{}, &DecolorizeStage{})
	default:
		return &LabelFilterStage{Filter: g.filter(3)}
	}
}

func (g generator) compare() CompareOp {
	return pick(g, OpEqual, OpNotEqual, OpGreater, OpGreaterEqual, OpLess, OpLessEqual)
}

func (g generator) filter(depth int) LabelFilter {
	if depth > 0 && g.IntN(2) == 0 {
		left, right := g.filter(depth-1), g.filter(depth-1)
		return pick[LabelFilter](g, &AndFilter{Left: left, Right: right}, &OrFilter{Left: left, Right: right})
	}
	return pick[LabelFilter](g,
		&MatchFilter{Matcher: g.matcher()},
		&NumberFilter{Name: g.name(), Op: g.compare(), Value: g.number()},
		&DurationFilter{Name: g.name(), Op: g.compare(), Value: g.duration() * pick[time.Duration](g, 1, -1, 0)},
		&BytesFilter{Name: g.name(), Op: g.compare(), Value: g.Uint64() >> g.IntN(64)},
		&IPFilter{Name: g.name(), Op: pick(g, OpEqual, OpNotEqual), Range: "10.0.0.1-10.0.0.9"},
	)
}

func (g generator) grouping() *Grouping {
	if g.IntN(2) == 0 {
		return nil
	}
	return &Grouping{Without: g.IntN(2) == 0, Names: g.names()}
}

func (g generator) expr(depth int) Expr {
	if g.IntN(4) == 0 {
		return g.log()
	}
	return g.metric(depth)
}

func (g generator) metric(depth int) MetricExpr {
	if depth == 0 {
		return pick[MetricExpr](g, &Vector{Value: math.Abs(g.number())}, g.rangeAggregation())
	}
	switch g.IntN(4) {
	case 0:
		return g.rangeAggregation()
	case 1:
		return &LabelReplace{
			Inner: g.metric(depth - 1), Destination: g.text(), Replacement: g.text(), Source: g.text(), Regex: "(.*)",
		}
	case 2:
		e := &VectorAggregation{Op: VectorOp(g.IntN(int(VectorApproxTopK) + 1)), Inner: g.metric(depth - 1)}
		if e.Op != VectorSort && e.Op != VectorSortDesc {
			e.Grouping = g.grouping()
		}
		if e.Op.NeedsParam() {
			e.Param = 1 + g.IntN(100)
		}
		return e
	default:
		e := &Binary{Op: BinaryOp(g.IntN(int(BinLessEqual) + 1)), Left: g.metric(depth - 1), Right: g.metric(depth - 1)}
		if !e.Op.IsSet() && g.IntN(4) == 0 {
			e.Right = &Literal{Value: pick(g, g.number(), math.NaN(), math.Inf(1), math.Inf(-1))}
		}
		e.ReturnBool = e.Op.IsComparison() && g.IntN(2) == 0
		if g.IntN(2) == 0 {
			e.Matching = &VectorMatching{On: g.IntN(2) == 0, Labels: g.names()}
			if !e.Op.IsSet() && g.IntN(2) == 0 {
				e.Matching.Card, e.Matching.Include = pick(g, ManyToOne, OneToMany), g.names()
			}
		}
		return e
	}
}

func (g generator) rangeAggregation() *RangeAggregation {
	e := &RangeAggregation{
		Op: RangeOp(g.IntN(int(RangeRateCounter) + 1)), Log: g.log(),
		Range:  g.duration().Truncate(time.Millisecond),
		Offset: g.duration() * pick[time.Duration](g, 1, -1, 0),
	}
	if e.Op.NeedsUnwrap() || e.Op.AllowsUnwrap() && g.IntN(2) == 0 {
		e.Unwrap = &Unwrap{Label: g.name(), Convert: UnwrapFunc(g.IntN(4))}
		for range g.IntN(3) {
			e.Unwrap.Filters = append(e.Unwrap.Filters, g.filter(2))
		}
	}
	if e.Op == RangeQuantile {
		e.Param = math.Abs(g.number())
	}
	if e.Op.AllowsGrouping() {
		e.Grouping = g.grouping()
	}
	return e
}
