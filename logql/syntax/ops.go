package syntax

import "fmt"

// String returns the operator as it is written.
func (o LineFilterOp) String() string { return opName(o, "|=", "!=", "|~", "!~", "|>", "!>") }

// Negative tells that a line passes if no operand is found in it.
func (o LineFilterOp) Negative() bool {
	return o == LineNotContains || o == LineNotMatches || o == LineNotPattern
}

// String returns the operator as it is written between numbers: OpEqual is "==".
func (o CompareOp) String() string { return opName(o, "==", "!=", ">", ">=", "<", "<=") }

// String returns the name of the conversion, "" for UnwrapNumber.
func (f UnwrapFunc) String() string {
	return opName(f, "", "bytes", "duration", "duration_seconds")
}

// String returns the name of the function.
func (o RangeOp) String() string {
	return opName(o, "count_over_time", "rate", "bytes_over_time", "bytes_rate", "absent_over_time",
		"sum_over_time", "avg_over_time", "min_over_time", "max_over_time", "stddev_over_time",
		"stdvar_over_time", "quantile_over_time", "first_over_time", "last_over_time", "rate_counter")
}

// NeedsUnwrap tells that the function takes its samples from an unwrapped label only.
func (o RangeOp) NeedsUnwrap() bool { return o >= RangeSum }

// AllowsUnwrap tells that the function can take its samples from an unwrapped label.
func (o RangeOp) AllowsUnwrap() bool {
	return o == RangeRate || o == RangeAbsent || o.NeedsUnwrap()
}

// AllowsGrouping tells that by or without may follow the function.
func (o RangeOp) AllowsGrouping() bool {
	switch o {
	case RangeAvg, RangeMin, RangeMax, RangeStddev, RangeStdvar, RangeQuantile, RangeFirst, RangeLast:
		return true
	}
	return false
}

// String returns the name of the operator.
func (o VectorOp) String() string {
	return opName(o, "sum", "avg", "min", "max", "count", "stddev", "stdvar", "topk", "bottomk",
		"sort", "sort_desc", "approx_topk")
}

// NeedsParam tells that the operator has a parameter k.
func (o VectorOp) NeedsParam() bool {
	return o == VectorTopK || o == VectorBottomK || o == VectorApproxTopK
}

// String returns the operator as it is written.
func (o BinaryOp) String() string {
	return opName(o, "or", "and", "unless", "+", "-", "*", "/", "%", "^",
		"==", "!=", ">", ">=", "<", "<=")
}

// IsSet tells that the operator is one of or, and, unless.
func (o BinaryOp) IsSet() bool { return o <= BinUnless }

// IsComparison tells that the operator compares.
func (o BinaryOp) IsComparison() bool { return o >= BinEqual }

// precedence is higher for operators that bind tighter.
func (o BinaryOp) precedence() int {
	switch o {
	case BinOr:
		return 1
	case BinAnd, BinUnless:
		return 2
	case BinAdd, BinSub:
		return 4
	case BinMul, BinDiv, BinMod:
		return 5
	case BinPow:
		return 6
	default:
		return 3 // comparisons
	}
}

// String returns "group_left", "group_right" or, for OneToOne, "".
func (c MatchCard) String() string { return opName(c, "", "group_left", "group_right") }

// opName returns the name of a value that counts from 0.
func opName[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%T(%d)", v, uint8(v))
}
