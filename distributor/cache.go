package distributor

import (
	"strings"
	"sync"
)

// cache is a map of bounded size that forgets what was not used for long. It keeps two generations:
// when the younger one is full it becomes the older one, which is dropped; what is found in the older
// one moves to the younger.
type cache[V any] struct {
	max   int             // the cost of one generation
	evict func(string, V) // called, if not nil, for what is forgotten, with the lock held

	mu         sync.Mutex
	young, old map[string]V
	cost       int // of young
}

// get returns the value of key, which it does not keep.
func (c *cache[V]) get(key []byte) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[string(key)]; ok {
		return v, true
	}
	v, ok := c.old[string(key)]
	if ok {
		k := string(key)
		delete(c.old, k)
		c.insert(k, v)
	}
	return v, ok
}

// put sets the value of key.
func (c *cache[V]) put(key string, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.young[key]; ok {
		c.young[key] = v
		return
	}
	delete(c.old, key)
	c.insert(key, v)
}

// getOrPut returns the value of key, made by value if there was none. It keeps a copy of key.
func (c *cache[V]) getOrPut(key string, value func() V) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.young[key]; ok {
		return v
	}
	v, ok := c.old[key]
	if ok {
		delete(c.old, key)
	} else {
		v = value()
	}
	c.insert(strings.Clone(key), v)
	return v
}

// entryCost is about what an entry takes beyond its key.
const entryCost = 256

func (c *cache[V]) insert(key string, v V) {
	cost := entryCost + 3*len(key) // the key, the labels and their names
	if c.young == nil || c.cost+cost > c.max {
		if c.evict != nil {
			for k, v := range c.old {
				c.evict(k, v)
			}
		}
		c.old, c.young, c.cost = c.young, make(map[string]V), 0
	}
	c.young[key] = v
	c.cost += cost
}
