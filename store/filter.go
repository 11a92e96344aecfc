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

// Classes of bytes in line filters.
const (
	classDigit0  = 27
	classUnicode = 255 // may start one of the characters that fold to ASCII letters
)

type byteClasses [256]byte

func newByteClasses() *byteClasses {
	t := &byteClasses{}
	for c := range byte(26) {
		t['a'+c], t['A'+c] = c+1, c+1
	}
	for c := range byte(10) {
		t['0'+c] = classDigit0 + c
	}
	t[0xc4], t[0xc5], t[0xe2] = classUnicode, classUnicode, classUnicode
	return t
}

// foldClass returns the class and length of the character at the start of s, if it is one of the
// four beyond ASCII that are the upper or lower case of an ASCII letter.
func foldClass(s []byte) (class byte, size int) {
	switch {
	case len(s) >= 2 && s[0] == 0xc5 && s[1] == 0xbf: // U+017F
		return 's' - 'a' + 1, 2
	case len(s) >= 2 && s[0] == 0xc4 && (s[1] == 0xb0 || s[1] == 0xb1): // U+0130, U+0131
		return 'i' - 'a' + 1, 2
	case len(s) >= 3 && s[0] == 0xe2 && s[1] == 0x84 && s[2] == 0xaa: // U+212A
		return 'k' - 'a' + 1, 3
	}
	return 0, 1
}

const (
	wordGram   = 4 // letters of a key of a word
	wordMask   = 1<<(5*wordGram) - 1
	idGram     = 6 // letters and digits of a key of an identifier
	idMask     = 1<<(6*idGram) - 1
	idWindow   = 5                     // consecutive grams of which one is a key
	idSpan     = idGram + idWindow - 1 // characters that surely hold a key
	idGramMark = 1 << 40
)

// keyFinder finds the keys of lines. It is not safe for concurrent use.
type keyFinder struct {
	classes *byteClasses
	words   []uint64 // bitmap of the words' grams
	ids     keySet
	run     []byte // classes of the run of letters and digits being read
	keys    []uint64
}

func newKeyFinder() *keyFinder {
	return &keyFinder{classes: newByteClasses(), words: make([]uint64, (wordMask+1)/64)}
}

// add takes in a line.
func (k *keyFinder) add(line []byte) {
	classes, words := k.classes, k.words
	var code uint32 // the last letters; zeros where there were none
	letters := 0
	start, digit := -1, false // of the run of letters and digits
	plain := true             // the run is ASCII only: line[start:i]
	for i := 0; i < len(line); i++ {
		c := classes[line[i]]
		if c-1 < 26 {
			code = code<<5 | uint32(c)
			if letters++; letters >= wordGram {
				g := code & wordMask
				words[g>>6] |= 1 << (g & 63)
			}
			if start < 0 {
				start = i
			}
			continue
		}
		if c == classUnicode {
			var size int
			if c, size = foldClass(line[i:]); c != 0 {
				code = code<<5 | uint32(c)
				if letters++; letters >= wordGram {
					g := code & wordMask
					words[g>>6] |= 1 << (g & 63)
				}
				if start < 0 {
					start = i
				}
				plain = false
				i += size - 1
				continue
			}
		}
		letters = 0
		if c != 0 {
			if start < 0 {
				start = i
			}
			digit = true
			continue
		}
		if start >= 0 {
			if digit && i-start >= idSpan {
				k.addRun(line[start:i], plain)
			}
			start, digit, plain = -1, false, true
		}
	}
	if start >= 0 && digit && len(line)-start >= idSpan {
		k.addRun(line[start:], plain)
	}
}

// addRun adds the keys of a run of letters and digits.
func (k *keyFinder) addRun(s []byte, plain bool) {
	k.run = k.run[:0]
	for i := 0; i < len(s); i++ {
		c := k.classes[s[i]]
		if !plain && c == classUnicode {
			var size int
			c, size = foldClass(s[i:])
			i += size - 1
		}
		k.run = append(k.run, c)
	}
	eachMinimizer(k.run, k.ids.add)
}

// eachMinimizer calls f with the keys of a run of classes, in their order, some more than once.
func eachMinimizer(run []byte, f func(uint64)) {
	if len(run) < idSpan {
		return
	}
	var g uint64
	for _, c := range run[:idGram-1] {
		g = g<<6 | uint64(c)
	}
	var window [idWindow]uint64
	least, age := ^uint64(0), idWindow // the smallest of the window and for how many steps it has been in it
	for i, c := range run[idGram-1:] {
		g = (g<<6 | uint64(c)) & idMask
		v := mix(g + idGramMark)
		window[i%idWindow] = v
		age++
		switch {
		case v <= least:
			least, age = v, 0
		case age >= idWindow:
			if i < idWindow-1 {
				continue
			}
			least, age = v, 0
			for j := 1; j < idWindow; j++ {
				if w := window[(i+idWindow-j)%idWindow]; w < least {
					least, age = w, j
				}
			}
		default:
			if i != idWindow-1 {
				continue
			}
		}
		if i >= idWindow-1 {
			f(least)
		}
	}
}

// take returns all keys without repetition and starts anew. They are valid until the next call.
func (k *keyFinder) take() []uint64 {
	k.keys = k.keys[:0]
	for i, w := range k.words {
		if w == 0 {
			continue
		}
		k.words[i] = 0
		for bit := range 64 {
			if w&(1<<bit) != 0 {
				k.keys = append(k.keys, mix(uint64(i*64+bit)))
			}
		}
	}
	k.keys = k.ids.appendTo(k.keys)
	k.ids.reset()
	return k.keys
}

// needleKeys returns keys that each page has whose lines contain the text; with fold, in any case.
// Keys don't depend on case, so the answer is the same.
func needleKeys(text string) []uint64 {
	k := newKeyFinder()
	k.add([]byte(text))
	return append([]uint64(nil), k.take()...)
}

// keySet is a set of keys. The zero value is empty.
type keySet struct {
	slots []uint64 // 0 is free
	n     int
	zero  bool
}

func (s *keySet) add(v uint64) {
	if v == 0 {
		s.zero = true
		return
	}
	if 2*s.n >= len(s.slots) {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := v & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case v:
			return
		case 0:
			s.slots[i] = v
			s.n++
			return
		}
	}
}

func (s *keySet) grow() {
	old := s.slots
	s.slots = make([]uint64, max(1024, 2*len(old)))
	s.n = 0
	for _, v := range old {
		if v != 0 {
			s.add(v)
		}
	}
}

func (s *keySet) appendTo(dst []uint64) []uint64 {
	if s.zero {
		dst = append(dst, 0)
	}
	for _, v := range s.slots {
		if v != 0 {
			dst = append(dst, v)
		}
	}
	return dst
}

// reset empties the set; a very large one is given back.
func (s *keySet) reset() {
	if len(s.slots) > 1<<17 {
		s.slots = nil
	}
	clear(s.slots)
	s.n, s.zero = 0, false
}
