package logql

import (
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

// binary evaluates an operation between two values.
func (ev *evaluator) binary(ctx context.Context, e *syntax.Binary, left, right value) (value, error) {
	set := e.Op == syntax.BinAnd || e.Op == syntax.BinOr || e.Op == syntax.BinUnless
	switch {
	case set && (left.scalar || right.scalar):
		return value{}, queryErrorf(KindParams, "%s works on series; one side is a number", e.Op)
	case left.scalar && right.scalar:
		v, keep := operate(e.Op, left.number, right.number)
		if isComparison(e.Op) {
			v = float64(boolToInt(keep))
		}
		return value{scalar: true, number: v}, nil
	case left.scalar:
		return mapPoints(right, func(v float64) (float64, bool) {
			return operateWith(e, left.number, v, v)
		}), nil
	case right.scalar:
		return mapPoints(left, func(v float64) (float64, bool) {
			return operateWith(e, v, right.number, v)
		}), nil
	}
	m := syntax.VectorMatching{}
	if e.Matching != nil {
		m = *e.Matching
	}
	pairs := pairUp(&m, left.series, right.series)
	var out *collector
	var err error
	if set {
		out, err = ev.setOperation(ctx, e.Op, pairs)
	} else {
		out, err = ev.matched(ctx, e, &m, pairs)
	}
	if err != nil {
		return value{}, err
	}
	return value{series: out.all}, nil
}

func isComparison(op syntax.BinaryOp) bool { return op >= syntax.BinEqual && op <= syntax.BinLessEqual }

// operate computes a op b; for a comparison it returns a, and keep tells whether it holds.
func operate(op syntax.BinaryOp, a, b float64) (v float64, keep bool) {
	switch op {
	case syntax.BinAdd:
		return a + b, true
	case syntax.BinSub:
		return a - b, true
	case syntax.BinMul:
		return a * b, true
	case syntax.BinDiv:
		if b == 0 {
			return math.NaN(), true
		}
		return a / b, true
	case syntax.BinMod:
		if b == 0 {
			return math.NaN(), true
		}
		return math.Mod(a, b), true
	case syntax.BinPow:
		return math.Pow(a, b), true
	case syntax.BinEqual:
		return a, a == b
	case syntax.BinNotEqual:
		return a, a != b
	case syntax.BinGreater:
		return a, a > b
	case syntax.BinGreaterEqual:
		return a, a >= b
	case syntax.BinLess:
		return a, a < b
	case syntax.BinLessEqual:
		return a, a <= b
	}
	return math.NaN(), true
}

// operateWith computes a op b for a point; a comparison that holds gives kept, or with bool it gives
// 1 or 0 at every point.
func operateWith(e *syntax.Binary, a, b, kept float64) (v float64, keep bool) {
	v, keep = operate(e.Op, a, b)
	switch {
	case !isComparison(e.Op):
		return v, true
	case e.ReturnBool:
		return float64(boolToInt(keep)), true
	default:
		return kept, keep
	}
}

// mapPoints applies f to each point and drops those that it does not keep.
func mapPoints(in value, f func(float64) (float64, bool)) value {
	out := value{ordered: in.ordered}
	for _, s := range in.series {
		points := make([]point, 0, len(s.points))
		for _, p := range s.points {
			if v, keep := f(p.value); keep {
				points = append(points, point{p.index, v})
			}
		}
		if len(points) > 0 {
			out.series = append(out.series, series{labels: s.labels, points: points})
		}
	}
	return out
}

// pair is the series of both sides that match each other.
type pair struct {
	key         labels.Labels
	left, right []series
}

// pairUp sorts series by the labels that must be equal.
func pairUp(m *syntax.VectorMatching, left, right []series) []pair {
	ids := newLabelSet()
	b := labels.NewBuilder(labels.EmptyLabels())
	var pairs []pair
	at := func(ls labels.Labels) *pair {
		id, added := ids.id(matchKey(b, m, ls))
		if added {
			pairs = append(pairs, pair{key: ids.all[id]})
		}
		return &pairs[id]
	}
	for _, s := range left {
		p := at(s.labels)
		p.left = append(p.left, s)
	}
	for _, s := range right {
		p := at(s.labels)
		p.right = append(p.right, s)
	}
	return pairs
}

// matchKey returns the labels by which a series is matched.
func matchKey(b *labels.Builder, m *syntax.VectorMatching, ls labels.Labels) labels.Labels {
	b.Reset(ls)
	if m.On {
		b.Keep(m.Labels...)
	} else {
		b.Del(m.Labels...)
	}
	return b.Labels()
}

// setOperation evaluates and, or, unless.
func (ev *evaluator) setOperation(ctx context.Context, op syntax.BinaryOp, pairs []pair) (*collector, error) {
	out := newCollector(ev)
	there := make([]bool, ev.points()) // whether the other side has a point
	keep := func(all []series, want bool) error {
		for _, s := range all {
			var points []point
			for _, p := range s.points {
				if there[p.index] == want {
					points = append(points, p)
				}
			}
			if err := out.add(s.labels, points); err != nil {
				return err
			}
		}
		return nil
	}
	mark := func(all []series) {
		clear(there)
		for _, s := range all {
			for _, p := range s.points {
				there[p.index] = true
			}
		}
	}
	for _, p := range pairs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		var err error
		switch op {
		case syntax.BinAnd:
			mark(p.right)
			err = keep(p.left, true)
		case syntax.BinUnless:
			mark(p.right)
			err = keep(p.left, false)
		default:
			clear(there)
			if err = keep(p.left, false); err == nil {
				mark(p.left)
				err = keep(p.right, false)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// matched evaluates arithmetic and comparisons between series.
func (ev *evaluator) matched(ctx context.Context, e *syntax.Binary, m *syntax.VectorMatching, pairs []pair) (*collector, error) {
	out := newCollector(ev)
	one := make([]float64, ev.points()) // values of the side that has one series
	from := make([]int, ev.points())    // the series they are of, from 1; 0: none
	used := make([]bool, ev.points())
	for _, p := range pairs {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		many, single, side := p.left, p.right, "right"
		if m.Card == syntax.OneToMany {
			many, single, side = p.right, p.left, "left"
		}
		clear(from)
		clear(used)
		for i, s := range single {
			for _, pt := range s.points {
				if from[pt.index] != 0 {
					return nil, queryErrorf(KindMatching, "found duplicate series for the match group %s on the %s hand-side of the operation: [%s, %s]; "+
						"many-to-many matching not allowed: matching labels must be unique on one side",
						p.key, side, single[from[pt.index]-1].labels, s.labels)
				}
				from[pt.index], one[pt.index] = i+1, pt.value
			}
		}
		for _, s := range many {
			// The series that each stretch of points is matched with decides its labels.
			var points []point
			with := 0
			flush := func() error {
				if with == 0 || len(points) == 0 {
					return nil
				}
				err := out.add(resultLabels(m, p.key, s.labels, single[with-1].labels), points)
				points = nil
				return err
			}
			for _, pt := range s.points {
				j := from[pt.index]
				if j == 0 {
					continue
				}
				if m.Card == syntax.OneToOne {
					if used[pt.index] {
						return nil, queryErrorf(KindMatching, "multiple matches for labels %s: many-to-one matching must be explicit (group_left/group_right)", p.key)
					}
					used[pt.index] = true
				}
				if j != with {
					if err := flush(); err != nil {
						return nil, err
					}
					with = j
				}
				a, b := pt.value, one[pt.index]
				if m.Card == syntax.OneToMany {
					a, b = b, a
				}
				if v, keep := operateWith(e, a, b, a); keep {
					points = append(points, point{pt.index, v})
				}
			}
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// resultLabels returns the labels of the result of two series: those that matched, or with group_left
// and group_right those of the "many" side and the included ones of the other.
func resultLabels(m *syntax.VectorMatching, key, many, one labels.Labels) labels.Labels {
	if m.Card == syntax.OneToOne {
		return key
	}
	b := labels.NewBuilder(many)
	for _, name := range m.Include {
		if v := one.Get(name); v != "" {
			b.Set(name, v)
		} else {
			b.Del(name)
		}
	}
	return b.Labels()
}

// collector gathers points into series with different labels.
type collector struct {
	ev  *evaluator
	ids *labelSet
	all []series
}

func newCollector(ev *evaluator) *collector { return &collector{ev: ev, ids: newLabelSet()} }

// add adds points to the series with the labels. It fails if there are two at one time.
func (c *collector) add(ls labels.Labels, points []point) error {
	if len(points) == 0 {
		return nil
	}
	if err := c.ev.budget.take(seriesSize(ls)+int64(len(points))*pointSize, "points"); err != nil {
		return err
	}
	id, added := c.ids.id(ls)
	if added {
		c.all = append(c.all, series{labels: ls, points: points})
		return nil
	}
	s := &c.all[id]
	joined := append(slices.Clone(s.points), points...)
	slices.SortFunc(joined, func(a, b point) int { return a.index - b.index })
	for i := 1; i < len(joined); i++ {
		if joined[i].index == joined[i-1].index {
			return queryErrorf(KindMatching, "the operation gives several series with the labels %s: "+
				"grouping labels must ensure unique matches", ls)
		}
	}
	s.points = joined
	return nil
}
