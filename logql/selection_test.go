package logql

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestQuantileOfIsThatOfSortedValues(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func(i int) float64{
		"random":     func(int) float64 { return rnd.ExpFloat64() },
		"ascending":  func(i int) float64 { return float64(i) },
		"descending": func(i int) float64 { return float64(-i) },
		"equal":      func(int) float64 { return 7 },
		"few":        func(int) float64 { return float64(rnd.IntN(3)) },
		"special": func(int) float64 {
			return []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, 1, rnd.Float64()}[rnd.IntN(6)]
		},
	}
	for name, next := range kinds {
		for _, n := range []int{1, 2, 3, 15, 16, 17, 100, 1000, 20_000} {
			values := make([]float64, n)
			for i := range values {
				values[i] = next(i)
			}
			sorted := slices.Sorted(slices.Values(values))
			for _, q := range []float64{-1, 0, 0.01, 0.5, 0.9, 0.99, 0.999, 1, 2, math.NaN()} {
				got := quantileOf(q, slices.Clone(values))
				want := quantile(q, n, func(k int) float64 { return sorted[k] })
				if got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
					t.Errorf("%s, %d values: quantile %v = %v, want %v", name, n, q, got, want)
				}
			}
		}
	}
}

func BenchmarkQuantileOf(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	values := make([]float64, 2000)
	for i := range values {
		values[i] = rnd.ExpFloat64()
	}
	own := make([]float64, len(values))
	b.Run("select", func(b *testing.B) {
		for b.Loop() {
			copy(own, values)
			quantileOf(0.99, own)
		}
	})
	b.Run("sort", func(b *testing.B) {
		for b.Loop() {
			copy(own, values)
			slices.Sort(own)
		}
	})
}
