package store

import (
	"encoding/binary"
	"math/bits"
	"slices"

	"example.com/loki/internal/bytesearch"
)

// keyFinder finds the keys of the lines of a page, block by block. It sees every byte that is written,
// so it looks at eight of them at once, and at what it has just seen not again. It is not safe for
// concurrent use.
type keyFinder struct {
	table   *byteTable
	letters []uint64 // of the line: a bit for each byte
	alnums  []uint64
	run     []byte // classes of the identifier being read

	// seen are pieces of words whose grams have been taken in, at the places of their hashes: nearly all
	// of a page repeats what is there already.
	seen [1 << seenBits]uint64

	block int      // that is being filled
	words gramSet  // of the page
	ids   idSet    // of the block
	keys  []uint64 // of the identifiers of all blocks
	ends  []int    // where those of each block end in keys
	taken pageKeys
}

const seenBits = 11

func newKeyFinder() *keyFinder { return &keyFinder{table: newByteTable()} }

// cut begins the next block.
func (k *keyFinder) cut() {
	k.keys = k.ids.appendTo(k.keys)
	k.ends = append(k.ends, len(k.keys))
	k.ids.reset()
	clear(k.seen[:])
	k.block++
}

// pageKeys are the keys of a page, each once but for those of an identifier that several blocks have.
type pageKeys struct {
	common []uint64   // of words in more than one block
	own    [][]uint64 // per block: of the words that it alone has, and of its identifiers
	all    []uint64   // memory of own
}

// take ends the last block, returns the keys of the page and starts anew. They are valid until the next
// call.
func (k *keyFinder) take() *pageKeys {
	k.cut()
	var words [maxPageBlocks]int // that a block alone has
	p := &k.taken
	p.common = p.common[:0]
	for _, s := range k.words.slots {
		switch {
		case s == 0:
		case s&gramCommon != 0:
			p.common = append(p.common, wordKey(uint64(s&wordMask)))
		default:
			words[s.block()]++
		}
	}
	size := len(k.keys)
	for _, n := range words {
		size += n
	}
	p.all = slices.Grow(p.all[:0], size)
	p.own = p.own[:0]
	from := 0
	for b, to := range k.ends {
		at := len(p.all)
		p.all = append(p.all, k.keys[from:to]...)
		end := len(p.all) + words[b]
		p.own = append(p.own, p.all[at:len(p.all):end])
		p.all = p.all[:end]
		from = to
	}
	for _, s := range k.words.slots {
		if s != 0 && s&gramCommon == 0 {
			b := s.block()
			p.own[b] = append(p.own[b], wordKey(uint64(s&wordMask)))
		}
	}
	k.words.reset()
	k.block, k.keys, k.ends = 0, k.keys[:0], k.ends[:0]
	return p
}

const ones = 0x0101010101010101

// loadWord returns the 8 bytes at i, the first one lowest, with zeros where the line, which has 8 bytes or
// more, has ended.
func loadWord(line []byte, i int) uint64 {
	if i+8 <= len(line) {
		return binary.LittleEndian.Uint64(line[i:])
	}
	return binary.LittleEndian.Uint64(line[len(line)-8:]) >> (8 * (i + 8 - len(line)))
}

// add takes in a line.
func (k *keyFinder) add(line []byte) {
	if len(line) < 8 || !k.scan(line) {
		k.addPlain(line)
		return
	}
	// A gram starts where four letters follow one another, an identifier where seven letters and digits do
	// and none precedes.
	var before uint64
	for i := range len(k.letters) - 1 {
		l0, l1 := k.letters[i], k.letters[i+1]
		if l0 != 0 {
			pairs := l0 & (l0>>1 | l1<<63)
			k.addWords(line, i, pairs&(pairs>>2|(l1&(l1>>1))<<62))
		}
		a0, a1 := k.alnums[i], k.alnums[i+1]
		b0, b1 := a0&(a0>>1|a1<<63), a1&(a1>>1)
		c0, c1 := b0&(b0>>2|b1<<62), b1&(b1>>2) // four follow one another
		starts := c0 & (c0>>(idSpan-4) | c1<<(64-(idSpan-4))) &^ (a0<<1 | before>>63)
		for ; starts != 0; starts &= starts - 1 {
			k.addRun(line, 64*i+bits.TrailingZeros64(starts))
		}
		before = a0
	}
}

// scan finds the letters and digits of a line. It returns false if the line may have characters beyond
// ASCII that fold to ASCII letters.
func (k *keyFinder) scan(line []byte) bool {
	words := (len(line)+63)/64 + 1 // one more, which is zero
	k.letters = slices.Grow(k.letters[:0], words)[:words]
	k.alnums = slices.Grow(k.alnums[:0], words)[:words]
	k.letters[words-1], k.alnums[words-1] = 0, 0
	return bytesearch.Classes(line, k.letters, k.alnums) || !k.folds(line)
}

// folds tells whether a line may have one of the characters beyond ASCII that count as ASCII letters.
func (k *keyFinder) folds(line []byte) bool {
	for i, b := range line {
		if k.table[b]&byteUnicode != 0 {
			if class, _ := foldClass(line[i:]); class != 0 {
				return true
			}
		}
	}
	return false
}

// addWords takes in the grams that start at the given bits of word i of a line. It does so in pieces of
// up to 8 letters.
func (k *keyFinder) addWords(line []byte, i int, starts uint64) {
	l0, l1 := k.letters[i], k.letters[i+1]
	for starts != 0 {
		p := bits.TrailingZeros64(starts)
		n := bits.TrailingZeros64(^(l0>>p | l1<<(64-p)) | 1<<8)
		w := (loadWord(line, 64*i+p) | 0x20*ones) & (1<<(8*n) - 1)
		seen := &k.seen[w*0x9e3779b97f4a7c15>>(64-seenBits)]
		if *seen != w {
			*seen = w
			for j := range n - wordGram + 1 {
				k.words.add(fourLetters(w>>(8*j)), k.block)
			}
		}
		starts &^= (1<<(n-wordGram+1) - 1) << p
	}
}

// fourLetters is the gram of the 4 letters in the low bytes.
func fourLetters(v uint64) uint32 {
	x := uint32(v) & 0x1f1f1f1f
	return x<<15&(31<<15) | x<<2&(31<<10) | x>>11&(31<<5) | x>>24
}

// addRun adds the keys of the letters and digits that start at byte i, if there is a digit among them.
func (k *keyFinder) addRun(line []byte, i int) {
	at, bit := i/64, i%64
	alnums := k.alnums[at]>>bit | k.alnums[at+1]<<(64-bit)
	n := bits.TrailingZeros64(^alnums)
	if n < 64 {
		letters := k.letters[at]>>bit | k.letters[at+1]<<(64-bit)
		if alnums&^letters&(1<<n-1) == 0 {
			return
		}
	} else if n = k.longRun(i); n == 0 {
		return
	}
	// The key of a window is its gram of the least rank: the least of the last four, as no two grams share one.
	run := line[i : i+n]
	t := k.table
	g := uint64(t[run[0]]&byteClass)<<12 | uint64(t[run[1]]&byteClass)<<6 | uint64(t[run[2]]&byteClass)
	var ranks [idWindow - 1]uint64 // of the grams before
	last := ^uint64(0)
	for j, c := range run[idGram-1:] {
		g = (g<<6 | uint64(t[c]&byteClass)) & idMask
		r := idRank(g)
		least := min(min(ranks[0], ranks[1]), min(ranks[2], r))
		ranks[0], ranks[1], ranks[2] = ranks[1], ranks[2], r
		if j >= idWindow-1 && least != last {
			k.ids.add(least)
			last = least
		}
	}
}

// longRun returns the length of the letters and digits that start at byte i, 0 if there is no digit among them.
func (k *keyFinder) longRun(i int) (n int) {
	digit := false
	for {
		at, bit := (i+n)/64, (i+n)%64
		if k.alnums[at]>>bit&1 == 0 {
			break
		}
		digit = digit || k.letters[at]>>bit&1 == 0
		n++
	}
	if !digit {
		return 0
	}
	return n
}

// addPlain takes in any line.
func (k *keyFinder) addPlain(line []byte) {
	k.run = eachKey(k.table, line, k.run,
		func(gram uint64) { k.words.add(uint32(gram), k.block) },
		func(gram uint64) { k.ids.add(idRank(gram)) })
}

// gramSlot is a gram of letters, the block that has it, and whether others have it too. 0 is none: no
// letter is of class 0.
type gramSlot uint32

const (
	gramCommon    = 1 << 31
	maxPageBlocks = 64 // that a page may have
)

func newGramSlot(gram uint32, block int) gramSlot {
	return gramSlot(gram | uint32(block)<<(5*wordGram))
}

func (s gramSlot) block() int { return int(s >> (5 * wordGram) & (maxPageBlocks - 1)) }

// gramSet is a set of grams of letters. The zero value is empty.
type gramSet struct {
	slots []gramSlot
	n     int
}

// find returns the slot of a gram, or the free one that it belongs in.
func (s *gramSet) find(gram uint32) *gramSlot {
	mask := uint32(len(s.slots) - 1)
	i := gram * 0x9e3779b1 >> 7 & mask
	for s.slots[i] != 0 && uint32(s.slots[i]&wordMask) != gram {
		i = (i + 1) & mask
	}
	return &s.slots[i]
}

func (s *gramSet) add(gram uint32, block int) {
	if 2*s.n >= len(s.slots) {
		s.grow()
	}
	slot := s.find(gram)
	switch {
	case *slot == 0:
		*slot = newGramSlot(gram, block)
		s.n++
	case slot.block() != block:
		*slot |= gramCommon
	}
}

func (s *gramSet) grow() {
	old := s.slots
	s.slots = make([]gramSlot, max(4096, 2*len(old)))
	for _, slot := range old {
		if slot != 0 {
			*s.find(uint32(slot & wordMask)) = slot
		}
	}
}

// reset empties the set; a very large one is given back.
func (s *gramSet) reset() {
	if len(s.slots) > 1<<16 {
		s.slots = nil
	}
	clear(s.slots)
	s.n = 0
}

// idSet is a set of grams of identifiers, told by their ranks. The zero value is empty.
type idSet struct {
	slots []uint32 // 1 + the low bits of the rank; 0 is free
	n     int
}

// add adds the gram of a rank. Ranks are multiples of an odd number, so as many low bits as a gram has tell them apart; those
// above spread them.
func (s *idSet) add(rank uint64) {
	if 2*s.n >= len(s.slots) {
		s.grow()
	}
	v := uint32(rank&idMask) + 1
	mask := uint32(len(s.slots) - 1)
	for i := v * 0x9e3779b1 >> 8 & mask; ; i = (i + 1) & mask {
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

func (s *idSet) grow() {
	old := s.slots
	s.slots = make([]uint32, max(1024, 2*len(old)))
	s.n = 0
	for _, v := range old {
		if v != 0 {
			s.add(uint64(v - 1))
		}
	}
}

// appendTo appends the keys.
func (s *idSet) appendTo(dst []uint64) []uint64 {
	for _, v := range s.slots {
		if v != 0 {
			dst = append(dst, idKey(idOfRank(uint64(v-1))))
		}
	}
	return dst
}

// reset empties the set; a very large one is given back.
func (s *idSet) reset() {
	if len(s.slots) > 1<<17 {
		s.slots = nil
	}
	clear(s.slots)
	s.n = 0
}
