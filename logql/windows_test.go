package logql

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

// TestWindows compares cells and the sliding over them with looking at each sample for each window.
func TestWindows(t *testing.T) {
	ops := []syntax.RangeOp{
		syntax.RangeCount, syntax.RangeRate, syntax.RangeSum, syntax.RangeAvg, syntax.RangeMin, syntax.RangeMax,
		syntax.RangeStddev, syntax.RangeStdvar, syntax.RangeQuantile, syntax.RangeFirst, syntax.RangeLast, syntax.RangeRateCounter,
	}
	for round := range 400 {
		r := rand.New(rand.NewPCG(uint64(round), 3))
		step := 1 + r.IntN(20)
		width := []int{step, step * (1 + r.IntN(5)), 1 + r.IntN(3*step), 200}[r.IntN(4)]
		n := 1 + r.IntN(12)
		w := newWindows(100, time.Duration(step), n, time.Duration(width))
		var samples []sample
		for range r.IntN(60) {
			samples = append(samples, sample{int64(r.IntN(400)) - 150, float64(r.IntN(20))})
		}
		from := int64(r.IntN(400)) - 150
		through := from + int64(r.IntN(200)) + 1
		lo, hi := w.narrow(from, through)
		for at := from; at < through; at++ {
			if cell, _, _ := w.cell(at); cell >= 0 && (at < lo || at >= hi) {
				t.Fatalf("%+v: narrow(%d, %d) = %d, %d leaves out %d", w, from, through, lo, hi, at)
			}
		}
		at := from
		for lo, hi := range w.visible(from, through) {
			for ; at < hi; at++ {
				if cell, _, _ := w.cell(at); cell >= 0 && at < lo {
					t.Fatalf("%+v: visible(%d, %d) leaves out %d", w, from, through, at)
				}
			}
		}
		for ; at < through; at++ {
			if cell, _, _ := w.cell(at); cell >= 0 {
				t.Fatalf("%+v: visible(%d, %d) leaves out %d", w, from, through, at)
			}
		}
		for _, op := range ops {
			lp := &leafPlan{
				agg:     &syntax.RangeAggregation{Op: op, Range: time.Duration(width), Param: 0.3, Unwrap: &syntax.Unwrap{}},
				windows: w, fold: foldOf(op, true),
			}
			tab := newTable(lp.fold, w.count(), &budget{})
			s, _ := tab.series(labels.EmptyLabels())
			for _, x := range samples {
				cell, from, to := w.cell(x.time)
				if x.time < from || x.time > to {
					t.Fatalf("%+v: cell of %d stands for [%d, %d]", w, x.time, from, to)
				}
				if cell >= 0 {
					if err := tab.addValue(s, cell, x.time, x.value); err != nil {
						t.Fatal(err)
					}
				}
			}
			got := fmt.Sprint(round6(lp.points(tab.partial()[0])))
			if want := fmt.Sprint(round6(directly(lp, samples))); got != want {
				t.Fatalf("%s over %+v, samples %v:\ngot  %s\nwant %s", op, w, samples, got, want)
			}
		}
	}
}

func round6(points []point) []point {
	for i := range points {
		points[i].value = math.Round(points[i].value*1e6) / 1e6
	}
	return points
}

// directly computes each window from the samples in it.
func directly(lp *leafPlan, all []sample) []point {
	var out []point
	seconds := lp.agg.Range.Seconds()
	for i := range lp.windows.n {
		end := lp.windows.point(i)
		var in []sample
		for _, s := range all {
			if s.time > end-lp.windows.width && s.time <= end {
				in = append(in, s)
			}
		}
		if len(in) == 0 {
			continue
		}
		slices.SortFunc(in, func(a, b sample) int {
			if a.time != b.time {
				return int(a.time - b.time)
			}
			return int(a.value - b.value)
		})
		values := make([]float64, len(in))
		sum, grown := 0.0, 0.0
		for j, s := range in {
			values[j] = s.value
			sum += s.value
			if j > 0 {
				if d := s.value - in[j-1].value; d >= 0 {
					grown += d
				} else {
					grown += s.value
				}
			}
		}
		slices.Sort(values)
		n := float64(len(in))
		variance := 0.0
		for _, v := range values {
			variance += (v - sum/n) * (v - sum/n) / n
		}
		var v float64
		switch lp.agg.Op {
		case syntax.RangeCount:
			v = n
		case syntax.RangeRate:
			v = sum / seconds
		case syntax.RangeSum:
			v = sum
		case syntax.RangeAvg:
			v = sum / n
		case syntax.RangeMin:
			v = values[0]
		case syntax.RangeMax:
			v = values[len(values)-1]
		case syntax.RangeStdvar:
			v = variance
		case syntax.RangeStddev:
			v = math.Sqrt(variance)
		case syntax.RangeQuantile:
			v = quantile(lp.agg.Param, len(values), func(k int) float64 { return values[k] })
		case syntax.RangeFirst:
			v = in[0].value
		case syntax.RangeLast:
			v = in[len(in)-1].value
		case syntax.RangeRateCounter:
			v = counterRate(in, grown, lp.windows.width)
		}
		out = append(out, point{i, v})
	}
	return out
}

func TestQuantile(t *testing.T) {
	inf := math.Inf(1)
	for _, test := range []struct {
		q      float64
		values []float64
		want   float64
	}{
		{0, []float64{1, 2, 3}, 1},
		{0.5, []float64{1, 2, 3}, 2},
		{0.5, []float64{1, 2}, 1.5},
		{1, []float64{1, 2, 3}, 3},
		{1.5, []float64{1}, inf},
		{-1, []float64{1}, -inf},
		{0.5, []float64{1, 2, inf}, 2},
	} {
		got := quantile(test.q, len(test.values), func(k int) float64 { return test.values[k] })
		if got != test.want {
			t.Errorf("quantile(%v) of %v = %v, want %v", test.q, test.values, got, test.want)
		}
	}
}

// TestSumIsExact checks that sums of many values do not depend on their order.
func TestSumIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 4))
	values := make([]float64, 100_000)
	for i := range values {
		values[i] = (r.Float64() - 0.5) * math.Pow(10, float64(r.IntN(12)))
	}
	total := func() float64 {
		var c cell
		for _, v := range values {
			foldSum.merge(&c, foldSum.one(0, v))
		}
		return c.sum()
	}
	first := total()
	for range 5 {
		r.Shuffle(len(values), func(i, j int) { values[i], values[j] = values[j], values[i] })
		if got := total(); math.Abs(got-first) > 1e-12*math.Abs(first) {
			t.Fatalf("sum %v, in another order %v", first, got)
		}
	}
}

func TestSumOfInfinities(t *testing.T) {
	var c cell
	for _, v := range []float64{1, math.Inf(1), 2} {
		foldSum.merge(&c, foldSum.one(0, v))
	}
	if !math.IsInf(c.sum(), 1) {
		t.Errorf("sum is %v, want +Inf", c.sum())
	}
}
