package syntax

import "strings"

// maxLine is how long, in bytes, the one-line form may be before Format breaks it.
const maxLine = 100

// Format prints an expression for people, as the format_query endpoint does: in one line if it is
// short, else with a line for each stage, operator and argument. It parses to the same expression.
func Format(e Expr) string {
	var f formatter
	f.expr(e, 0)
	return f.String()
}

type formatter struct{ printer }

// indent begins a line. What nests very deeply isn't moved on to the right.
func (f *formatter) indent(level int) {
	f.WriteString(strings.Repeat("  ", min(level, 40)))
}

// expr writes e, each line of it at least at level. A binary operator that does not fit in a line
// stands on one of its own between its operands.
func (f *formatter) expr(e Expr, level int) {
	if b, ok := e.(*Binary); ok && !fits(e) {
		f.operand(b.Left, level+1)
		f.newline(level)
		f.binaryOp(b)
		f.WriteByte('\n')
		f.operand(b.Right, level+1)
		return
	}
	f.indent(level)
	if fits(e) {
		f.printer.expr(e)
		return
	}
	switch e := e.(type) {
	case *LogExpr:
		f.selector(e.Matchers)
		f.stages(e.Stages, level+1)
	case *RangeAggregation:
		f.words(e.Op.String(), "(\n")
		if e.Op == RangeQuantile {
			f.indent(level + 1)
			f.words(formatFloat(e.Param), ",\n")
		}
		f.indent(level + 1)
		f.selector(e.Log.Matchers)
		f.stages(e.Log.Stages, level+2)
		if e.Unwrap != nil {
			f.newline(level + 2)
			f.unwrap(e.Unwrap)
		}
		f.newline(level + 2)
		f.rangePart(e)
		f.newline(level)
		f.rangeEnd(e)
	case *VectorAggregation:
		f.vectorHead(e)
		f.WriteByte('\n')
		f.expr(e.Inner, level+1)
		f.newline(level)
		f.WriteByte(')')
	case *LabelReplace:
		f.WriteString("label_replace(\n")
		f.expr(e.Inner, level+1)
		f.replaceTail(e)
	default:
		f.printer.expr(e)
	}
}

// operand writes an operand of a broken binary operator. One that is broken at its own operator
// needs parentheses.
func (f *formatter) operand(e Expr, level int) {
	if _, ok := e.(*Binary); !ok || fits(e) {
		f.expr(e, level)
		return
	}
	f.indent(level)
	f.WriteString("(\n")
	f.expr(e, level+1)
	f.newline(level)
	f.WriteByte(')')
}

// fits tells that the one-line form of e is short enough.
func fits(e Expr) bool {
	size := 0
	Walk(e, func(n Node) bool {
		if n != nil {
			size++ // each node takes a byte at least
		}
		return size <= maxLine
	})
	return size <= maxLine && len(e.String()) <= maxLine
}

func (f *formatter) newline(level int) {
	f.WriteByte('\n')
	f.indent(level)
}

func (f *formatter) stages(stages []Stage, level int) {
	for _, s := range stages {
		f.newline(level)
		f.stage(s)
	}
}
