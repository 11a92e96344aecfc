package distributor

import (
	"math/bits"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// streamCache remembers what was found out about label sets. It is a table of fixed size without locks: a
// stream may lie in two places, and one that comes for the second time in a row of those that miss there takes the
// place of what is in it. So streams that come again and again stay, and when there are far more of them than
// places the table keeps what it has: to parse labels takes about as long as to find them in a large table.
type streamCache struct {
	slots []atomic.Pointer[stream]
	// Of each slot two tags, which are parts of hashes: of what is in it, 0 for nothing, and of what was looked for last in
	// vain. They lie together, as where there are very many streams it is memory that takes time, and mostly tell all.
	tags [][2]atomic.Uint32
}

const (
	held = iota
	missed
)

const (
	slotBytes  = 512  // what a stream takes, roughly
	maxKeyKept = 1024 // streams with longer labels are not kept
)

func newStreamCache(bytes int) *streamCache {
	n := 1 << (bits.Len(uint(max(bytes/slotBytes, 2))) - 1)
	return &streamCache{slots: make([]atomic.Pointer[stream], n), tags: make([][2]atomic.Uint32, n)}
}

// get returns the stream of a key, or nil, and the hash of the key.
func (c *streamCache) get(key []byte) (*stream, uint64) {
	h := xxhash.Sum64(key)
	mask := uint64(len(c.slots) - 1)
	for _, slot := range [2]uint64{h & mask, h >> 32 & mask} {
		if c.tags[slot][held].Load() != tagOf(h) {
			continue
		}
		if s := c.slots[slot].Load(); s != nil && s.key == string(key) {
			return s, h
		}
	}
	return nil, h
}

// offer gives the cache a stream that it did not have. It keeps a copy, or not.
func (c *streamCache) offer(key []byte, h uint64, s *stream) {
	if len(key) > maxKeyKept {
		return
	}
	mask := uint64(len(c.slots) - 1)
	slot, other := h&mask, h>>32&mask
	if c.tags[slot][held].Load() != 0 && (h>>63 == 1 || c.tags[other][held].Load() == 0) {
		slot = other
	}
	// A tag that is the same is almost always that of the same stream, which was checked against other limits.
	tags := &c.tags[slot]
	if t := tags[held].Load(); t != 0 && t != tagOf(h) && tags[missed].Swap(tagOf(h)) != tagOf(h) {
		return
	}
	kept := *s
	kept.key = string(key)
	c.slots[slot].Store(&kept)
	tags[held].Store(tagOf(h))
}

func tagOf(h uint64) uint32 { return uint32(h>>24) | 1 }

// len returns how many streams are kept.
func (c *streamCache) len() (n int) {
	for i := range c.slots {
		if c.slots[i].Load() != nil {
			n++
		}
	}
	return n
}
