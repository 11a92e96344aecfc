package pipeline

import (
	"encoding/binary"
	"math/bits"

	"example.com/loki/internal/bytesearch"
)

// Parsers look for the end of a token at eight bytes at once. In the results of the functions below the
// highest bit of a byte is set where a byte of x is what is looked for; the lowest such byte is exact,
// those above it may be wrong (see "Bit Twiddling Hacks" by S. E. Anderson).
const (
	eachByte = 0x0101010101010101
	highBits = 0x8080808080808080
)

// bytesEqual finds the bytes that are c.
func bytesEqual(x uint64, c byte) uint64 {
	x ^= eachByte * uint64(c)
	return (x - eachByte) & ^x & highBits
}

// bytesBelow finds the bytes that are less than c, which is at most 128.
func bytesBelow(x uint64, c byte) uint64 {
	return (x - eachByte*uint64(c)) & ^x & highBits
}

// stringEnd returns the place of the quote that ends the JSON string whose text begins at i, or -1, and
// whether there are escapes in it.
func stringEnd(b []byte, i int) (end int, escaped bool) {
	for i < len(b) {
		i = bytesearch.Quote(b, i)
		if i == len(b) {
			break
		}
		if b[i] == '"' {
			return i, escaped
		}
		escaped = true
		i += 2
	}
	return -1, escaped
}

// wordEnd returns the place of the first byte from i on that can't stand in a key or a bare value of
// logfmt, or the end: a blank or control character, = or a quote.
func wordEnd(b []byte, i int) int {
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		if m := bytesBelow(x, ' '+1) | bytesEqual(x, '=') | bytesEqual(x, '"'); m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(b) && b[i] > ' ' && b[i] != '=' && b[i] != '"' {
		i++
	}
	return i
}
