package logql

import (
	"context"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

// value is what a metric expression gives at all points of the query: a number, or series.
type value struct {
	scalar  bool
	number  float64
	series  []series
	ordered bool // of an instant query: the order of the series is part of the answer
}

// series has a label set of its own among those of a value, and the points where it exists,
// ascending.
type series struct {
	labels labels.Labels
	points []point
}

// point is a sample at the point of that index.
type point struct {
	index int
	value float64
}

// pointSize is the memory of a point.
const pointSize = 16

// evaluator computes what is left of a metric query when its leaves have been executed.
type evaluator struct {
	plan     *Plan
	partials [][]*Partial
	budget   *budget
	done     map[int][]series // leaves that have been computed
}

// points is the number of points of the query.
func (ev *evaluator) points() int { return len(ev.plan.times) }

// instant tells that the query has one point only because it is an instant query.
func (ev *evaluator) instant() bool { return ev.plan.Params.Step == 0 }

func (ev *evaluator) result(ctx context.Context, m syntax.MetricExpr, o Options) (*Result, error) {
	v, err := ev.eval(ctx, m)
	if err != nil {
		return nil, err
	}
	times := ev.plan.times
	if v.scalar {
		if ev.instant() {
			return &Result{Type: ResultScalar, Scalar: Point{Time: milliseconds(times[0]), Value: v.number}}, nil
		}
		v = ev.constant(v.number)
	}
	v.series = slices.DeleteFunc(v.series, func(s series) bool { return len(s.points) == 0 })
	if o.MaxSeries > 0 && len(v.series) > o.MaxSeries {
		return nil, errSeriesLimit(o.MaxSeries)
	}
	res := &Result{Type: ResultMatrix, Series: make([]SeriesResult, len(v.series))}
	if ev.instant() {
		res.Type = ResultVector
	}
	if !v.ordered {
		sortByLabels(v.series)
	}
	for i, s := range v.series {
		points := make([]Point, len(s.points))
		for j, p := range s.points {
			points[j] = Point{Time: milliseconds(times[p.index]), Value: p.value}
		}
		res.Series[i] = SeriesResult{Labels: s.labels, Points: points}
	}
	return res, nil
}

func milliseconds(ns int64) int64 { return ns / 1e6 }

func sortByLabels(all []series) {
	slices.SortFunc(all, func(a, b series) int { return labels.Compare(a.labels, b.labels) })
}

func (ev *evaluator) eval(ctx context.Context, m syntax.MetricExpr) (value, error) {
	if err := context.Cause(ctx); err != nil {
		return value{}, err
	}
	if leaf, ok := ev.plan.leafOf[m]; ok {
		if all, ok := ev.done[leaf]; ok {
			return value{series: slices.Clone(all)}, nil
		}
		all, err := ev.leaf(ctx, leaf)
		ev.done[leaf] = all
		return value{series: slices.Clone(all)}, err
	}
	switch e := m.(type) {
	case *syntax.Literal:
		return value{scalar: true, number: e.Value}, nil
	case *syntax.Vector:
		return ev.constant(e.Value), nil
	case *syntax.VectorAggregation:
		in, err := ev.eval(ctx, e.Inner)
		if err != nil {
			return value{}, err
		}
		return ev.aggregate(ctx, e, in)
	case *syntax.LabelReplace:
		in, err := ev.eval(ctx, e.Inner)
		if err != nil {
			return value{}, err
		}
		return ev.labelReplace(e, in)
	case *syntax.Binary:
		left, err := ev.eval(ctx, e.Left)
		if err != nil {
			return value{}, err
		}
		right, err := ev.eval(ctx, e.Right)
		if err != nil {
			return value{}, err
		}
		return ev.binary(ctx, e, left, right)
	}
	return value{}, fmt.Errorf("logql: cannot evaluate %T", m)
}

// constant returns the series without labels that has v at each point.
func (ev *evaluator) constant(v float64) value {
	points := make([]point, ev.points())
	for i := range points {
		points[i] = point{i, v}
	}
	return value{series: []series{{labels: labels.EmptyLabels(), points: points}}}
}

// leaf merges the partials of a leaf and computes its windows.
func (ev *evaluator) leaf(ctx context.Context, leaf int) ([]series, error) {
	lp := &ev.plan.leaves[leaf]
	cells := lp.windows.count()
	ids := newLabelSet()
	var pieces [][]partialSeries // by series
	for _, part := range ev.partials[leaf] {
		for _, s := range part.series {
			if n := len(s.cells); n > 0 && int(s.cells[n-1].index) >= cells {
				return nil, fmt.Errorf("logql: a partial has cell %d, the query has %d", s.cells[n-1].index, cells)
			}
			id, added := ids.id(s.labels)
			if added {
				if err := ev.budget.take(seriesSize(s.labels), "series"); err != nil {
					return nil, err
				}
				pieces = append(pieces, nil)
			}
			pieces[id] = append(pieces[id], s)
		}
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
	}
	there := make([]bool, ev.points()) // for absent_over_time
	out := make([]series, 0, len(pieces))
	for id := range pieces {
		if err := context.Cause(ctx); err != nil {
			return nil, err
		}
		s, size := lp.fold.join(pieces[id])
		size += 32 * int64(len(s.samples)) // to sort them
		if err := ev.budget.take(size, "series"); err != nil {
			return nil, err
		}
		points := lp.points(s)
		ev.budget.give(size)
		if lp.agg.Op == syntax.RangeAbsent {
			for _, p := range points {
				there[p.index] = true
			}
			continue
		}
		if err := ev.budget.take(int64(len(points))*pointSize, "points"); err != nil {
			return nil, err
		}
		out = append(out, series{labels: s.labels, points: points})
	}
	if lp.agg.Op == syntax.RangeAbsent {
		out = absent(lp, there)
	}
	return out, nil
}

// join merges what several partials have found of a series; size is the memory it took.
func (f fold) join(pieces []partialSeries) (joined partialSeries, size int64) {
	if len(pieces) == 1 {
		return pieces[0], 0
	}
	joined.labels = pieces[0].labels
	for _, s := range pieces {
		joined.cells = append(joined.cells, s.cells...)
		joined.samples = append(joined.samples, s.samples...)
	}
	size = int64(len(joined.cells))*32 + int64(len(joined.samples))*16
	slices.SortStableFunc(joined.cells, func(a, b cellAt) int { return int(a.index) - int(b.index) })
	merged := joined.cells[:0]
	for _, c := range joined.cells {
		if n := len(merged); n > 0 && merged[n-1].index == c.index {
			f.merge(&merged[n-1].cell, c.cell)
			continue
		}
		merged = append(merged, c)
	}
	joined.cells = merged
	return joined, size
}

// absent returns the one series of absent_over_time: 1 where no row is there.
func absent(lp *leafPlan, there []bool) []series {
	var points []point
	for i, t := range there {
		if !t {
			points = append(points, point{i, 1})
		}
	}
	return []series{{labels: absentLabels(lp.log.Matchers), points: points}}
}

// absentLabels returns the labels that rows would certainly have: those with one matcher, for
// equality.
func absentLabels(matchers []*labels.Matcher) labels.Labels {
	count := map[string]int{}
	for _, m := range matchers {
		count[m.Name]++
	}
	b := labels.NewScratchBuilder(len(matchers))
	for _, m := range matchers {
		if m.Type == labels.MatchEqual && count[m.Name] == 1 && m.Value != "" {
			b.Add(m.Name, m.Value)
		}
	}
	b.Sort()
	return b.Labels()
}
