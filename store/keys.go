package store

import "slices"

// Classes of bytes in line filters: see docs/format/segment.md.
const classDigit0 = 27

// What the table of bytes says beside the class.
const (
	byteClass   = 1<<6 - 1
	byteUnicode = 1 << 6 // may start one of the characters that fold to ASCII letters
)

type byteTable [256]byte

func newByteTable() *byteTable {
	t := &byteTable{}
	for c := range byte(26) {
		t['a'+c], t['A'+c] = c+1, c+1
	}
	for c := range byte(10) {
		t['0'+c] = classDigit0 + c
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
	idGram     = 4 // letters and digits of a key of an identifier
	idMask     = 1<<(6*idGram) - 1
	idWindow   = 4                     // consecutive grams of which one is a key
	idSpan     = idGram + idWindow - 1 // characters that surely hold a key
	idGramMark = 1 << 40
)

func wordKey(gram uint64) uint64 { return mix(gram) }
func idKey(gram uint64) uint64   { return mix(gram + idGramMark) }

// idRank orders the grams of a window; the least is its key.
func idRank(gram uint64) uint64 { return gram * idRankFactor }

const (
	idRankFactor  = 0x9e3779b97f4a7c15
	idRankInverse = 0xf1de83e19937733d // modulo 2^64
)

// idOfRank returns the gram whose rank has these low bits.
func idOfRank(low uint64) uint64 { return low * idRankInverse & idMask }

// eachKey calls word with the grams of letters and id with those of identifiers that are keys. It is the plain
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

// eachMinimizer calls f with the grams of a run of classes that are keys, in their order.
func eachMinimizer(run []byte, f func(uint64)) {
	if len(run) < idSpan {
		return
	}
	var g uint64
	for _, c := range run[:idGram-1] {
		g = g<<6 | uint64(c)
	}
	// The last grams and their ranks, at the place of their number modulo 8.
	var grams, ranks [8]uint64
	least, at := ^uint64(0), -1 // the smallest rank, and its number
	for i, c := range run[idGram-1:] {
		g = (g<<6 | uint64(c)) & idMask
		v := idRank(g)
		grams[i&7], ranks[i&7] = g, v
		fresh := i == idWindow-1
		if v <= least {
			least, at, fresh = v, i, true
		} else if at <= i-idWindow {
			least, at, fresh = v, i, true
			for j := i - idWindow + 1; j < i; j++ {
				if ranks[j&7] < least {
					least, at = ranks[j&7], j
				}
			}
		}
		if fresh && i >= idWindow-1 {
			f(grams[at&7])
		}
	}
}

// needle is what filters can be asked of a text.
type needle struct {
	words []uint64 // keys of its words
	ids   []uint64 // keys of its identifiers
}

// add adds the keys of a text that a line must contain, in any case of letters.
func (n *needle) add(text string) {
	eachKey(newByteTable(), text, nil,
		func(gram uint64) { n.words = append(n.words, wordKey(gram)) },
		func(gram uint64) { n.ids = append(n.ids, idKey(gram)) })
	for _, keys := range []*[]uint64{&n.words, &n.ids} {
		slices.Sort(*keys)
		*keys = slices.Compact(*keys)
	}
}

func (n *needle) empty() bool { return len(n.words) == 0 && len(n.ids) == 0 }
