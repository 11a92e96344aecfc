package logql

import (
	"iter"
	"math"
	"sort"
	"time"

	"example.com/loki/logql/column"
)

// windows describes the points of a range aggregation and the time that each looks at: point i at
// time first+i*step sees the rows with point-width < time <= point. (An offset is already taken off
// first.)
//
// Rows are not collected per window, of which a row may lie in many, but per cell: the edges of all
// windows cut time into cells, so that each window is a sequence of whole cells. How cells are
// numbered depends on the query, and cells(i) tells which make up window i:
//
//	width <= step        one cell for each window; rows between windows lie in none
//	width = k*step       one cell for each step, k of them make a window
//	otherwise            up to two cells for each step
//
// No query has more than 2n+1 cells, however wide its windows are.
type windows struct {
	first, step, width int64 // nanoseconds
	n                  int   // points, at least one
	numbering          numbering
	k                  int // width/step for byStep
}

type numbering uint8

const (
	byWindow numbering = iota
	byStep
	byEdge
)

// newWindows returns the windows of an aggregation over width at n points. Step may be 0 if n is 1.
func newWindows(first int64, step time.Duration, n int, width time.Duration) windows {
	w := windows{first: first, step: int64(step), width: int64(width), n: n}
	if n == 1 || w.step <= 0 {
		w.n, w.step = 1, math.MaxInt64
		return w
	}
	switch {
	case w.width <= w.step:
		w.numbering = byWindow
	case w.width%w.step == 0 && w.width/w.step <= int64(n):
		w.numbering, w.k = byStep, int(w.width/w.step)
	default:
		w.numbering = byEdge
	}
	return w
}

// point returns the time of point i (without offset).
func (w *windows) point(i int) int64 {
	if i == 0 {
		return w.first
	}
	return addTime(w.first, int64(i)*w.step)
}

// span returns the times that some window sees: from <= time < through.
func (w *windows) span() (from, through int64) {
	return addTime(w.first, 1-w.width), addTime(w.point(w.n-1), 1)
}

// count returns the number of cells.
func (w *windows) count() int {
	switch w.numbering {
	case byWindow:
		return w.n
	case byStep:
		return w.n + w.k - 1
	default:
		return 2*w.n + 1
	}
}

// cell returns the cell of a time, and the first and last time of that cell. The cell is -1 for a
// time that no window sees.
func (w *windows) cell(t int64) (cell int, from, to int64) {
	right := w.pointsBefore(t)                  // windows that end before t
	left := w.pointsBefore(addTime(t, w.width)) // windows that begin before t
	from, to = math.MinInt64, math.MaxInt64
	if right > 0 {
		from = w.point(right-1) + 1
	}
	if right < w.n {
		to = w.point(right)
	}
	if left > 0 {
		from = max(from, addTime(w.point(left-1), 1-w.width))
	}
	if left < w.n {
		to = min(to, addTime(w.point(left), -w.width))
	}
	if left <= right { // all that have begun have ended
		return -1, from, to
	}
	switch w.numbering {
	case byWindow:
		return right, from, to
	case byStep:
		return int((t - w.first + w.width - 1) / w.step), from, to
	default:
		return left + right, from, to
	}
}

// wholeMinutes tells that each cell is made of whole minutes.
func (w *windows) wholeMinutes() bool {
	return w.first%column.Minute == 0 && w.width%column.Minute == 0 && (w.n == 1 || w.step%column.Minute == 0)
}

// pointsBefore returns how many points are < t.
func (w *windows) pointsBefore(t int64) int {
	if t <= w.first {
		return 0
	}
	return int(min((t-1-w.first)/w.step+1, int64(w.n)))
}

// cells returns the first and last cell of window i. Both ascend with i.
func (w *windows) cells(i int) (lo, hi int) {
	switch w.numbering {
	case byWindow:
		return i, i
	case byStep:
		return i, i + w.k - 1
	default:
		lo = i + 1 + w.pointsBefore(w.point(i)-w.width+1)
		hi = i + w.pointsBefore(w.point(i)+w.width)
		return lo, hi
	}
}

// firstWith returns the first window from i on that reaches to cell, or n.
func (w *windows) firstWith(i, cell int) int {
	return i + sort.Search(w.n-i, func(d int) bool {
		_, hi := w.cells(i + d)
		return hi >= cell
	})
}

// narrow returns the part of from <= time < through outside of which no window sees anything: it cuts
// off what lies before the first and behind the last of the windows in it.
func (w *windows) narrow(from, through int64) (int64, int64) {
	if cell, _, to := w.cell(from); cell < 0 {
		from = min(through, addTime(to, 1))
	}
	if from >= through {
		return from, from
	}
	if cell, start, _ := w.cell(through - 1); cell < 0 {
		through = start
	}
	return from, through
}

// maxPieces is the number of pieces into which the time of a batch is cut at most to leave out what
// lies between windows. Each costs a little, so it should not be more than the rows it spares.
const maxPieces = 32

// visible yields the pieces of from <= time < through that windows see, or all of it where there are
// too many of them or little between them.
func (w *windows) visible(from, through int64) iter.Seq2[int64, int64] {
	return func(yield func(from, through int64) bool) {
		if w.n == 1 || w.width > w.step/2 || (through-from)/w.step >= maxPieces {
			yield(from, through)
			return
		}
		for from < through {
			cell, _, to := w.cell(from)
			end := min(through, addTime(to, 1))
			if cell >= 0 && !yield(from, end) {
				return
			}
			from = end
		}
	}
}

// addTime adds without overflow.
func addTime(t, d int64) int64 {
	s := t + d
	switch {
	case d > 0 && s < t:
		return math.MaxInt64
	case d < 0 && s > t:
		return math.MinInt64
	}
	return s
}
