package store

import "testing"

func TestPoolClasses(t *testing.T) {
	last := 0
	for n := 1; n < 1<<23; n += 1 + n/97 {
		c := poolClass(n)
		size := poolSize(c)
		if size < n || c < last {
			t.Fatalf("class of %d is %d with room for %d; that of smaller ones was %d", n, c, size, last)
		}
		if n > 1<<poolMin && size > n+n/4 {
			t.Errorf("%d elements take room for %d", n, size)
		}
		if poolClass(size) != c {
			t.Errorf("slices of class %d have a capacity of class %d", c, poolClass(size))
		}
		last = c
	}
	if poolSize(poolClasses-1) != 1<<(poolMin+12) {
		t.Errorf("the largest class has %d elements", poolSize(poolClasses-1))
	}
}

func TestPoolTakesBackWhatItGave(t *testing.T) {
	var p slicePool[byte]
	for _, n := range []int{1, 1 << 10, 512<<10 + 200, 5 << 20} {
		s := p.get(n)
		if len(s) != n {
			t.Fatalf("get(%d) has length %d", n, len(s))
		}
		s[n-1] = 1
		p.put(s)
	}
}
