package logql

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// Piece returns a task over the rows of a leaf with from <= time < through, which must lie in the leaf's
// range. Other than that of any task, its answer does not depend on where the query begins and ends, so it
// can be kept and used for another query: one whose Piece has the same key. Adopt makes a partial of this
// plan from it.
//
// Two log queries with the same key may have different limits and directions. What they share is only
// whether there is any entry at all (see Partial.Empty).
//
// Without ok there is no such task: entries at intervals depend on all before them, and a range that is
// very long in relation to the step has too many points.
func (p *Plan) Piece(leaf int, from, through int64) (task Task, key string, ok bool) {
	task = Task{Params: p.Params, Leaf: leaf, From: from, Through: through}
	lp := &p.leaves[leaf]
	text := lp.expr.String()
	if lp.agg == nil {
		return task, fmt.Sprintf("log %d %d %s", from, through, text), p.Params.Interval == 0
	}
	w, ok := lp.pieceWindows(from, through)
	if !ok {
		return task, "", false
	}
	offset := int64(lp.agg.Offset)
	task.Params.Start, task.Params.End = w.first+offset, w.point(w.n-1)+offset
	phase := int64(0)
	if w.n == 1 {
		task.Params.Step = 0
	} else {
		phase = modulo(w.first, w.step)
	}
	return task, fmt.Sprintf("agg %d %d %d %d %s", from, through, task.Params.Step, phase, text), true
}

// pieceWindows returns windows of which each row with from <= time < through is seen by the same as if
// there were infinitely many of them. Whatever the first and the last point of the query: its cells consist
// of whole cells of these windows.
func (lp *leafPlan) pieceWindows(from, through int64) (windows, bool) {
	const far = int64(1) << 61 // nothing below overflows
	w := lp.windows
	if from >= through || from < -far || through > far || w.width > far {
		return w, false
	}
	if w.n == 1 {
		return newWindows(through-1, 0, 1, lp.agg.Range), true
	}
	first := from - modulo(from-w.first, w.step)
	n := (through+w.width-first)/w.step + 2
	if w.step > far/4 || n > MaxPoints {
		return w, false
	}
	return newWindows(first, time.Duration(w.step), int(n), lp.agg.Range), true
}

// modulo returns t mod m, which is never negative.
func modulo(t, m int64) int64 {
	if r := t % m; r < 0 {
		return r + m
	} else {
		return r
	}
}

// Adopt returns the answer to a task of this plan that covers the same rows as piece, a task that Piece of
// this or another plan has returned under the key that it has here; part is the answer to that. It changes
// neither and shares what it can with part.
func (p *Plan) Adopt(piece *Task, part *Partial) (*Partial, error) {
	lp := &p.leaves[piece.Leaf]
	if lp.agg == nil || lp.fold == foldSamples {
		return part, nil
	}
	w, ok := lp.pieceWindows(piece.From, piece.Through)
	if !ok {
		return nil, fmt.Errorf("logql: the task from %d to %d is no piece of the query", piece.From, piece.Through)
	}
	cells := lp.windows.cellsOf(&w, piece.From, piece.Through)
	out := &Partial{Stats: part.Stats, Source: part.Source, series: make([]partialSeries, 0, len(part.series))}
	for _, s := range part.series {
		moved := make([]cellAt, 0, len(s.cells))
		for _, c := range s.cells {
			if int(c.index) >= len(cells) {
				return nil, fmt.Errorf("%w: cell %d of %d", ErrEncoding, c.index, len(cells))
			}
			c.index = cells[c.index]
			switch n := len(moved); {
			case c.index < 0: // no window sees it
			case n > 0 && moved[n-1].index == c.index:
				lp.fold.merge(&moved[n-1].cell, c.cell)
			default:
				moved = append(moved, c)
			}
		}
		if len(moved) > 0 {
			out.series = append(out.series, partialSeries{labels: s.labels, cells: moved})
		}
	}
	return out, nil
}

// cellsOf returns for each cell of fine in which w's cell it lies, as far as it has times with from <=
// time < through; otherwise -1.
func (w *windows) cellsOf(fine *windows, from, through int64) []int32 {
	cells := make([]int32, fine.count())
	for i := range cells {
		cells[i] = -1
	}
	for from < through {
		n, _, to := fine.cell(from)
		if n >= 0 {
			cell, _, _ := w.cell(from)
			cells[n] = int32(cell)
		}
		from = addTime(to, 1)
	}
	return cells
}

// Empty tells that the partial has neither entries nor series.
func (p *Partial) Empty() bool { return len(p.entries) == 0 && len(p.series) == 0 }

// Label returns a partial of a leaf as it would be if all rows' streams had one more label, which no stage of
// the query sees but its groupings do. A label of that name which is there is kept as "original_" + name.
func (p *Plan) Label(leaf int, part *Partial, name, value string) *Partial {
	lp := &p.leaves[leaf]
	if lp.group.Without == slices.Contains(lp.group.Names, name) && lp.agg != nil {
		return part
	}
	b := labels.NewBuilder(labels.EmptyLabels())
	seen := newLabelSet()
	var with []labels.Labels // of what was seen
	label := func(ls labels.Labels) labels.Labels {
		id, added := seen.id(ls)
		if added {
			b.Reset(ls)
			if old := ls.Get(name); old != "" {
				b.Set("original_"+name, old)
			}
			with = append(with, b.Set(name, value).Labels())
		}
		return with[id]
	}
	out := &Partial{Stats: part.Stats, Source: part.Source, entries: slices.Clone(part.entries), series: slices.Clone(part.series)}
	for i := range out.entries {
		out.entries[i].labels = label(out.entries[i].labels)
	}
	for i := range out.series {
		out.series[i].labels = label(out.series[i].labels)
	}
	return out
}

// WithoutStats returns the partial without what it has cost. The rest is shared.
func (p *Partial) WithoutStats() *Partial {
	return &Partial{Source: p.Source, entries: p.entries, series: p.series}
}
