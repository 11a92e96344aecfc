package logql

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

// aggregate evaluates a vector aggregation.
func (ev *evaluator) aggregate(ctx context.Context, e *syntax.VectorAggregation, in value) (value, error) {
	if in.scalar {
		return value{}, queryErrorf(KindParams, "%s aggregates series, not a number", e.Op)
	}
	switch e.Op {
	case syntax.VectorSort, syntax.VectorSortDesc:
		if !ev.instant() {
			return value{series: in.series}, nil
		}
		all := slices.Clone(in.series)
		sortByLabels(all)
		sortByValue(all, e.Op == syntax.VectorSortDesc)
		return value{series: all, ordered: true}, nil
	}
	var out value
	for _, group := range groups(e.Grouping, in.series) {
		if err := context.Cause(ctx); err != nil {
			return value{}, err
		}
		switch e.Op {
		case syntax.VectorTopK, syntax.VectorApproxTopK, syntax.VectorBottomK:
			out.series = append(out.series, ev.best(group.members, e.Param, e.Op != syntax.VectorBottomK)...)
			out.ordered = ev.instant()
		default:
			points := ev.reduce(e.Op, group.members)
			if err := ev.budget.take(seriesSize(group.labels)+int64(len(points))*pointSize, "points"); err != nil {
				return value{}, err
			}
			out.series = append(out.series, series{labels: group.labels, points: points})
		}
	}
	return out, nil
}

// sortByValue orders the series of an instant query; NaN comes last.
func sortByValue(all []series, descending bool) {
	slices.SortStableFunc(all, func(a, b series) int {
		if len(a.points) == 0 || len(b.points) == 0 {
			return len(b.points) - len(a.points)
		}
		return compareValues(a.points[0].value, b.points[0].value, descending)
	})
}

func compareValues(a, b float64, descending bool) int {
	switch {
	case math.IsNaN(a) || math.IsNaN(b):
		return cmp.Compare(boolToInt(math.IsNaN(a)), boolToInt(math.IsNaN(b)))
	case descending:
		return cmp.Compare(b, a)
	default:
		return cmp.Compare(a, b)
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// group is the series that an aggregation takes together.
type group struct {
	labels  labels.Labels
	members []series
}

// groups sorts series into groups, ordered by labels. Without a grouping all are in one.
func groups(g *syntax.Grouping, all []series) []group {
	if g == nil {
		g = &syntax.Grouping{}
	}
	ids := newLabelSet()
	b := labels.NewBuilder(labels.EmptyLabels())
	var out []group
	for _, s := range all {
		if len(s.points) == 0 {
			continue
		}
		b.Reset(s.labels)
		if g.Without {
			b.Del(g.Names...)
		} else {
			b.Keep(g.Names...)
		}
		id, added := ids.id(b.Labels())
		if added {
			out = append(out, group{labels: ids.all[id]})
		}
		out[id].members = append(out[id].members, s)
	}
	slices.SortFunc(out, func(a, b group) int { return labels.Compare(a.labels, b.labels) })
	return out
}

// reduce aggregates series point by point.
func (ev *evaluator) reduce(op syntax.VectorOp, members []series) []point {
	f := foldCount
	switch op {
	case syntax.VectorSum, syntax.VectorAvg:
		f = foldSum
	case syntax.VectorMin:
		f = foldMin
	case syntax.VectorMax:
		f = foldMax
	case syntax.VectorStddev, syntax.VectorStdvar:
		f = foldMoments
	}
	cells := make([]cell, ev.points())
	n := 0
	for _, s := range members {
		for _, p := range s.points {
			if cells[p.index].n == 0 {
				n++
			}
			f.merge(&cells[p.index], f.one(0, p.value))
		}
	}
	points := make([]point, 0, n)
	for i := range cells {
		c := &cells[i]
		if c.n == 0 {
			continue
		}
		var v float64
		switch op {
		case syntax.VectorSum:
			v = c.sum()
		case syntax.VectorAvg:
			v = c.sum() / float64(c.n)
		case syntax.VectorStdvar:
			v = c.b / float64(c.n)
		case syntax.VectorStddev:
			v = math.Sqrt(c.b / float64(c.n))
		case syntax.VectorCount:
			v = float64(c.n)
		default:
			v = c.a
		}
		points = append(points, point{i, v})
	}
	return points
}

// best keeps, at each point, the k greatest or least values; of equal ones those of the series whose
// labels come first. In the answer to an instant query, greater values come first in both cases; so
// Loki has it.
func (ev *evaluator) best(members []series, k int, greatest bool) []series {
	members = slices.Clone(members)
	sortByLabels(members)
	type candidate struct {
		series int
		value  float64
	}
	at := make([][]candidate, ev.points())
	for i, s := range members {
		for _, p := range s.points {
			at[p.index] = append(at[p.index], candidate{i, p.value})
		}
	}
	kept := make([][]point, len(members))
	var order []int
	for index, all := range at {
		slices.SortStableFunc(all, func(a, b candidate) int { return compareValues(a.value, b.value, greatest) })
		for _, c := range all[:min(k, len(all))] {
			if kept[c.series] == nil {
				order = append(order, c.series)
			}
			kept[c.series] = append(kept[c.series], point{index, c.value})
		}
	}
	if !greatest {
		slices.Reverse(order)
	}
	out := make([]series, len(order))
	for i, s := range order {
		out[i] = series{labels: members[s].labels, points: kept[s]}
	}
	return out
}
