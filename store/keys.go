package store

import (
	"math/bits"
	"slices"
)

// Classes of bytes in line filters: see docs/format/segment.md.
const classDigit0 = 27

// What the table of bytes says beside the class.
const (
	byteClass   = 1<<6 - 1
	byteLetter  = 1 << 6
	byteAlnum   = 1 << 7
	byteDigit   = 1 << 8
	byteUnicode = 1 << 9 // may start one of the characters that fold to ASCII letters
)

type byteTable [256]uint16

func newByteTable() *byteTable {
	t := &byteTable{}
	for c := range uint16(26) {
		t['a'+c], t['A'+c] = (c+1)|byteLetter|byteAlnum, (c+1)|byteLetter|byteAlnum
	}
	for c := range uint16(10) {
		t['0'+c] = (classDigit0 + c) | byteDigit | byteAlnum
	}
	t[0xc4], t[0xc5], t[0xe2] = byteUnicode, byteUnicode, byteUnicode
	return t
}

// foldClass returns the class and length of the character at the start of s, if it is one of the
// four beyond ASCII that are the upper or lower case of an ASCII letter.
func foldClass[T string | []byte](s T) (class byte, size int) {
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

func wordKey(gram uint64) uint64 { return mix(gram) }
func idKey(gram uint64) uint64   { return mix(gram + idGramMark) }

// keyFinder finds the keys of lines. It is not safe for concurrent use.
type keyFinder struct {
	table *byteTable
	words []uint64 // bitmap of the words' grams
	ids   keySet
	run   []byte // classes of the run of letters and digits being read
	keys  []uint64
}

func newKeyFinder() *keyFinder {
	return &keyFinder{table: newByteTable(), words: make([]uint64, (wordMask+1)/64)}
}

// add takes in a line. It sees every byte that is written, and words end at random, so its loop has no
// branch on where they do.
func (k *keyFinder) add(line []byte) {
	table := k.table
	words := (*[(wordMask + 1) / 64]uint64)(k.words)
	var (
		code    uint32 // the last letters
		letters uint32 // a bit per byte: it was a letter
		run     uint32 // letters and digits up to here
		digit   uint32 // 1 if the run has one
	)
	for i, b := range line {
		t := uint32(table[b])
		if t&byteUnicode != 0 {
			k.addUnicode(line)
			return
		}
		code = code<<5 | t&31
		letters = letters<<1 | t/byteLetter&1
		full := uint64((letters&(1<<wordGram-1) + 1) >> wordGram)
		g := code & wordMask
		words[g>>6] |= full << (g & 63)

		alnum := t / byteAlnum & 1
		ends := digit &^ alnum & ((idSpan - 1 - run) >> 31)
		if ends != 0 {
			k.addRun(line[i-int(run) : i])
		}
		run = (run + 1) & -alnum
		digit = (digit | t/byteDigit) & alnum
	}
	if digit != 0 && run >= idSpan {
		k.addRun(line[len(line)-int(run):])
	}
}

// addRun adds the keys of a run of ASCII letters and digits.
func (k *keyFinder) addRun(s []byte) {
	k.run = k.run[:0]
	for _, b := range s {
		k.run = append(k.run, byte(k.table[b]&byteClass))
	}
	eachMinimizer(k.run, k.ids.add)
}

// addUnicode takes in a line that may have characters that fold to ASCII letters.
func (k *keyFinder) addUnicode(line []byte) {
	k.run = eachKey(k.table, line, k.run,
		func(gram uint64) { k.words[gram>>6] |= 1 << (gram & 63) }, k.ids.add)
}

// eachKey calls word with the grams of letters and id with the keys of identifiers. It is the plain
// version of keyFinder.add. It uses the memory of run, and returns it.
func eachKey[T string | []byte](table *byteTable, text T, run []byte, word, id func(uint64)) []byte {
	run = run[:0]
	var code uint64
	letters, digit := 0, false
	for i := 0; i <= len(text); {
		class, size := byte(0), 1
		if i < len(text) {
			t := table[text[i]]
			class = byte(t & byteClass)
			if t&byteUnicode != 0 {
				class, size = foldClass(text[i:])
			}
		}
		i += size
		switch {
		case class == 0:
			if digit {
				eachMinimizer(run, id)
			}
			run, letters, digit = run[:0], 0, false
			continue
		case class >= classDigit0:
			letters, digit = 0, true
		default:
			code = (code<<5 | uint64(class)) & wordMask
			if letters++; letters >= wordGram {
				word(code)
			}
		}
		run = append(run, class)
	}
	return run
}

// eachMinimizer calls f with the keys of a run of classes, in their order.
func eachMinimizer(run []byte, f func(uint64)) {
	if len(run) < idSpan {
		return
	}
	var g uint64
	for _, c := range run[:idGram-1] {
		g = g<<6 | uint64(c)
	}
	var window [idWindow]uint64 // the last values, the newest first
	least, age := ^uint64(0), 0 // the smallest of them, and where it is
	for i, c := range run[idGram-1:] {
		g = (g<<6 | uint64(c)) & idMask
		v := idKey(g)
		window[4], window[3], window[2], window[1], window[0] = window[3], window[2], window[1], window[0], v
		age++
		fresh := true
		switch {
		case v <= least:
			least, age = v, 0
		case age == idWindow:
			least, age = v, 0
			for j, w := range window {
				if w < least {
					least, age = w, j
				}
			}
		default:
			fresh = i == idWindow-1
		}
		if fresh && i >= idWindow-1 {
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
		for ; w != 0; w &= w - 1 {
			k.keys = append(k.keys, wordKey(uint64(i*64+bits.TrailingZeros64(w))))
		}
	}
	k.keys = k.ids.appendTo(k.keys)
	k.ids.reset()
	return k.keys
}

// needleKeys returns keys that are in the filter of each page of which a line contains the text, in any
// case of letters.
func needleKeys(text string) []uint64 {
	var keys []uint64
	eachKey(newByteTable(), text, nil,
		func(gram uint64) { keys = append(keys, wordKey(gram)) },
		func(key uint64) { keys = append(keys, key) })
	slices.Sort(keys)
	return slices.Compact(keys)
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
