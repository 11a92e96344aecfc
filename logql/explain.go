package logql

import (
	"fmt"
	"strings"
	"time"

	"example.com/loki/logql/syntax"
)

// Explain plans a query and describes the plan: see Plan.String. Errors are those of NewPlan.
func Explain(p Params) (string, error) {
	plan, err := NewPlan(p)
	if err != nil {
		return "", err
	}
	return plan.String(), nil
}

// String describes the plan for people: the tree of what is evaluated after the merge, with its leaves,
// and for each leaf what is asked of the source, how rows are grouped and what is kept of them. The
// text may change between versions.
func (p *Plan) String() string { return p.Report(nil) }

// Report describes the plan as String does and adds to each leaf what its tasks have read and kept, of
// which partials has one list for each leaf.
func (p *Plan) Report(partials [][]*Partial) string {
	var b strings.Builder
	if len(p.times) == 1 && p.Params.Step == 0 {
		fmt.Fprintf(&b, "instant query at %s\n", clock(p.times[0]))
	} else if len(p.times) > 0 {
		fmt.Fprintf(&b, "range query, %d points from %s every %s\n", len(p.times), clock(p.times[0]), p.Params.Step)
	} else {
		fmt.Fprintf(&b, "log query, %s, limit %s", p.Params.Direction, orNone(p.Params.Limit))
		if p.Params.Interval > 0 {
			fmt.Fprintf(&b, ", interval %s", p.Params.Interval)
		}
		b.WriteByte('\n')
	}
	p.describe(&b, p.Expr, 1)
	for i := range p.leaves {
		p.describeLeaf(&b, i)
		if i < len(partials) {
			describeRun(&b, partials[i])
		}
	}
	return b.String()
}

// describeRun prints what the tasks of a leaf have cost and found.
func describeRun(b *strings.Builder, partials []*Partial) {
	var sum Stats
	var took time.Duration
	entries, series, cells, samples := 0, 0, 0, 0
	for _, part := range partials {
		if part == nil {
			continue
		}
		sum.Add(part.Stats)
		took += part.Stats.ExecTime
		entries += len(part.entries)
		series += len(part.series)
		for i := range part.series {
			cells += len(part.series[i].cells)
			samples += len(part.series[i].samples)
		}
	}
	fmt.Fprintf(b, "  ran as %d tasks in %s together\n", sum.Tasks, took)
	fmt.Fprintf(b, "  read %d of %d pages, %d rows of %d streams, %d bytes of lines\n", sum.PagesRead, sum.PagesTotal, sum.Rows, sum.Streams, sum.LineBytes)
	fmt.Fprintf(b, "  kept %d rows", sum.RowsKept)
	switch {
	case entries > 0:
		fmt.Fprintf(b, ", of which %d entries were returned", entries)
	case series > 0:
		fmt.Fprintf(b, " in %d series with %d cells and %d samples", series, cells, samples)
	}
	b.WriteByte('\n')
}

// describe prints what is evaluated above the leaves.
func (p *Plan) describe(b *strings.Builder, e syntax.Expr, depth int) {
	indent := strings.Repeat("  ", depth)
	if leaf, ok := p.leafOf[e]; ok {
		fmt.Fprintf(b, "%sleaf %d\n", indent, leaf)
		return
	}
	switch e := e.(type) {
	case *syntax.VectorAggregation:
		param := ""
		if e.Op.NeedsParam() {
			param = fmt.Sprintf(" %d", e.Param)
		}
		fmt.Fprintf(b, "%s%s%s%s\n", indent, e.Op, param, describeGrouping(e.Grouping))
		p.describe(b, e.Inner, depth+1)
	case *syntax.Binary:
		fmt.Fprintf(b, "%s%s\n", indent, e.Op)
		p.describe(b, e.Left, depth+1)
		p.describe(b, e.Right, depth+1)
	case *syntax.LabelReplace:
		fmt.Fprintf(b, "%slabel_replace to %s\n", indent, e.Destination)
		p.describe(b, e.Inner, depth+1)
	default:
		fmt.Fprintf(b, "%s%s\n", indent, e)
	}
}

func (p *Plan) describeLeaf(b *strings.Builder, i int) {
	leaf, lp := &p.Leaves[i], &p.leaves[i]
	fmt.Fprintf(b, "leaf %d: %s\n", i, lp.expr)
	req := p.request(i, leaf.Start, leaf.End)
	fmt.Fprintf(b, "  reads rows from %s to %s, %s, of streams with", clock(leaf.Start), clock(leaf.End), req.Direction)
	for _, m := range req.Matchers {
		fmt.Fprintf(b, " %s", m)
	}
	b.WriteByte('\n')
	for _, n := range req.Contains {
		fold := ""
		if n.FoldCase {
			fold = ", upper or lower case"
		}
		fmt.Fprintf(b, "  only pages that may hold %q%s\n", n.Text, fold)
	}
	for _, m := range req.Metadata {
		fmt.Fprintf(b, "  only pages that may hold metadata %s\n", m)
	}
	for _, s := range lp.log.Stages {
		fmt.Fprintf(b, "  stage %s\n", s)
	}
	if lp.agg == nil {
		return
	}
	if lp.agg.Unwrap != nil {
		fmt.Fprintf(b, "  stage %s\n", lp.agg.Unwrap)
	}
	fmt.Fprintf(b, "  groups%s\n", describeGrouping(&lp.group))
	if lp.push != nil {
		fmt.Fprintf(b, "  computes %s together with %s\n", lp.push.Op, lp.agg.Op)
	}
	if lp.counts {
		fmt.Fprintf(b, "  counts from times, line lengths and metadata; reads no line\n")
	}
	switch {
	case lp.fold == foldSamples:
		fmt.Fprintf(b, "  keeps every sample\n")
	case lp.windows.numbering == byEdge:
		fmt.Fprintf(b, "  keeps up to %d cells a series, cut at the edges of overlapping windows\n", lp.windows.count())
	default:
		fmt.Fprintf(b, "  keeps up to %d cells a series\n", lp.windows.count())
	}
}

func describeGrouping(g *syntax.Grouping) string {
	switch {
	case g == nil || !g.Without && len(g.Names) == 0:
		return " all in one"
	case g.Without && len(g.Names) == 0:
		return " by all labels"
	case g.Without:
		return " by all labels but " + strings.Join(g.Names, ", ")
	default:
		return " by " + strings.Join(g.Names, ", ")
	}
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format(time.RFC3339Nano) }

func orNone(n int) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprint(n)
}
