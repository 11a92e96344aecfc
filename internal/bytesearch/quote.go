package bytesearch

import (
	"encoding/binary"
	"math/bits"
)

// Quote returns the place of the first double quote or backslash in data, at or behind i, or len(data).
func Quote(data []byte, i int) int {
	return quote(data, i)
}

// plainQuote is what the assembly does.
func plainQuote(data []byte, i int) int {
	for ; i+8 <= len(data); i += 8 {
		w := binary.LittleEndian.Uint64(data[i : i+8])
		q, b := w^ones*'"', w^ones*'\\'
		if m := ((q-ones)&^q | (b-ones)&^b) & highs; m != 0 { // the lowest of these bits is right
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for i < len(data) && data[i] != '"' && data[i] != '\\' {
		i++
	}
	return i
}
