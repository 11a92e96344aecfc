package store

import (
	"math/rand/v2"
	"testing"
)

func TestDoublyCovered(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		segs := make([]selected, r.IntN(8))
		var count [60]int
		for i := range segs {
			lo := r.Int64N(50)
			hi := lo + r.Int64N(10)
			segs[i].info.MinTime, segs[i].info.MaxTime = lo, hi
			for at := lo; at <= hi; at++ {
				count[at]++
			}
		}
		sh := &sharing{double: doublyCovered(segs)}
		for at, n := range count {
			if got := sh.covers(int64(at), int64(at)); got != (n > 1) {
				t.Fatalf("covers(%d) = %t, with %d segments of %v", at, got, n, segs)
			}
		}
		for i := 1; i < len(sh.double); i++ {
			if sh.double[i].min <= sh.double[i-1].max {
				t.Fatalf("ranges %v touch", sh.double)
			}
		}
	}
}
