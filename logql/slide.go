package logql

import (
	"math"
	"slices"

	"example.com/loki/logql/syntax"
)

// points computes the windows of a series.
func (lp *leafPlan) points(s partialSeries) []point {
	switch lp.agg.Op {
	case syntax.RangeQuantile:
		return lp.quantiles(s.samples)
	case syntax.RangeRateCounter:
		return lp.counterRates(s.samples)
	}
	seconds := lp.agg.Range.Seconds()
	var out []point
	if lp.windows.numbering == byWindow {
		for _, c := range s.cells {
			out = append(out, point{int(c.index), c.value(lp.agg.Op, lp.fold, seconds)})
		}
		return out
	}
	lp.windows.slide(lp.fold, s.cells, func(window int, c *cell) {
		out = append(out, point{window, c.value(lp.agg.Op, lp.fold, seconds)})
	})
	return out
}

// slide calls emit for each window that has a cell, with all its cells merged. It merges each cell a
// constant number of times, however many windows it lies in, and never subtracts: the cells of the
// window are in a queue made of two stacks, each entry of the older one merged with all behind it.
func (w *windows) slide(f fold, cells []cellAt, emit func(window int, c *cell)) {
	var front []cellAt // the next to leave is the last
	var back cell      // cells[split:head] merged
	split, head := 0, 0
	for i := 0; i < w.n; {
		lo, hi := w.cells(i)
		for head < len(cells) && int(cells[head].index) <= hi {
			f.merge(&back, cells[head].cell)
			head++
		}
		for len(front) > 0 && int(front[len(front)-1].index) < lo {
			front = front[:len(front)-1]
		}
		if len(front) == 0 && split < head && int(cells[split].index) < lo {
			for split < head && int(cells[split].index) < lo {
				split++
			}
			for j := head - 1; j >= split; j-- {
				c := cells[j]
				if n := len(front); n > 0 {
					f.merge(&c.cell, front[n-1].cell)
				}
				front = append(front, c)
			}
			split, back = head, cell{}
		}
		var c cell
		if len(front) > 0 {
			c = front[len(front)-1].cell
		}
		f.merge(&c, back)
		if c.n > 0 {
			emit(i, &c)
			i++
			continue
		}
		if head == len(cells) {
			return
		}
		i = w.firstWith(i+1, int(cells[head].index))
	}
}

// inWindows calls emit for each window that has a sample, with the range of samples, which are sorted
// by time, that lie in it.
func (w *windows) inWindows(all []sample, emit func(window, lo, hi int)) {
	lo, hi := 0, 0
	for i := range w.n {
		right := w.point(i)
		left := addTime(right, -w.width)
		for lo < len(all) && all[lo].time <= left {
			lo++
		}
		hi = max(hi, lo)
		for hi < len(all) && all[hi].time <= right {
			hi++
		}
		if lo < hi {
			emit(i, lo, hi)
		}
	}
}

// sortSamples returns the samples by time, equal times by value.
func sortSamples(all []sample) []sample {
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b sample) int {
		switch {
		case a.time != b.time:
			if a.time < b.time {
				return -1
			}
			return 1
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	return all
}

// quantiles computes quantile_over_time. Values enter and leave a tree of counts over their ranks, so
// windows that overlap cost no more than windows that don't.
func (lp *leafPlan) quantiles(samples []sample) []point {
	if lp.windows.numbering == byWindow {
		return lp.apartQuantiles(samples)
	}
	all := sortSamples(samples)
	order := make([]int32, len(all)) // rank to sample
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		va, vb := all[a].value, all[b].value
		switch {
		case va < vb || math.IsNaN(va) && !math.IsNaN(vb): // NaN is the least
			return -1
		case va > vb || math.IsNaN(vb) && !math.IsNaN(va):
			return 1
		}
		return 0
	})
	rank := make([]int32, len(all))
	for r, i := range order {
		rank[i] = int32(r)
	}
	tree := newRankTree(len(all))
	from, to := 0, 0 // samples in the tree
	var out []point
	lp.windows.inWindows(all, func(window, lo, hi int) {
		for ; to < hi; to++ {
			tree.add(int(rank[to]), 1)
		}
		for ; from < lo; from++ {
			tree.add(int(rank[from]), -1)
		}
		v := quantile(lp.agg.Param, hi-lo, func(k int) float64 { return all[order[tree.find(k)]].value })
		out = append(out, point{window, v})
	})
	return out
}

// apartQuantiles computes quantile_over_time where each sample lies in one window: the values of each
// are brought together.
func (lp *leafPlan) apartQuantiles(samples []sample) []point {
	ends := make([]int, lp.windows.n+1) // where the values of a window end in values
	cells := make([]int32, len(samples))
	for i, s := range samples {
		cell, _, _ := lp.windows.cell(s.time)
		cells[i] = int32(cell)
		if cell >= 0 {
			ends[cell+1]++
		}
	}
	for i := range lp.windows.n {
		ends[i+1] += ends[i]
	}
	values := make([]float64, ends[lp.windows.n])
	for i, s := range samples {
		if c := cells[i]; c >= 0 {
			values[ends[c]] = s.value
			ends[c]++
		}
	}
	var out []point
	lo := 0
	for i, hi := range ends[:lp.windows.n] {
		if in := values[lo:hi]; len(in) > 0 {
			out = append(out, point{i, quantileOf(lp.agg.Param, in)})
		}
		lo = hi
	}
	return out
}

// quantile interpolates between the two of n values, of which at(k) is the k-th, that lie beside q.
func quantile(q float64, n int, at func(k int) float64) float64 {
	switch {
	case q < 0:
		return math.Inf(-1)
	case q > 1:
		return math.Inf(1)
	case math.IsNaN(q):
		return math.NaN()
	}
	rank := q * float64(n-1)
	lower := int(math.Floor(rank))
	upper := min(lower+1, n-1)
	weight := rank - math.Floor(rank)
	if weight == 0 {
		return at(lower) // the other one may be infinite
	}
	return at(lower)*(1-weight) + at(upper)*weight
}

// rankTree counts which of n ranks are present (a Fenwick tree).
type rankTree struct {
	sums []int32
	top  int // the greatest power of two that is not above n
}

func newRankTree(n int) *rankTree {
	t := &rankTree{sums: make([]int32, n+1), top: 1}
	for t.top*2 <= n {
		t.top *= 2
	}
	return t
}

func (t *rankTree) add(rank int, d int32) {
	for i := rank + 1; i < len(t.sums); i += i & -i {
		t.sums[i] += d
	}
}

// find returns the k-th least rank that is present, from 0.
func (t *rankTree) find(k int) int {
	pos, rest := 0, int32(k)
	for step := t.top; step > 0; step /= 2 {
		if next := pos + step; next < len(t.sums) && t.sums[next] <= rest {
			pos = next
			rest -= t.sums[next]
		}
	}
	return pos
}

// counterRates computes rate_counter: how fast a counter grows, a fall being a reset to zero.
func (lp *leafPlan) counterRates(samples []sample) []point {
	all := sortSamples(samples)
	// grown[i] is what the counter has grown up to sample i.
	grown := make([]float64, len(all))
	for i := 1; i < len(all); i++ {
		d := all[i].value - all[i-1].value
		if d < 0 {
			d = all[i].value
		}
		grown[i] = grown[i-1] + d
	}
	var out []point
	lp.windows.inWindows(all, func(window, lo, hi int) {
		out = append(out, point{window, counterRate(all[lo:hi], grown[hi-1]-grown[lo], lp.windows.width)})
	})
	return out
}

// counterRate returns the growth of a counter per second of the window. Prometheus would extend the
// samples to the edges of the window; Loki means to, but reaches only a millionth of the window's
// width before the first sample, and not beyond where the counter would have been zero. Its recorded
// answers show it in the sixth digit, so it is done here too.
func counterRate(in []sample, grown float64, width int64) float64 {
	if len(in) < 2 || in[len(in)-1].time == in[0].time {
		return 0
	}
	seconds := float64(width) / 1e9
	sampled := float64(in[len(in)-1].time-in[0].time) / 1e9
	before := seconds / 1e6
	if grown > 0 && in[0].value >= 0 {
		before = min(before, sampled*in[0].value/grown)
	}
	return grown * ((sampled + before) / sampled) / seconds
}
