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
	length uint32 // beyond shortKey: it lies in long
	long   uint32 // the number of a longer key in long
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
		return s.length > shortKey && t.long[s.long] == string(key)
	}
	return int(s.length) == len(key) && string(s.short[:len(key)]) == string(key)
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

// add adds a key that is not there.
func (t *keyTable) add(key []byte, number int) {
	if t.slots == nil {
		t.seed = maphash.MakeSeed()
		t.slots = make([]keySlot, 64)
	}
	if t.used >= len(t.slots)/4*3 {
		old := t.slots
		t.slots = make([]keySlot, 2*len(old))
		for i := range old {
			if s := &old[i]; s.number != 0 {
				*t.free(s.hash) = *s
			}
		}
	}
	hash := t.hash(key)
	s := t.free(hash)
	*s = keySlot{hash: hash, number: int32(number) + 1, length: uint32(min(len(key), shortKey+1)), long: uint32(len(t.long))}
	if copy(s.short[:], key) < len(key) {
		t.long = append(t.long, string(key))
	}
	t.used++
}
