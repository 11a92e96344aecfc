package logql

import (
	"errors"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/syntax"
)

// MaxPoints is the number of points that a series of a range query may have.
const MaxPoints = 11_000

// Plan is a query made ready: parsed, checked and cut into leaves. It is immutable; its methods may
// be called from several goroutines.
type Plan struct {
	Params Params
	Expr   syntax.Expr
	Leaves []Leaf

	leaves []leafPlan          // beside Leaves
	leafOf map[syntax.Expr]int // nodes that a leaf computes, and which
	times  []int64             // of the points of a metric query
}

// Leaf is a part of a query that reads rows: the log selection, or a range aggregation with the
// vector aggregation above it where that can be computed piecewise. Equal parts of a query share a
// leaf; a query of numbers alone has none.
type Leaf struct {
	Matchers   []*labels.Matcher
	Start, End int64 // rows with Start <= time < End are read
	// Ordered: the leaf is a limited log query. Its tasks should run one after another in the
	// direction of the query, so that later ones need not run at all: see Plan.Enough.
	Ordered bool
}

// leafPlan is what the executor needs to know of a leaf.
type leafPlan struct {
	expr     syntax.Expr               // all that the leaf computes
	log      *syntax.LogExpr           // what it reads
	agg      *syntax.RangeAggregation  // nil for a log selection
	push     *syntax.VectorAggregation // computed with agg; nil if there is none
	group    syntax.Grouping           // of the series
	pipeline *pipeline.Pipeline
	windows  windows
	fold     fold
	counts   bool // rows and bytes can be counted from columns, without the pipeline: see fastCounter

	// chooser is the pipeline of a limited log query that tells which rows pass and makes nothing of them: nil unless what is
	// stored beside the lines decides.
	chooser *pipeline.Pipeline

	// sifted is the pipeline of rows that passed the stages elsewhere: nil if stages also make what the
	// aggregation needs.
	sifted *pipeline.Pipeline
}

// NewPlan parses and plans a query. Errors are *syntax.ParseError or *QueryError: both are the
// user's to correct.
//
// A range query is evaluated at Start, Start+Step, … as far as End. That the HTTP API moves both to
// multiples of the step is its own doing, before it makes Params.
func NewPlan(params Params) (*Plan, error) {
	expr, err := syntax.Parse(params.Query)
	if err != nil {
		return nil, err
	}
	p := &Plan{Params: params, Expr: expr, leafOf: map[syntax.Expr]int{}}
	if log, ok := expr.(*syntax.LogExpr); ok {
		err = p.planLog(log)
	} else if m, ok := expr.(syntax.MetricExpr); ok {
		err = p.planMetric(m)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// planLog makes the one leaf of a log query.
func (p *Plan) planLog(log *syntax.LogExpr) error {
	switch q := p.Params; {
	case q.Start == q.End && q.Step == 0:
		return queryErrorf(KindInstantLog, "log queries are not supported as an instant query type, "+
			"please change your query to a range query type")
	case q.Start > q.End:
		return queryErrorf(KindParams, "the end of the query lies before its start")
	case q.Limit < 0:
		return queryErrorf(KindParams, "the limit is %d; it must be positive, or 0 for none", q.Limit)
	case q.Interval < 0:
		return queryErrorf(KindParams, "the interval is %s; it must not be negative", q.Interval)
	}
	lp := leafPlan{expr: log, log: log, group: syntax.Grouping{Without: true}}
	return p.addLeaf(lp, pipeline.Options{KeepLine: true, LazyGroup: true, Categorize: p.Params.Categorize, Group: lp.group},
		Leaf{Start: p.Params.Start, End: p.Params.End, Ordered: p.Params.Limit > 0})
}

// planMetric finds the leaves of a metric query.
func (p *Plan) planMetric(m syntax.MetricExpr) error {
	q := p.Params
	if q.Step < 0 {
		return queryErrorf(KindParams, "the step is %s; it must be positive, or 0 for an instant query", q.Step)
	}
	if q.Step == 0 {
		p.times = []int64{q.End}
		return p.visit(m)
	}
	if q.Start > q.End {
		return queryErrorf(KindParams, "the end of the query lies before its start")
	}
	// Two more than the user may ask for: the ends were moved to multiples of the step.
	steps := uint64(q.End-q.Start) / uint64(q.Step)
	if steps > MaxPoints+1 {
		return queryErrorf(KindPoints, "exceeded maximum resolution of 11,000 points per time series; "+
			"increase the step or take a shorter time range")
	}
	p.times = make([]int64, steps+1)
	for i := range p.times {
		p.times[i] = q.Start + int64(i)*int64(q.Step)
	}
	return p.visit(m)
}

func (p *Plan) visit(m syntax.MetricExpr) error {
	switch e := m.(type) {
	case *syntax.RangeAggregation:
		return p.planRange(e, e, nil)
	case *syntax.VectorAggregation:
		if agg, ok := e.Inner.(*syntax.RangeAggregation); ok && canPush(e, agg) {
			return p.planRange(e, agg, e)
		}
		return p.visit(e.Inner)
	case *syntax.Binary:
		if err := p.visit(e.Left); err != nil {
			return err
		}
		return p.visit(e.Right)
	case *syntax.LabelReplace:
		if _, err := replaceRegexp(e); err != nil {
			return err
		}
		return p.visit(e.Inner)
	}
	return nil
}

// canPush tells that aggregating rows by the groups of v at once gives the same as aggregating
// series of rows: sums of sums, smallest of smallest, greatest of greatest.
func canPush(v *syntax.VectorAggregation, agg *syntax.RangeAggregation) bool {
	if agg.Grouping != nil {
		return false
	}
	switch v.Op {
	case syntax.VectorSum:
		switch agg.Op {
		case syntax.RangeCount, syntax.RangeRate, syntax.RangeBytes, syntax.RangeBytesRate, syntax.RangeSum:
			return true
		}
	case syntax.VectorMin:
		return agg.Op == syntax.RangeMin
	case syntax.VectorMax:
		return agg.Op == syntax.RangeMax
	}
	return false
}

// planRange makes the leaf of a range aggregation, with the vector aggregation above it if push is
// not nil.
func (p *Plan) planRange(e syntax.MetricExpr, agg *syntax.RangeAggregation, push *syntax.VectorAggregation) error {
	lp := leafPlan{expr: e, log: agg.Log, agg: agg, push: push, fold: foldOf(agg.Op, agg.Unwrap != nil)}
	switch {
	case agg.Op == syntax.RangeAbsent: // only whether there is any row
	case push != nil && push.Grouping != nil:
		lp.group = *push.Grouping
	case push != nil: // all in one
	case agg.Grouping != nil:
		lp.group = *agg.Grouping
	default:
		lp.group = syntax.Grouping{Without: true}
	}
	lp.group.Names = slices.Compact(slices.Sorted(slices.Values(lp.group.Names)))
	if agg.Unwrap != nil {
		lp.group = withoutLabel(lp.group, agg.Unwrap.Label)
	}
	lp.windows = newWindows(addTime(p.times[0], -int64(agg.Offset)), p.Params.Step, len(p.times), agg.Range)

	leaf := Leaf{}
	leaf.Start, leaf.End = lp.windows.span()
	return p.addLeaf(lp, pipeline.Options{Unwrap: agg.Unwrap, Group: lp.group}, leaf)
}

// withoutLabel returns the grouping that never has the label: the unwrapped one is no label any more.
func withoutLabel(g syntax.Grouping, name string) syntax.Grouping {
	if g.Without {
		if !slices.Contains(g.Names, name) {
			g.Names = append(slices.Clone(g.Names), name)
		}
		return g
	}
	g.Names = slices.DeleteFunc(slices.Clone(g.Names), func(n string) bool { return n == name })
	return g
}

func (p *Plan) addLeaf(lp leafPlan, opts pipeline.Options, leaf Leaf) error {
	text := lp.expr.String()
	for i := range p.leaves {
		if p.leaves[i].expr.String() == text {
			p.leafOf[lp.expr] = i
			return nil
		}
	}
	pl, err := pipeline.Compile(lp.log.Stages, opts)
	if err != nil {
		return p.userError(err)
	}
	lp.pipeline = pl
	lp.counts = lp.agg != nil && lp.agg.Unwrap == nil && pl.Trivial()
	if lp.agg != nil && pl.OnlyFilters() {
		opts.SkipLength = !lp.lineBytes()
		if lp.sifted, err = pipeline.Compile(nil, opts); err != nil {
			return p.userError(err)
		}
	}
	if lp.agg == nil && p.Params.Limit > 0 && pl.SkipsLines() {
		if lp.chooser, err = pipeline.Compile(lp.log.Stages, pipeline.Options{LazyGroup: true, SkipLength: true}); err != nil {
			return p.userError(err)
		}
	}
	leaf.Matchers = lp.log.Matchers
	p.leafOf[lp.expr] = len(p.leaves)
	p.leaves = append(p.leaves, lp)
	p.Leaves = append(p.Leaves, leaf)
	return nil
}

// userError makes an error of compiling a query one of the kinds that NewPlan promises.
func (p *Plan) userError(err error) error {
	var parse *syntax.ParseError
	var query *QueryError
	switch {
	case errors.As(err, &parse):
		return parse.Locate(p.Params.Query)
	case errors.As(err, &query):
		return err
	}
	return &QueryError{Kind: KindQuery, Message: err.Error()}
}

// request returns what the leaf wants of a source for rows with from <= time < through.
func (p *Plan) request(leaf int, from, through int64) *SelectRequest {
	lp := &p.leaves[leaf]
	req := &SelectRequest{
		Matchers: lp.log.Matchers,
		Start:    from,
		End:      through,
		// What counts rows needs them in no order. The newest ones come first because they lie in the memory of
		// ingesters, which can't be given back while a query may still ask for it.
		Direction: Backward,
	}
	if lp.agg == nil {
		req.Direction = p.Params.Direction
	}
	req.Contains, req.Metadata = lp.pipeline.Hints()
	req.Query = lp.log.String()
	if lp.sifted != nil {
		req.Wants = lp.wants()
	}
	if lp.agg != nil {
		req.All = true
		if names, ok := lp.pipeline.StreamLabels(); ok {
			req.Project = &Projection{Names: names}
		}
	}
	return req
}

// wants says what the aggregation asks for of rows that were sifted.
func (lp *leafPlan) wants() *Wants {
	w := &Wants{Lengths: lp.lineBytes(), Metadata: lp.group.Without || lp.agg.Unwrap != nil}
	if !w.Metadata {
		for _, name := range lp.group.Names {
			w.Names = append(w.Names, name)
			if stored, ok := strings.CutSuffix(name, "_extracted"); ok {
				w.Names = append(w.Names, stored) // it goes by this name where the stream has it as a label
			}
		}
	}
	return w
}
