package distributor

import (
	"fmt"
	"testing"
)

func TestCache(t *testing.T) {
	gone := map[string]int{}
	c := cache[int]{max: 10 * (entryCost + 100), evict: func(k string, v int) { gone[k] = v }}
	c.put("kept", -1)
	for i := range 100 {
		c.put(fmt.Sprint(i), i)
		if v, ok := c.get([]byte("kept")); !ok || v != -1 {
			t.Fatalf("after %d others: what is used all the time is forgotten", i)
		}
		if v, ok := c.get([]byte(fmt.Sprint(i))); !ok || v != i {
			t.Fatalf("what was just put is forgotten: %d", i)
		}
	}
	if n := len(c.young) + len(c.old); n > 30 || n < 10 {
		t.Errorf("%d values are kept", n)
	}
	if len(gone)+len(c.young)+len(c.old) != 101 {
		t.Errorf("%d values evicted, %d kept, of 101", len(gone), len(c.young)+len(c.old))
	}
	c.put("kept", -2)
	if v := c.getOrPut("kept", func() int { return 5 }); v != -2 {
		t.Errorf("kept = %d", v)
	}
	if v := c.getOrPut("new", func() int { return 5 }); v != 5 {
		t.Errorf("new = %d", v)
	}
	// Values are found wherever they are, and are then young.
	for k := range c.old {
		want := c.old[k]
		if got := c.getOrPut(k, func() int { return -3 }); got != want {
			t.Errorf("%s = %d, want %d", k, got, want)
		}
		break
	}
}
