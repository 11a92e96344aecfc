package syntax

import (
	"math"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// printer appends nodes in the one-line form.
type printer struct {
	strings.Builder
}

func (p *printer) quote(s string) {
	var buf [64]byte
	p.Write(strconv.AppendQuote(buf[:0], s))
}

// words writes strings as they are.
func (p *printer) words(words ...string) {
	for _, w := range words {
		p.WriteString(w)
	}
}

func (p *printer) matcher(m *labels.Matcher) {
	p.words(m.Name, m.Type.String())
	p.quote(m.Value)
}

func (p *printer) selector(ms []*labels.Matcher) {
	p.WriteByte('{')
	for i, m := range ms {
		if i > 0 {
			p.WriteString(", ")
		}
		p.matcher(m)
	}
	p.WriteByte('}')
}

func (p *printer) names(names []string) {
	p.WriteByte('(')
	for i, n := range names {
		if i > 0 {
			p.WriteByte(',')
		}
		p.WriteString(n)
	}
	p.WriteByte(')')
}

func (p *printer) grouping(g *Grouping) {
	if g.Without {
		p.WriteString("without ")
	} else {
		p.WriteString("by ")
	}
	p.names(g.Names)
}

func (p *printer) expr(e Expr) {
	switch e := e.(type) {
	case *LogExpr:
		p.selector(e.Matchers)
		for _, s := range e.Stages {
			p.WriteByte(' ')
			p.stage(s)
		}
	case *RangeAggregation:
		p.rangeHead(e)
		p.expr(e.Log)
		if e.Unwrap != nil {
			p.WriteByte(' ')
			p.unwrap(e.Unwrap)
		}
		p.rangePart(e)
		p.rangeEnd(e)
	case *VectorAggregation:
		p.vectorHead(e)
		p.expr(e.Inner)
		p.WriteByte(')')
	case *Binary:
		p.WriteByte('(')
		p.expr(e.Left)
		p.WriteByte(' ')
		p.binaryOp(e)
		p.WriteByte(' ')
		p.expr(e.Right)
		p.WriteByte(')')
	case *Literal:
		p.literal(e.Value)
	case *Vector:
		p.words("vector(", formatVector(e.Value), ")")
	case *LabelReplace:
		p.WriteString("label_replace(")
		p.expr(e.Inner)
		p.replaceTail(e)
	}
}

// rangeHead writes a range aggregation up to its log query.
func (p *printer) rangeHead(e *RangeAggregation) {
	p.words(e.Op.String(), "(")
	if e.Op == RangeQuantile {
		p.words(formatFloat(e.Param), ",")
	}
}

func (p *printer) rangePart(e *RangeAggregation) {
	p.words("[", formatRange(e.Range), "]")
	if e.Offset != 0 {
		p.words(" offset ", e.Offset.String())
	}
}

func (p *printer) rangeEnd(e *RangeAggregation) {
	p.WriteByte(')')
	if e.Grouping != nil {
		p.WriteByte(' ')
		p.grouping(e.Grouping)
	}
}

// vectorHead writes a vector aggregation up to what it aggregates.
func (p *printer) vectorHead(e *VectorAggregation) {
	p.WriteString(e.Op.String())
	if e.Grouping != nil {
		p.WriteByte(' ')
		p.grouping(e.Grouping)
	}
	p.WriteByte('(')
	if e.Op.NeedsParam() {
		p.words(strconv.Itoa(e.Param), ",")
	}
}

// binaryOp writes a binary operator with its modifiers.
func (p *printer) binaryOp(e *Binary) {
	p.WriteString(e.Op.String())
	if e.ReturnBool {
		p.WriteString(" bool")
	}
	if m := e.Matching; m != nil {
		if m.On {
			p.WriteString(" on ")
		} else {
			p.WriteString(" ignoring ")
		}
		p.names(m.Labels)
		if m.Card != OneToOne {
			p.words(" ", m.Card.String())
			// A parenthesis behind group_left would be taken for the list of labels.
			if len(m.Include) > 0 || parenthesised(e.Right) {
				p.WriteByte(' ')
				p.names(m.Include)
			}
		}
	}
}

// parenthesised tells that e prints with a parenthesis first.
func parenthesised(e Expr) bool {
	switch e := e.(type) {
	case *Binary:
		return true
	case *Literal:
		return e.Value != e.Value || math.Abs(e.Value) > math.MaxFloat64
	}
	return false
}

// literal writes what parses to v. LogQL has no words for the special values, but arithmetic that
// yields them.
func (p *printer) literal(v float64) {
	switch {
	case v != v:
		p.WriteString("(0 / 0)")
	case v > math.MaxFloat64:
		p.WriteString("(10 ^ 999)")
	case v < -math.MaxFloat64:
		p.WriteString("(-10 ^ 999)")
	default:
		p.WriteString(formatFloat(v))
	}
}

// formatVector prints six decimals if that is exact.
func formatVector(v float64) string {
	s := strconv.FormatFloat(v, 'f', 6, 64)
	if back, err := strconv.ParseFloat(s, 64); err == nil && back == v {
		return s
	}
	return formatFloat(v)
}

func (p *printer) replaceTail(e *LabelReplace) {
	for _, s := range []string{e.Destination, e.Replacement, e.Source, e.Regex} {
		p.WriteByte(',')
		p.quote(s)
	}
	p.WriteByte(')')
}

func (p *printer) stage(s Stage) {
	if f, ok := s.(*LineFilter); ok {
		p.lineFilter(f)
		return
	}
	p.WriteString("| ")
	switch s := s.(type) {
	case *JSONStage:
		p.WriteString("json")
		p.extractions(s.Fields)
	case *LogfmtStage:
		p.WriteString("logfmt")
		if s.Strict {
			p.WriteString(" --strict")
		}
		if s.KeepEmpty {
			p.WriteString(" --keep-empty")
		}
		p.extractions(s.Fields)
	case *PatternStage:
		p.WriteString("pattern ")
		p.quote(s.Pattern)
	case *RegexpStage:
		p.WriteString("regexp ")
		p.quote(s.Regexp)
	case *UnpackStage:
		p.WriteString("unpack")
	case *DecolorizeStage:
		p.WriteString("decolorize")
	case *LineFormatStage:
		p.WriteString("line_format ")
		p.quote(s.Template)
	case *LabelFormatStage:
		p.WriteString("label_format ")
		for i, f := range s.Formats {
			if i > 0 {
				p.WriteByte(',')
			}
			p.words(f.Name, "=")
			if f.Rename != "" {
				p.WriteString(f.Rename)
			} else {
				p.quote(f.Template)
			}
		}
	case *LabelFilterStage:
		p.labelFilter(s.Filter)
	case *DropStage:
		p.WriteString("drop ")
		p.labelSelectors(s.Labels)
	case *KeepStage:
		p.WriteString("keep ")
		p.labelSelectors(s.Labels)
	}
}

func (p *printer) lineFilter(f *LineFilter) {
	p.words(f.Op.String(), " ")
	for i, o := range f.Operands {
		if i > 0 {
			p.WriteString(" or ")
		}
		if o.IP {
			p.ip(o.Text)
		} else {
			p.quote(o.Text)
		}
	}
}

func (p *printer) ip(text string) {
	p.WriteString("ip(")
	p.quote(text)
	p.WriteByte(')')
}

func (p *printer) extractions(list []Extraction) {
	for i, x := range list {
		if i > 0 {
			p.WriteByte(',')
		} else {
			p.WriteByte(' ')
		}
		p.words(x.Name, "=")
		p.quote(x.Expression)
	}
}

func (p *printer) labelSelectors(list []LabelSelector) {
	for i, s := range list {
		if i > 0 {
			p.WriteByte(',')
		}
		if s.Matcher != nil {
			p.matcher(s.Matcher)
		} else {
			p.WriteString(s.Name)
		}
	}
}

func (p *printer) unwrap(u *Unwrap) {
	p.WriteString("| unwrap ")
	if u.Convert == UnwrapNumber {
		p.WriteString(u.Label)
	} else {
		p.words(u.Convert.String(), "(", u.Label, ")")
	}
	for _, f := range u.Filters {
		p.WriteString(" | ")
		p.labelFilter(f)
	}
}

func (p *printer) labelFilter(f LabelFilter) {
	switch f := f.(type) {
	case *AndFilter:
		p.pair(f.Left, " , ", f.Right)
	case *OrFilter:
		p.pair(f.Left, " or ", f.Right)
	case *MatchFilter:
		p.matcher(f.Matcher)
	case *NumberFilter:
		p.words(f.Name, f.Op.String(), formatFloat(f.Value))
	case *DurationFilter:
		p.words(f.Name, f.Op.String(), f.Value.String())
	case *BytesFilter:
		p.words(f.Name, f.Op.String(), formatBytes(f.Value))
	case *IPFilter:
		op := "="
		if f.Op == OpNotEqual {
			op = "!="
		}
		p.words(f.Name, op)
		p.ip(f.Range)
	}
}

func (p *printer) pair(left LabelFilter, op string, right LabelFilter) {
	p.WriteString("( ")
	p.labelFilter(left)
	p.WriteString(op)
	p.labelFilter(right)
	p.WriteString(" )")
}

func printExpr(e Expr) string {
	var p printer
	p.expr(e)
	return p.Builder.String()
}

func printStage(s Stage) string {
	var p printer
	p.stage(s)
	return p.Builder.String()
}

func printFilter(f LabelFilter) string {
	var p printer
	p.labelFilter(f)
	return p.Builder.String()
}

// String prints the expression in one line of LogQL.
func (e *LogExpr) String() string { return printExpr(e) }

// String prints the expression in one line of LogQL.
func (e *RangeAggregation) String() string { return printExpr(e) }

// String prints the expression in one line of LogQL.
func (e *VectorAggregation) String() string { return printExpr(e) }

// String prints the expression in one line of LogQL.
func (e *Binary) String() string { return printExpr(e) }

// String prints the expression in one line of LogQL.
func (e *Literal) String() string { return printExpr(e) }

// String prints the expression in one line of LogQL.
func (e *Vector) String() string { return printExpr(e) }

// String prints the expression in one line of LogQL.
func (e *LabelReplace) String() string { return printExpr(e) }

// String prints the stage with its operator.
func (s *LineFilter) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *JSONStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *LogfmtStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *PatternStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *RegexpStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *UnpackStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *DecolorizeStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *LineFormatStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *LabelFormatStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *LabelFilterStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *DropStage) String() string { return printStage(s) }

// String prints the stage with its "|".
func (s *KeepStage) String() string { return printStage(s) }

// String prints the condition.
func (f *AndFilter) String() string { return printFilter(f) }

// String prints the condition.
func (f *OrFilter) String() string { return printFilter(f) }

// String prints the condition.
func (f *MatchFilter) String() string { return printFilter(f) }

// String prints the condition.
func (f *NumberFilter) String() string { return printFilter(f) }

// String prints the condition.
func (f *DurationFilter) String() string { return printFilter(f) }

// String prints the condition.
func (f *BytesFilter) String() string { return printFilter(f) }

// String prints the condition.
func (f *IPFilter) String() string { return printFilter(f) }

// String prints the unwrap and its filters with their "|".
func (u *Unwrap) String() string {
	var p printer
	p.unwrap(u)
	return p.Builder.String()
}
