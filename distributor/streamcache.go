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
	slots  []atomic.Pointer[stream]
	tags   []atomic.Uint32 // of each slot: part of the hash of what is in it, to look at first
	missed []atomic.Uint32 // of each slot: the tag of what was looked for last in vain
}

const (
	slotBytes  = 512  // what a stream takes, roughly
	maxKeyKept = 1024 // streams with longer labels are not kept
)

func newStreamCache(bytes int) *streamCache {
	n := 1 << (bits.Len(uint(max(bytes/slotBytes, 2))) - 1)
	return &streamCache{slots: make([]atomic.Pointer[stream], n), tags: make([]atomic.Uint32, n), missed: make([]atomic.Uint32, n)}
}

// get returns the stream of a key, or nil, and the hash of the key.
func (c *streamCache) get(key []byte) (*stream, uint64) {
	h := xxhash.Sum64(key)
	mask := uint64(len(c.slots) - 1)
	for _, slot := range [2]uint64{h & mask, h >> 32 & mask} {
		if c.tags[slot].Load() != tagOf(h) {
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
	slot := h & mask
	if c.slots[slot].Load() != nil && (c.slots[h>>32&mask].Load() == nil || h>>63 == 1) {
		slot = h >> 32 & mask
	}
	known := c.slots[slot].Load()
	if known != nil && known.key != string(key) {
		if c.missed[slot].Swap(tagOf(h)) != tagOf(h) {
			return
		}
	}
	kept := *s
	kept.key = string(key)
	c.slots[slot].Store(&kept)
	c.tags[slot].Store(tagOf(h))
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
