package store

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// A filter is a Bloom filter whose keys each stay within one block of the size of a cache line, so
// that a look-up costs one cache miss. A key sets 3 bits. At the sizes below it errs in some 15 % of
// look-ups of text, of which a query makes several, and in 3 % of those of metadata, of which it
// makes one.
const (
	filterBlock      = 64 // bytes
	lineBitsPerKey   = 4
	metaBitsPerKey   = 9
	maxFilterBlocks  = 1 << 24
	filterKeyBitMask = 8*filterBlock - 1
)

func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	x ^= x >> 31
	return x
}

// appendFilter appends a filter of the keys with its checksum, or nothing if there are no keys.
func appendFilter(dst []byte, keys []uint64, bitsPerKey int) []byte {
	if len(keys) == 0 {
		return dst
	}
	n := (len(keys)*bitsPerKey + 8*filterBlock - 1) / (8 * filterBlock)
	n = min(n, maxFilterBlocks)
	at := len(dst)
	dst = append(dst, make([]byte, n*filterBlock)...)
	f := dst[at:]
	for _, h := range keys {
		b := f[int((h>>32)*uint64(n)>>32)*filterBlock:][:filterBlock]
		for _, i := range [3]uint64{h, h >> 9, h >> 18} {
			i &= filterKeyBitMask
			b[i>>3] |= 1 << (i & 7)
		}
	}
	return appendCRC(dst, f)
}

// filter is the blocks of a filter without the checksum. The empty filter holds no key.
type filter []byte

func openFilter(b []byte) (filter, error) {
	if len(b) == 0 {
		return nil, nil
	}
	f, err := checkCRC(b)
	if err != nil {
		return nil, err
	}
	if len(f) == 0 || len(f)%filterBlock != 0 {
		return nil, fmt.Errorf("filter of %d bytes", len(f))
	}
	return f, nil
}

// has tells whether the key may have been added.
func (f filter) has(h uint64) bool {
	if len(f) == 0 {
		return false
	}
	n := uint64(len(f) / filterBlock)
	b := f[int((h>>32)*n>>32)*filterBlock:][:filterBlock]
	for _, i := range [3]uint64{h, h >> 9, h >> 18} {
		i &= filterKeyBitMask
		if b[i>>3]&(1<<(i&7)) == 0 {
			return false
		}
	}
	return true
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
