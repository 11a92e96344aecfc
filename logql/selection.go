package logql

import (
	"cmp"
	"math/bits"
	"slices"
)

// nth rearranges values such that values[k] is what it would be if they were sorted, none before it is greater and
// none behind it less. NaN is the least.
func nth(values []float64, k int) {
	lo, hi := 0, len(values) // where the k-th value is
	for range 2 * bits.Len(uint(len(values))) {
		if hi-lo <= 16 {
			break
		}
		pivot := median(values[lo], values[lo+(hi-lo)/2], values[hi-1])
		i, j := lo-1, hi
		for {
			for i++; cmp.Less(values[i], pivot); i++ {
			}
			for j--; cmp.Less(pivot, values[j]); j-- {
			}
			if i >= j {
				break
			}
			values[i], values[j] = values[j], values[i]
		}
		// None of those before i is greater than the pivot and none from i on less.
		if k < i {
			hi = i
		} else {
			lo = i
		}
	}
	slices.Sort(values[lo:hi]) // a few, or what is left after bad luck with pivots
}

// median returns the one in the middle.
func median(a, b, c float64) float64 {
	if cmp.Less(b, a) {
		a, b = b, a
	}
	switch {
	case cmp.Less(c, a):
		return a
	case cmp.Less(c, b):
		return c
	}
	return b
}

// quantileOf is quantile of values in any order. It rearranges them.
func quantileOf(q float64, values []float64) float64 {
	// The second of the two values that are asked for is the least of those behind the first.
	at := -1
	return quantile(q, len(values), func(k int) float64 {
		if at < 0 || k != at+1 {
			nth(values, k)
			at = k
			return values[k]
		}
		return slices.Min(values[k:])
	})
}
