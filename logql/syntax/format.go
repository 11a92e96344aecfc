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

// indent begins a line.
func (f *formatter) indent(level int) {
	f.WriteString(strings.Repeat("  ", level))
}

// expr writes e at a level, the first line included.
func (f *formatter) expr(e Expr, level int) {
	f.indent(level)
	line := e.String()
	if len(line) <= maxLine {
		f.WriteString(line)
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
	case *Binary:
		f.side(e.Left, level+1)
		f.newline(level)
		f.binaryOp(e)
		f.WriteByte('\n')
		f.side(e.Right, level+1)
	case *LabelReplace:
		f.WriteString("label_replace(\n")
		f.expr(e.Inner, level+1)
		f.replaceTail(e)
	default:
		f.WriteString(line)
	}
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

// side writes an operand of a binary operator. One that is itself broken at its operator needs
// parentheses, which a line of its own has already.
func (f *formatter) side(e Expr, level int) {
	b, ok := e.(*Binary)
	if !ok || len(b.String()) <= maxLine {
		f.expr(e, level)
		return
	}
	f.indent(level)
	f.WriteString("(\n")
	f.expr(b, level+1)
	f.newline(level)
	f.WriteByte(')')
}
