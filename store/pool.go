package store

import (
	"math/bits"
	"sync"
)

// slicePool reuses slices of some thousand to some million elements. The zero value is ready.
//
// Capacities come in steps of an eighth: a page is a little larger than what it was meant to be, and the
// next power of two would waste half of the memory for columns.
type slicePool[T any] struct {
	classes [poolClasses]sync.Pool // class i has slices of capacity poolSize(i)
}

const (
	poolMin     = 10 // log2 of the smallest capacity
	poolSteps   = 3  // log2 of the capacities for each power of two
	poolClasses = 12<<poolSteps + 1
)

// poolClass returns the smallest class with room for n elements.
func poolClass(n int) int {
	if n <= 1<<poolMin {
		return 0
	}
	x := uint(n - 1)
	e := bits.Len(x) - 1 // 1<<e <= x
	step := int(x>>(e-poolSteps)) & (1<<poolSteps - 1)
	return (e-poolMin)<<poolSteps + step + 1
}

// poolSize returns the capacity of slices of a class.
func poolSize(class int) int {
	if class == 0 {
		return 1 << poolMin
	}
	e := poolMin + (class-1)>>poolSteps
	step := (class - 1) & (1<<poolSteps - 1)
	return 1<<e + (step+1)<<(e-poolSteps)
}

// get returns a slice of length n with any content.
func (p *slicePool[T]) get(n int) []T {
	c := poolClass(n)
	if c >= poolClasses {
		return make([]T, n)
	}
	if s, ok := p.classes[c].Get().(*[]T); ok {
		return (*s)[:n]
	}
	return make([]T, n, poolSize(c))
}

// put gives back what get returned.
func (p *slicePool[T]) put(s []T) {
	c := poolClass(cap(s))
	if c >= poolClasses || cap(s) != poolSize(c) {
		return
	}
	p.classes[c].Put(&s)
}
