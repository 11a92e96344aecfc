package store

import (
	"container/list"
	"context"
	"errors"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// idleTicks is after how many calls of age an entry that nobody asks for is dropped.
const idleTicks = 4

// cache keeps values up to a number of bytes, the most recently used ones. Values are counted
// references: one that is evicted while in use stays whole until its last user releases it, and only
// then goes to free.
type cache[K comparable, V any] struct {
	limit int64
	free  func(V) // may be nil

	hits, misses prometheus.Counter

	mu      sync.Mutex
	entries map[K]*handle[K, V]
	lru     *list.List // of *handle[K, V], most recently used first; only loaded ones
	used    int64
	tick    uint64 // calls of age so far
}

// handle is a reference to a cached value.
type handle[K comparable, V any] struct {
	c     *cache[K, V]
	key   K
	ready chan struct{} // closed when val or err is set
	val   V
	err   error

	// guarded by c.mu
	cost int64
	refs int    // of users, and one of the cache
	used uint64 // the tick of the last get
	elem *list.Element
}

func newCache[K comparable, V any](limit int64, free func(V), hits, misses prometheus.Counter) *cache[K, V] {
	return &cache[K, V]{
		limit: limit, free: free, hits: hits, misses: misses,
		entries: make(map[K]*handle[K, V]), lru: list.New(),
	}
}

// get returns the value of the key, loading it if need be; of several callers one loads and the others
// wait. The caller must release the handle.
func (c *cache[K, V]) get(ctx context.Context, key K, load func() (V, int64, error)) (*handle[K, V], error) {
	for {
		c.mu.Lock()
		h := c.entries[key]
		if h == nil {
			h = &handle[K, V]{c: c, key: key, ready: make(chan struct{}), refs: 2, used: c.tick}
			c.entries[key] = h
			c.mu.Unlock()
			c.misses.Inc()
			return h.fill(load)
		}
		h.refs++
		h.used = c.tick
		if h.elem != nil {
			c.lru.MoveToFront(h.elem)
		}
		c.mu.Unlock()
		select {
		case <-h.ready:
		case <-ctx.Done():
			h.release()
			return nil, ctx.Err()
		}
		if h.err == nil {
			c.hits.Inc()
			return h, nil
		}
		h.release()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if !errors.Is(h.err, context.Canceled) && !errors.Is(h.err, context.DeadlineExceeded) {
			return nil, h.err
		}
		// Whoever was loading gave up; we have not.
	}
}

// has tells whether a value is there, or being loaded.
func (c *cache[K, V]) has(key K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[key] != nil
}

// fill loads the value. Should load panic, those who wait get an error.
func (h *handle[K, V]) fill(load func() (V, int64, error)) (_ *handle[K, V], err error) {
	h.err = errors.New("store: loading was interrupted")
	defer func() {
		if h.err != nil {
			err = h.err
			h.c.drop(h)
			close(h.ready)
			h.release()
		}
	}()
	val, cost, loadErr := load()
	if h.err = loadErr; loadErr != nil {
		return nil, loadErr
	}
	h.val = val
	c := h.c
	c.mu.Lock()
	h.cost = cost
	var free []*handle[K, V]
	if cost > c.limit {
		// It would push out everything and not even fit.
		c.unlink(h)
		h.refs--
	} else {
		h.elem = c.lru.PushFront(h)
		c.used += cost
		free = c.shrink()
	}
	c.mu.Unlock()
	close(h.ready)
	c.freeAll(free)
	return h, nil
}

// weigh says that a value that is in use costs something else now.
func (c *cache[K, V]) weigh(h *handle[K, V], cost int64) {
	c.mu.Lock()
	var free []*handle[K, V]
	if h.elem != nil { // else it is not in the cache any more
		if cost > c.limit {
			c.unlink(h)
			h.refs--
		} else {
			c.used += cost - h.cost
			free = c.shrink()
		}
		h.cost = cost
	}
	c.mu.Unlock()
	c.freeAll(free)
}

// shrink evicts what is too much; it returns what nobody uses. It needs c.mu.
func (c *cache[K, V]) shrink() []*handle[K, V] {
	var free []*handle[K, V]
	for c.used > c.limit {
		last := c.lru.Back()
		if last == nil {
			break
		}
		h := last.Value.(*handle[K, V])
		c.unlink(h)
		if h.refs--; h.refs == 0 {
			free = append(free, h)
		}
	}
	return free
}

// age is called at intervals. It drops what has not been asked for in the last idleTicks of them, and returns what of it
// nobody uses. Memory may be left to the garbage collector: what nobody has missed for so long is not worth a place in a pool
// either.
func (c *cache[K, V]) age() (free []*handle[K, V]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tick++
	for last := c.lru.Back(); last != nil; last = c.lru.Back() {
		h := last.Value.(*handle[K, V])
		if c.tick-h.used <= idleTicks {
			return free
		}
		c.unlink(h)
		if h.refs--; h.refs == 0 {
			free = append(free, h)
		}
	}
	return free
}

// forget drops a value, if it is there. Who uses it keeps it.
func (c *cache[K, V]) forget(key K) {
	c.mu.Lock()
	h := c.entries[key]
	loaded := h != nil && h.elem != nil
	if loaded {
		c.unlink(h)
	}
	c.mu.Unlock()
	if loaded {
		h.release()
	}
}

// unlink takes an entry out of the cache. It needs c.mu.
func (c *cache[K, V]) unlink(h *handle[K, V]) {
	if c.entries[h.key] == h {
		delete(c.entries, h.key)
	}
	if h.elem != nil {
		c.lru.Remove(h.elem)
		h.elem = nil
		c.used -= h.cost
	}
}

// drop takes away the cache's own reference, if it still has one.
func (c *cache[K, V]) drop(h *handle[K, V]) {
	c.mu.Lock()
	held := c.entries[h.key] == h
	c.unlink(h)
	c.mu.Unlock()
	if held {
		h.release()
	}
}

func (c *cache[K, V]) freeAll(hs []*handle[K, V]) {
	if c.free == nil {
		return
	}
	for _, h := range hs {
		c.free(h.val)
	}
}

// release gives the reference back. The value must not be used any more.
func (h *handle[K, V]) release() {
	h.c.mu.Lock()
	h.refs--
	last := h.refs == 0
	h.c.mu.Unlock()
	if last && h.err == nil && h.c.free != nil {
		h.c.free(h.val)
	}
}

// stats returns the number of entries and their bytes.
func (c *cache[K, V]) stats() (entries int, bytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries), c.used
}

// purge drops everything.
func (c *cache[K, V]) purge() {
	c.mu.Lock()
	limit := c.limit
	c.limit = -1
	free := c.shrink()
	c.limit = limit
	c.mu.Unlock()
	c.freeAll(free)
}
