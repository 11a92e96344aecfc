package distributor

import (
	"fmt"
	"testing"
)

// TestStreamCache holds what the cache promises: it never gives one stream for another, keeps what comes again and again, and
// does not grow.
func TestStreamCache(t *testing.T) {
	c := newStreamCache(256 * slotBytes)
	look := func(key string) bool {
		s, h := c.get([]byte(key))
		if s == nil {
			c.offer([]byte(key), h, &stream{level: []byte(key)})
			return false
		}
		if s.key != key || string(s.level) != key {
			t.Fatalf("%s: found %s", key, s.key)
		}
		return true
	}
	hits := 0
	for round := range 20 {
		for n := range 100 {
			if look(fmt.Sprint("often ", n)) && round >= 10 {
				hits++
			}
		}
		for n := range 500 { // streams that never come again
			look(fmt.Sprint("once ", round, n))
		}
	}
	if hits < 700 {
		t.Errorf("of 1000 looks at streams that come again and again, %d found them", hits)
	}
	if n := c.len(); n > 256 {
		t.Errorf("%d streams are kept", n)
	}
	look("x" + string(make([]byte, maxKeyKept)))
	if look("x" + string(make([]byte, maxKeyKept))) {
		t.Error("a stream with very long labels is kept")
	}
}

// TestRateTable checks the tokens of a bucket, and that a bucket is forgotten only when it is full again or there are
// too many.
func TestRateTable(t *testing.T) {
	const second = int64(1e9)
	r := newRateTable(16 * 2 * 1000 * rateBytes)
	now := int64(1_700_000_000) * second
	take := func(key uint64, after int64, n int, want bool) {
		t.Helper()
		now += after
		if got := r.allow(key, now, n, 100, 1000); got != want {
			t.Errorf("%d tokens of stream %d: %v", n, key, got)
		}
	}
	take(1, 0, 1000, true)
	take(1, 0, 1, false)
	take(1, second, 101, false)
	take(1, 0, 100, true)
	take(1, second/2, 50, true)
	take(1, -second, 1, false) // clocks go back
	take(2, 0, 1001, false)    // never more than the burst
	take(1, 61*second, 0, true)
	take(2, 61*second, 1000, true)
	take(1, 0, 1000, true)
	for n := range 100_000 {
		r.allow(uint64(n)<<40, now, 1, 100, 1000)
	}
	if n := r.len(); n > 32_000 {
		t.Errorf("%d rates are kept", n)
	}
	now += 1000 * second
	for n := range 100_000 {
		r.allow(uint64(n%16)<<60, now, 1, 100, 1000)
		now += second
	}
	if n := r.len(); n > 32 {
		t.Errorf("the rates of %d streams are kept, of which 16 are used", n)
	}
}

// BenchmarkStreamCache looks for streams that there are far more of than places.
func BenchmarkStreamCache(b *testing.B) {
	const streams = 1_000_000
	keys := make([]byte, 0, 64*streams)
	for n := range streams {
		keys = fmt.Appendf(keys, "%-64s", fmt.Sprintf(`tenant {app="app%02d", namespace="ns-%d", pod="%08x"}`, n%10, n%5, uint32(n)*2654435761))
	}
	c := newStreamCache(16 << 20)
	n := 0
	for b.Loop() {
		key := keys[64*n:][:64]
		if s, h := c.get(key); s == nil {
			c.offer(key, h, &stream{})
		}
		if n++; n == streams {
			n = 0
		}
	}
}

// BenchmarkRateTable takes tokens of streams that there are far more of than places.
func BenchmarkRateTable(b *testing.B) {
	t := newRateTable(16 << 20)
	n := uint64(0)
	for b.Loop() {
		n++
		if !t.allow(n*0x9e3779b97f4a7c15, 1, 200, 1e9, 1e9) {
			b.Fatal("refused")
		}
	}
}
