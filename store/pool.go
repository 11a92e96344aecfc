package store

import (
	"math/bits"
	"sync"
)

// slicePool reuses slices of some thousand to some million elements. The zero value is ready.
type slicePool[T any] struct {
	classes [poolClasses]sync.Pool // class i has slices of capacity 1 << (i + poolMin)
}

const (
	poolMin     = 10 // log2 of the smallest capacity
	poolClasses = 12
)

func poolClass(n int) int { return max(bits.Len(uint(max(n, 1)-1))-poolMin, 0) }

// get returns a slice of length n with any content.
func (p *slicePool[T]) get(n int) []T {
	c := poolClass(n)
	if c >= poolClasses {
		return make([]T, n)
	}
	if s, ok := p.classes[c].Get().(*[]T); ok {
		return (*s)[:n]
	}
	return make([]T, n, 1<<(c+poolMin))
}

// put gives back what get returned.
func (p *slicePool[T]) put(s []T) {
	c := poolClass(cap(s))
	if c >= poolClasses || cap(s) != 1<<(c+poolMin) {
		return
	}
	p.classes[c].Put(&s)
}
