package syntax

import "github.com/prometheus/prometheus/model/labels"

// Walk calls f for node and, where f returned true, for all below it in the order of the query:
// operands, the log query, stages, label filters and unwrap. Behind the children of a node f is
// called with nil, as ast.Inspect of the standard library does; the result is ignored then.
func Walk(node Node, f func(Node) bool) {
	if !f(node) {
		return
	}
	switch n := node.(type) {
	case *LogExpr:
		for _, s := range n.Stages {
			Walk(s, f)
		}
	case *RangeAggregation:
		Walk(n.Log, f)
		if n.Unwrap != nil {
			Walk(n.Unwrap, f)
		}
	case *VectorAggregation:
		Walk(n.Inner, f)
	case *Binary:
		Walk(n.Left, f)
		Walk(n.Right, f)
	case *LabelReplace:
		Walk(n.Inner, f)
	case *LabelFilterStage:
		Walk(n.Filter, f)
	case *AndFilter:
		Walk(n.Left, f)
		Walk(n.Right, f)
	case *OrFilter:
		Walk(n.Left, f)
		Walk(n.Right, f)
	case *Unwrap:
		for _, l := range n.Filters {
			Walk(l, f)
		}
	}
	f(nil)
}

// Matchers returns the matchers of each selector in e, in the order of the query.
func Matchers(e Expr) [][]*labels.Matcher {
	var all [][]*labels.Matcher
	Walk(e, func(n Node) bool {
		if log, ok := n.(*LogExpr); ok {
			all = append(all, log.Matchers)
			return false
		}
		return true
	})
	return all
}

// Rewrite returns e with each expression replaced by what f makes of it, operands before those that
// use them. f returns its argument or a new node, which it may make of a copy; it must not change its
// argument. What f leaves alone is shared between e and the result. A log query must stay a *LogExpr
// and a metric query a MetricExpr, else Rewrite panics.
func Rewrite(e Expr, f func(Expr) Expr) Expr {
	metric := func(m MetricExpr) MetricExpr { return Rewrite(m, f).(MetricExpr) }
	switch n := e.(type) {
	case *RangeAggregation:
		if log := Rewrite(n.Log, f).(*LogExpr); log != n.Log {
			c := *n
			c.Log = log
			e = &c
		}
	case *VectorAggregation:
		if inner := metric(n.Inner); inner != n.Inner {
			c := *n
			c.Inner = inner
			e = &c
		}
	case *LabelReplace:
		if inner := metric(n.Inner); inner != n.Inner {
			c := *n
			c.Inner = inner
			e = &c
		}
	case *Binary:
		left, right := metric(n.Left), metric(n.Right)
		if left != n.Left || right != n.Right {
			c := *n
			c.Left, c.Right = left, right
			e = &c
		}
	}
	return f(e)
}
