package logql

import (
	"math"

	"example.com/loki/logql/syntax"
)

// cell is the state of a range aggregation for one series and one stretch of time. Cells merge in any
// order with the same result (sums up to rounding). What a and b are depends on the aggregation:
//
//	             n      a                     b
//	count, rate  rows
//	bytes        rows   bytes
//	sum, avg     rows   sum                   what rounding has lost of it
//	min, max     rows   the extreme
//	stddev/var   rows   mean                  sum of squared distances to it
//	first, last  rows   value                 its time, as bits
//
// Quantiles and rate_counter need the samples themselves: see sample.
type cell struct {
	n    int64
	a, b float64
}

// cellAt is a cell that is not empty, and its number.
type cellAt struct {
	index int32
	cell
}

// sample is a value that is kept as it is.
type sample struct {
	time  int64
	value float64
}

// fold says how cells of an aggregation grow.
type fold uint8

const (
	foldCount fold = iota
	foldBytes
	foldSum
	foldMin
	foldMax
	foldMoments
	foldFirst
	foldLast
	foldSamples // no cells at all
)

// foldOf returns how the cells of an aggregation grow; unwrapped tells that it has an unwrap.
func foldOf(op syntax.RangeOp, unwrapped bool) fold {
	switch op {
	case syntax.RangeBytes, syntax.RangeBytesRate:
		return foldBytes
	case syntax.RangeRate:
		if unwrapped {
			return foldSum
		}
		return foldCount
	case syntax.RangeSum, syntax.RangeAvg:
		return foldSum
	case syntax.RangeMin:
		return foldMin
	case syntax.RangeMax:
		return foldMax
	case syntax.RangeStddev, syntax.RangeStdvar:
		return foldMoments
	case syntax.RangeFirst:
		return foldFirst
	case syntax.RangeLast:
		return foldLast
	case syntax.RangeQuantile, syntax.RangeRateCounter:
		return foldSamples
	default: // count_over_time, absent_over_time
		return foldCount
	}
}

// one returns the cell of a single row.
func (f fold) one(time int64, value float64) cell {
	c := cell{n: 1}
	switch f {
	case foldBytes, foldSum, foldMin, foldMax, foldMoments:
		c.a = value
	case foldFirst, foldLast:
		c.a, c.b = value, math.Float64frombits(uint64(time))
	}
	return c
}

// merge adds o to c.
func (f fold) merge(c *cell, o cell) {
	if o.n == 0 {
		return
	}
	if c.n == 0 {
		*c = o
		return
	}
	switch f {
	case foldBytes:
		c.a += o.a
	case foldSum:
		addExact(&c.a, &c.b, o.a)
		addExact(&c.a, &c.b, o.b)
	case foldMin:
		if o.a < c.a || math.IsNaN(c.a) {
			c.a = o.a
		}
	case foldMax:
		if o.a > c.a || math.IsNaN(c.a) {
			c.a = o.a
		}
	case foldMoments:
		// Chan, Golub and LeVeque: updating without a second pass, whatever the sizes.
		n, m := float64(c.n), float64(o.n)
		delta := o.a - c.a
		c.a += delta * m / (n + m)
		c.b += o.b + delta*delta*n*m/(n+m)
	case foldFirst:
		if o.before(c) {
			c.a, c.b = o.a, o.b
		}
	case foldLast:
		if c.before(&o) {
			c.a, c.b = o.a, o.b
		}
	}
	c.n += o.n
}

// before orders the samples of foldFirst and foldLast: by time, and where that is equal by value, so
// that the answer does not depend on where rows are stored.
func (c *cell) before(o *cell) bool {
	t, u := int64(math.Float64bits(c.b)), int64(math.Float64bits(o.b))
	if t != u {
		return t < u
	}
	return c.a < o.a
}

// sum returns the sum that a foldSum cell holds.
func (c *cell) sum() float64 { return c.a + c.b }

// addExact adds v to sum and what rounding loses to lost (Neumaier), so that the result does not
// depend on the order of a million additions. Infinities and NaN keep to sum.
func addExact(sum, lost *float64, v float64) {
	t := *sum + v
	if math.IsInf(t, 0) || math.IsNaN(t) {
		*sum, *lost = t, 0
		return
	}
	if math.Abs(*sum) >= math.Abs(v) {
		*lost += (*sum - t) + v
	} else {
		*lost += (v - t) + *sum
	}
	*sum = t
}

// value returns what the aggregation gives for a window of width seconds.
func (c *cell) value(op syntax.RangeOp, f fold, seconds float64) float64 {
	switch op {
	case syntax.RangeRate:
		if f == foldSum {
			return c.sum() / seconds
		}
		return float64(c.n) / seconds
	case syntax.RangeBytes:
		return c.a
	case syntax.RangeBytesRate:
		return c.a / seconds
	case syntax.RangeSum:
		return c.sum()
	case syntax.RangeAvg:
		return c.sum() / float64(c.n)
	case syntax.RangeStdvar:
		return c.b / float64(c.n)
	case syntax.RangeStddev:
		return math.Sqrt(c.b / float64(c.n))
	case syntax.RangeMin, syntax.RangeMax, syntax.RangeFirst, syntax.RangeLast:
		return c.a
	default:
		return float64(c.n)
	}
}
