package pipeline

import "hash/maphash"

// keyTable is a map from keys to numbers for very many keys that are asked for in no order: a look costs
// one access to memory that is in no cache where a map costs three, since most keys lie in the table itself.
// The zero value is empty.
type keyTable struct {
	seed  maphash.Seed
	slots []keySlot // a power of two of them
	used  int
	long  []string // keys that don't fit into a slot
}

const shortKey = 16

// keySlot is a key with its number.
type keySlot struct {
	hash   uint32
	number int32  // plus 1; 0: the slot is free
	count  uint32 // of rows that were counted here and nowhere else
	size   uint32 // of the key; beyond shortKey: the key is long[size-shortKey-1]
	short  [shortKey]byte
}

// find returns the slot of a key, or the free one where it would be.
func (t *keyTable) find(key []byte, hash uint32) *keySlot {
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.number == 0 || s.hash == hash && t.equal(s, key) {
			return s
		}
	}
}

func (t *keyTable) equal(s *keySlot, key []byte) bool {
	if len(key) > shortKey {
		return s.size > shortKey && t.long[s.size-shortKey-1] == string(key)
	}
	return int(s.size) == len(key) && string(s.short[:len(key)]) == string(key)
}

func (t *keyTable) hash(key []byte) uint32 {
	h := maphash.Bytes(t.seed, key)
	return uint32(h ^ h>>32)
}

// free returns a free slot for a key that is not there.
func (t *keyTable) free(hash uint32) *keySlot {
	mask := uint32(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i].number != 0 {
		i = (i + 1) & mask
	}
	return &t.slots[i]
}

// get returns the number of a key.
func (t *keyTable) get(key []byte) (int, bool) {
	if t.used == 0 {
		return 0, false
	}
	s := t.find(key, t.hash(key))
	return int(s.number) - 1, s.number != 0
}

// begin makes the table ready for keys.
func (t *keyTable) begin() {
	if t.slots == nil {
		t.seed = maphash.MakeSeed()
		t.slots = make([]keySlot, 64)
	}
}

// add adds a key that is not there.
func (t *keyTable) add(key []byte, number int) {
	t.begin()
	t.put(key, t.hash(key), number)
}

// put adds a key that is not there to a table that has begun, and returns its slot.
func (t *keyTable) put(key []byte, hash uint32, number int) *keySlot {
	if t.used >= len(t.slots)/4*3 {
		old := t.slots
		t.slots = make([]keySlot, 2*len(old))
		for i := range old {
			if s := &old[i]; s.number != 0 {
				*t.free(s.hash) = *s
			}
		}
	}
	s := t.free(hash)
	*s = keySlot{hash: hash, number: int32(number) + 1, size: uint32(len(key))}
	if copy(s.short[:], key) < len(key) {
		s.size = shortKey + 1 + uint32(len(t.long))
		t.long = append(t.long, string(key))
	}
	t.used++
	return s
}
