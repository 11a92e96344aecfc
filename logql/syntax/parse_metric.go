package syntax

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// expr reads an expression whose binary operators all bind tighter than min.
func (p *parser) expr(min int) Expr {
	p.enter()
	defer p.leave()
	left := p.operand()
	for {
		op, ok := p.binaryOp()
		if !ok || op.precedence() <= min {
			return left
		}
		tok := p.advance()
		b := &Binary{Pos: left.Position(), Op: op}
		p.modifiers(b)
		prec := op.precedence()
		if op == BinPow {
			prec-- // right-associative
		}
		right := p.expr(prec)
		left = p.binary(tok, b, left, right)
	}
}

// binaryOp returns the operator that comes next.
func (p *parser) binaryOp() (BinaryOp, bool) {
	if p.tok.kind != tokOp && p.tok.kind != tokKeyword {
		return 0, false
	}
	switch p.tok.text {
	case "or":
		return BinOr, true
	case "and":
		return BinAnd, true
	case "unless":
		return BinUnless, true
	case "+":
		return BinAdd, true
	case "-":
		return BinSub, true
	case "*":
		return BinMul, true
	case "/":
		return BinDiv, true
	case "%":
		return BinMod, true
	case "^":
		return BinPow, true
	case "==":
		return BinEqual, true
	case "!=":
		return BinNotEqual, true
	case ">":
		return BinGreater, true
	case ">=":
		return BinGreaterEqual, true
	case "<":
		return BinLess, true
	case "<=":
		return BinLessEqual, true
	}
	return 0, false
}

// modifiers reads bool, on or ignoring, group_left or group_right. Loki accepts bool and groups where
// they mean nothing; they are dropped there.
func (p *parser) modifiers(b *Binary) {
	if p.acceptWord("bool") {
		b.ReturnBool = b.Op.IsComparison()
	}
	if !p.atWord("on") && !p.atWord("ignoring") {
		return
	}
	m := &VectorMatching{On: p.advance().text == "on"}
	m.Labels = p.list()
	b.Matching = m
	if !p.atWord("group_left") && !p.atWord("group_right") {
		return
	}
	card := ManyToOne
	if p.advance().text == "group_right" {
		card = OneToMany
	}
	var include []string
	if p.at("(") {
		include = p.list()
	}
	if !b.Op.IsSet() {
		m.Card, m.Include = card, include
	}
}

// binary completes b, or does the arithmetic if both sides are numbers.
func (p *parser) binary(op token, b *Binary, left, right Expr) Expr {
	var ok bool
	hint := "put a range function such as rate(...[5m]) around the log query"
	if b.Left, ok = left.(MetricExpr); !ok {
		p.fail(Pos(op.pos), hint, "unexpected type for left leg of binary operation (%s): log query", b.Op)
	}
	if b.Right, ok = right.(MetricExpr); !ok {
		p.fail(Pos(op.pos), hint, "unexpected type for right leg of binary operation (%s): log query", b.Op)
	}
	l, lit := left.(*Literal)
	r, rit := right.(*Literal)
	if b.Op.IsSet() {
		hint := "write vector(5) for a series of a number"
		if lit {
			p.fail(l.Pos, hint, "unexpected literal for left leg of logical/set binary operation (%s): %f", b.Op, l.Value)
		}
		if rit {
			p.fail(r.Pos, hint, "unexpected literal for right leg of logical/set binary operation (%s): %f", b.Op, r.Value)
		}
	}
	if lit && rit {
		return &Literal{Pos: l.Pos, Value: b.Op.Apply(l.Value, r.Value)}
	}
	return b
}

// Apply does the arithmetic of an operator: comparisons give 1 or 0, division and modulo by zero
// NaN. It must not be called for set operators.
func (o BinaryOp) Apply(l, r float64) float64 {
	truth := false
	switch o {
	case BinAdd:
		return l + r
	case BinSub:
		return l - r
	case BinMul:
		return l * r
	case BinDiv:
		if r == 0 {
			return math.NaN()
		}
		return l / r
	case BinMod:
		if r == 0 {
			return math.NaN()
		}
		return math.Mod(l, r)
	case BinPow:
		return math.Pow(l, r)
	case BinEqual:
		truth = l == r
	case BinNotEqual:
		truth = l != r
	case BinGreater:
		truth = l > r
	case BinGreaterEqual:
		truth = l >= r
	case BinLess:
		truth = l < r
	case BinLessEqual:
		truth = l <= r
	}
	if truth {
		return 1
	}
	return 0
}

// operand reads what stands between binary operators.
func (p *parser) operand() Expr {
	switch {
	case p.at("{"):
		return p.log()
	case p.at("("):
		p.expect("(", "")
		e := p.expr(0)
		p.closeCall()
		return e
	case p.tok.kind == tokNumber, p.at("-"), p.at("+"):
		return p.literal()
	case p.tok.kind == tokFunc:
		name := p.tok.text
		if op, ok := rangeOps[name]; ok {
			return p.rangeAggregation(op)
		}
		if op, ok := vectorOps[name]; ok {
			return p.vectorAggregation(op)
		}
		switch name {
		case "vector":
			return p.vector()
		case "label_replace":
			return p.labelReplace()
		case "variants":
			p.fail(Pos(p.tok.pos), "run one query for each variant", "variants is not supported")
		}
	}
	p.noExpr()
	return nil
}

// noExpr throws the error for what begins no expression.
func (p *parser) noExpr() {
	hint := ""
	switch p.tok.kind {
	case tokIdent:
		hint = p.identHint()
	case tokKeyword:
		if p.tok.text == "group_left" || p.tok.text == "group_right" {
			hint = p.tok.text + " needs on or ignoring before it"
		}
	case tokOp:
		if strings.HasPrefix(p.tok.text, "|") || strings.HasPrefix(p.tok.text, "!") {
			hint = `a query begins with a selector such as {app="api"}`
		}
	case tokString:
		hint = `search with a selector and a line filter: {app="api"} |= "text"`
	case tokEnd:
		if p.tok.pos == blankEnd(p.query, 0) {
			hint = `the query is empty; the shortest ones look like {app="api"}`
		}
	}
	p.unexpected(hint)
}

func (p *parser) identHint() string {
	word := strings.ToLower(p.tok.text)
	if _, ok := vectorOps[word]; ok {
		return word + ` is written as ` + word + ` by (label) (...)`
	}
	if isFunction(word) {
		return "functions are followed by parentheses"
	}
	switch word {
	case "increase", "irate", "delta", "idelta", "changes", "resets", "deriv":
		return word + " is PromQL; LogQL has rate, rate_counter and count_over_time"
	case "quantile":
		return "LogQL has quantile_over_time"
	case "count_values", "group", "abs", "ceil", "floor", "round", "histogram_quantile", "time":
		return word + " is PromQL and not part of LogQL"
	}
	if at := blankEnd(p.query, p.tok.end); at < len(p.query) {
		switch p.query[at] {
		case '(':
			return "there is no function " + p.tok.text
		case '=', '!':
			return "put the selector in braces: {" + p.tok.text + `="..."}`
		}
	}
	return `a query begins with a selector such as {app="api"}`
}

// closeCall reads the ")" of a function or a parenthesised expression.
func (p *parser) closeCall() {
	if !p.at(")") {
		hint := ""
		if p.tok.kind == tokEnd {
			hint = `close the parenthesis with ")"`
		}
		p.unexpected(hint, ")")
	}
	p.advance()
}

// literal reads a number with or without a sign.
func (p *parser) literal() *Literal {
	e := &Literal{Pos: Pos(p.tok.pos)}
	negative := p.at("-")
	if negative || p.at("+") {
		p.advance()
		if p.tok.kind != tokNumber {
			p.unexpected("only numbers have a sign; write -1 * (...)", "NUMBER")
		}
	}
	e.Value = p.advance().num
	if negative {
		e.Value = -e.Value
	}
	return e
}

func (p *parser) vector() *Vector {
	e := &Vector{Pos: Pos(p.advance().pos)}
	p.expect("(", "")
	if p.tok.kind != tokNumber {
		hint := ""
		if p.at("-") {
			hint = "write -1 * vector(...)"
		}
		p.unexpected(hint, "NUMBER")
	}
	e.Value = p.advance().num
	p.expect(")", "")
	return e
}

func (p *parser) labelReplace() *LabelReplace {
	e := &LabelReplace{Pos: Pos(p.advance().pos)}
	p.expect("(", "")
	e.Inner = p.metric("label_replace")
	argument := func() string {
		p.expect(",", "label_replace(metric, destination, replacement, source, regex)")
		return p.str()
	}
	e.Destination, e.Replacement, e.Source, e.Regex = argument(), argument(), argument(), argument()
	p.closeCall()
	if err := p.checkRegexp("^(?:" + e.Regex + ")$"); err != nil {
		p.fail(e.Pos, regexpHint(err), "invalid regex in label_replace: %v", err)
	}
	return e
}

// metric reads the metric query that the function name works on.
func (p *parser) metric(name string) MetricExpr {
	e := p.expr(0)
	m, ok := e.(MetricExpr)
	if !ok {
		p.unexpected(fmt.Sprintf("%s works on a metric query: put a range function such as rate(...[5m]) around the log query", name))
	}
	if _, ok := e.(*Literal); ok {
		p.fail(e.Position(), "write vector(1) for a series of a number", "%s works on series, not on a number", name)
	}
	return m
}

func (p *parser) vectorAggregation(op VectorOp) *VectorAggregation {
	e := &VectorAggregation{Pos: Pos(p.advance().pos), Op: op}
	if p.atWord("by") || p.atWord("without") {
		e.Grouping = p.grouping()
	}
	p.expect("(", "")
	p.param(e)
	e.Inner = p.metric(op.String())
	p.closeCall()
	if e.Grouping == nil && (p.atWord("by") || p.atWord("without")) {
		e.Grouping = p.grouping()
	}
	if e.Grouping != nil && (op == VectorSort || op == VectorSortDesc) {
		p.fail(e.Pos, "sort orders all series", "sort and sort_desc doesn't allow grouping by")
	}
	return e
}

// param reads the k of topk and its like.
func (p *parser) param(e *VectorAggregation) {
	given := false
	if p.tok.kind == tokNumber {
		at := blankEnd(p.query, p.tok.end)
		given = at < len(p.query) && p.query[at] == ','
	}
	name := e.Op.String()
	if !given {
		if e.Op.NeedsParam() && p.tok.kind != tokString && !p.at("-") {
			p.fail(e.Pos, fmt.Sprintf("write %s(10, ...)", name), "parameter required for operation %s", name)
		}
		if e.Op.NeedsParam() {
			p.unexpected("the parameter is a whole number above 0", "NUMBER")
		}
		return
	}
	tok := p.advance()
	text := p.query[tok.pos:tok.end]
	p.advance()
	if !e.Op.NeedsParam() {
		p.fail(Pos(tok.pos), "", "unsupported parameter for operation %s(%s,", name, text)
	}
	k, err := strconv.Atoi(text)
	if err != nil {
		p.fail(Pos(tok.pos), "it must be a whole number", "invalid parameter %s(%s,", name, text)
	}
	if k <= 0 {
		p.fail(Pos(tok.pos), "", "invalid parameter (must be greater than 0) %s(%s", name, text)
	}
	e.Param = k
}

// grouping reads by (...) or without (...).
func (p *parser) grouping() *Grouping {
	g := &Grouping{Without: p.advance().text == "without"}
	g.Names = p.list()
	return g
}

func (p *parser) rangeAggregation(op RangeOp) *RangeAggregation {
	e := &RangeAggregation{Pos: Pos(p.advance().pos), Op: op}
	if p.atWord("by") || p.atWord("without") {
		p.unexpected(fmt.Sprintf("write %s(...) by (...)", op), "(")
	}
	p.expect("(", "")
	given := false
	if p.tok.kind == tokNumber {
		tok := p.advance()
		if !p.at(",") {
			p.unexpected(op.String()+` works on a range of a log query, such as {app="api"}[5m]`, ",")
		}
		p.advance()
		if op != RangeQuantile {
			p.fail(Pos(tok.pos), "", "parameter %s not supported for operation %s", p.query[tok.pos:tok.end], op)
		}
		e.Param = tok.num
		given = true
	}
	p.logRange(e)
	p.closeCall()
	if op == RangeQuantile && !given {
		p.fail(e.Pos, "write quantile_over_time(0.99, ...)", "parameter required for operation %s", op)
	}
	if p.atWord("by") || p.atWord("without") {
		pos := p.tok.pos
		e.Grouping = p.grouping()
		if !op.AllowsGrouping() {
			p.fail(Pos(pos), fmt.Sprintf("write sum by (...) (%s(...))", op), "grouping not allowed for %s aggregation", op)
		}
	}
	switch {
	case e.Unwrap == nil && op.NeedsUnwrap():
		p.fail(e.Pos, "add | unwrap LABEL before the range", "invalid aggregation %s without unwrap", op)
	case e.Unwrap != nil && !op.AllowsUnwrap():
		p.fail(e.Unwrap.Pos, "use sum_over_time, rate and others with unwrap", "invalid aggregation %s with unwrap", op)
	}
	return e
}

// logRange reads a log query with its range, which stands before or after the pipeline.
func (p *parser) logRange(e *RangeAggregation) {
	if !p.rangePart(e) {
		hint := ""
		if p.at(")") {
			hint = "add a range such as [5m]"
		}
		p.unexpected(hint, "RANGE", "|")
	}
}

// rangePart is logRange where the range may be missing. It tells whether it is there.
func (p *parser) rangePart(e *RangeAggregation) bool {
	p.enter()
	defer p.leave()
	ranged := false
	switch {
	case p.at("{"):
		e.Log = p.selector()
		e.Log.Stages = p.pipeline(&e.Unwrap)
	case p.at("("):
		p.expect("(", "")
		ranged = p.rangePart(e)
		p.closeCall()
	default:
		hint := ""
		switch p.tok.kind {
		case tokFunc:
			hint = e.Op.String() + " works on a log query; LogQL has no subqueries"
		case tokOp:
			if p.at("-") {
				hint = "the parameter must not be negative"
			}
		}
		if e.Op == RangeQuantile {
			p.unexpected(hint, "NUMBER", "{", "(")
		}
		p.unexpected(hint, "{", "(")
	}
	if p.tok.kind != tokRange || ranged {
		return ranged
	}
	e.Range = p.advance().dur
	if p.acceptWord("offset") {
		e.Offset = p.offset()
	}
	if len(e.Log.Stages) == 0 && e.Unwrap == nil {
		e.Log.Stages = p.pipeline(&e.Unwrap)
	}
	return true
}

func (p *parser) offset() time.Duration {
	negative := p.accept("-")
	if p.tok.kind != tokDuration {
		p.unexpected("write offset 1h", "DURATION")
	}
	d := p.advance().dur
	if negative {
		return -d
	}
	return d
}
