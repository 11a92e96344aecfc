package store

import "github.com/cespare/xxhash/v2"

// A filter is a Bloom filter; a key sets 3 bits. At the sizes below it errs in some 9 % of look-ups of
// text, of which a query makes several, and in 2 % of those of metadata, of which it makes one.
const (
	filterWord      = 8 // bytes: the size of a filter is a multiple
	lineBitsPerKey  = 5
	metaBitsPerKey  = 9
	maxFilterBytes  = 1 << 28
	filterKeyProbes = 3
)

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}

// filterProbes returns three numbers below bits, which is below 2³².
func filterProbes(h, bits uint64) [filterKeyProbes]uint64 {
	return [filterKeyProbes]uint64{h >> 32 * bits >> 32, h & (1<<32 - 1) * bits >> 32, h >> 16 & (1<<32 - 1) * bits >> 32}
}

// appendFilter appends a filter of the keys, or nothing if there are no keys.
func appendFilter(dst []byte, keys []uint64, bitsPerKey int) []byte {
	if len(keys) == 0 {
		return dst
	}
	n := (len(keys)*bitsPerKey + 8*filterWord - 1) / (8 * filterWord) * filterWord
	n = min(n, maxFilterBytes)
	at := len(dst)
	dst = append(dst, make([]byte, n)...)
	f := dst[at:]
	for _, h := range keys {
		for _, i := range filterProbes(h, uint64(8*n)) {
			f[i>>3] |= 1 << (i & 7)
		}
	}
	return dst
}

// sealFilters appends the checksum of filters that a page has, if it has any.
func sealFilters(f []byte) []byte {
	if len(f) == 0 {
		return f
	}
	return appendCRC(f, f)
}

// openFilters verifies what sealFilters made.
func openFilters(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, nil
	}
	return checkCRC(b)
}

// filter is the bits. The empty filter holds no key.
type filter []byte

// has tells whether the key may have been added. It looks at all bits at once: filters lie in memory that no cache
// holds, and which bit is missing can't be foreseen.
func (f filter) has(h uint64) bool {
	if len(f) == 0 {
		return false
	}
	i := filterProbes(h, uint64(8*len(f)))
	return f[i[0]>>3]>>(i[0]&7)&(f[i[1]>>3]>>(i[1]&7))&(f[i[2]>>3]>>(i[2]&7))&1 != 0
}

func (f filter) hasAll(keys []uint64) bool {
	for _, k := range keys {
		if !f.has(k) {
			return false
		}
	}
	return true
}

// metaKey is the key of a name and a value in a metadata filter.
func metaKey[T string | []byte](name string, value T) uint64 {
	var buf [256]byte
	b := append(buf[:0], name...)
	b = append(b, 0)
	b = append(b, value...)
	return xxhash.Sum64(b)
}
