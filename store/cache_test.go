package store

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
)

// tracked notices use after free.
type tracked struct{ freed atomic.Bool }

func newTestCache(limit int64, t *testing.T) *cache[int, *tracked] {
	return newCache[int](limit, func(v *tracked) {
		if v.freed.Swap(true) {
			t.Error("freed twice")
		}
	}, nopCounter(), nopCounter())
}

func load(cost int64) func() (*tracked, int64, error) {
	return func() (*tracked, int64, error) { return &tracked{}, cost, nil }
}

func TestCacheKeepsWhatIsInUse(t *testing.T) {
	c := newTestCache(10, t)
	ctx := t.Context()
	a, _ := c.get(ctx, 1, load(6))
	b, _ := c.get(ctx, 2, load(6)) // evicts 1, which is in use
	if a.val.freed.Load() {
		t.Error("1 was freed while in use")
	}
	a.release()
	if !a.val.freed.Load() {
		t.Error("1 was not freed after its last use")
	}
	b.release()
	if b.val.freed.Load() {
		t.Error("2 was freed though it is cached")
	}
	if b2, _ := c.get(ctx, 2, load(99)); b2 != b {
		t.Error("2 was loaded again")
	} else {
		b2.release()
	}
	huge, _ := c.get(ctx, 3, load(11))
	if n, bytes := c.stats(); n != 1 || bytes != 6 {
		t.Errorf("after a value that does not fit: %d entries, %d bytes", n, bytes)
	}
	huge.release()
	if !huge.val.freed.Load() || b.val.freed.Load() {
		t.Error("a value that does not fit must go and leave others alone")
	}
	c.purge()
	if n, bytes := c.stats(); n != 0 || bytes != 0 || !b.val.freed.Load() {
		t.Errorf("after purge: %d entries, %d bytes", n, bytes)
	}
}

// TestCacheAge: what nobody asks for goes, though there is room, and what is in use stays whole.
func TestCacheAge(t *testing.T) {
	c := newTestCache(100, t)
	get := func(key int) *handle[int, *tracked] {
		h, err := c.get(t.Context(), key, load(1))
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	held := get(1)
	get(2).release()
	get(3).release()
	for range idleTicks {
		c.age()
		get(3).release()
	}
	if n, _ := c.stats(); n != 3 {
		t.Fatalf("%d entries before they are old, want 3", n)
	}
	c.age()
	if n, bytes := c.stats(); n != 1 || bytes != 1 {
		t.Errorf("%d entries of %d bytes are left, want the one that is asked for", n, bytes)
	}
	if held.val.freed.Load() {
		t.Error("a value in use was freed")
	}
	held.release()
	if !held.val.freed.Load() {
		t.Error("the last user did not free the value")
	}
}

func TestCacheErrors(t *testing.T) {
	c := newTestCache(10, t)
	broken := errors.New("broken")
	if _, err := c.get(t.Context(), 1, func() (*tracked, int64, error) { return nil, 0, broken }); err != broken {
		t.Errorf("get = %v", err)
	}
	func() {
		defer func() { _ = recover() }()
		_, _ = c.get(t.Context(), 1, func() (*tracked, int64, error) { panic("oops") })
	}()
	h, err := c.get(t.Context(), 1, load(1))
	if err != nil {
		t.Fatalf("get after an error: %v", err)
	}
	h.release()
}

// TestCacheCancel checks that one who waits neither hangs on nor inherits the end of another's context.
func TestCacheCancel(t *testing.T) {
	c := newTestCache(10, t)
	loading, proceed := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := c.get(context.Background(), 1, func() (*tracked, int64, error) {
			close(loading)
			<-proceed
			return nil, 0, context.Canceled
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("loader: %v", err)
		}
	})
	<-loading
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.get(ctx, 1, load(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	wg.Go(func() {
		h, err := c.get(context.Background(), 1, load(1))
		if err != nil {
			t.Errorf("waiting: %v", err)
			return
		}
		h.release()
	})
	close(proceed)
	wg.Wait()
}

func TestCacheConcurrent(t *testing.T) {
	c := newTestCache(50, t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				h, err := c.get(context.Background(), (i*7+g*13)%40, load(int64(i%9)))
				if err != nil {
					t.Error(err)
					return
				}
				if h.val.freed.Load() {
					t.Error("freed while in use")
				}
				h.release()
			}
		})
	}
	wg.Wait()
	if _, bytes := c.stats(); bytes > 50 {
		t.Errorf("%d bytes", bytes)
	}
}
