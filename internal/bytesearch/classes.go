package bytesearch

import "encoding/binary"

// Classes sets a bit in letters for each byte of data that is an ASCII letter, and in alnums for each that is a letter or an
// ASCII digit: bit n%64 of word n/64. Both need a word for each 64 bytes or part of 64 bytes; bits behind the end are
// cleared. It returns whether all bytes are ASCII.
func Classes(data []byte, letters, alnums []uint64) (ascii bool) {
	blocks := len(data) / 64
	ascii = classes(data, blocks, letters, alnums)
	if rest := data[64*blocks:]; len(rest) > 0 {
		var last [64]byte
		copy(last[:], rest)
		ascii = classes(last[:], 1, letters[blocks:], alnums[blocks:]) && ascii
	}
	return ascii
}

// HexDigits sets a bit in digits for each byte of data that is a lower-case hexadecimal digit, as Classes does for others.
func HexDigits(data []byte, digits []uint64) {
	blocks := len(data) / 64
	hexDigits(data, blocks, digits)
	if rest := data[64*blocks:]; len(rest) > 0 {
		var last [64]byte
		copy(last[:], rest)
		hexDigits(last[:], 1, digits[blocks:])
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// plainClasses is Classes of the first blocks of 64 bytes.
func plainClasses(data []byte, blocks int, letters, alnums []uint64) (ascii bool) {
	var high uint64
	for i := range blocks {
		block := data[64*i : 64*i+64]
		var ls, as uint64
		for j := 0; j < 64; j += 8 {
			w := binary.LittleEndian.Uint64(block[j : j+8])
			high |= w
			letter, digit := classify(w)
			ls |= gather(letter) << j
			as |= gather(letter|digit) << j
		}
		letters[i], alnums[i] = ls, as
	}
	return high&highs == 0
}

// plainHexDigits is HexDigits of the first blocks of 64 bytes.
func plainHexDigits(data []byte, blocks int, digits []uint64) {
	for i := range blocks {
		block := data[64*i : 64*i+64]
		var ds uint64
		for j := 0; j < 64; j += 8 {
			w := binary.LittleEndian.Uint64(block[j : j+8])
			low := w &^ highs
			letter := (low + (0x80-'a')*ones) &^ (low + (0x7f-'f')*ones)
			digit := (low + (0x80-'0')*ones) &^ (low + (0x7f-'9')*ones)
			ds |= gather((letter|digit)&(highs&^w)) << j
		}
		digits[i] = ds
	}
}

// classify returns words of which the high bit of each byte tells whether the byte of w is an ASCII
// letter, and whether it is an ASCII digit.
func classify(w uint64) (letter, digit uint64) {
	low := w &^ highs
	l := low | 0x20*ones
	letter = (l + (0x80-'a')*ones) &^ (l + (0x7f-'z')*ones)
	digit = (low + (0x80-'0')*ones) &^ (low + (0x7f-'9')*ones)
	m := highs &^ w
	return letter & m, digit & m
}

// gather makes 8 bits of the high bits of 8 bytes, the first byte's the lowest.
func gather(highBits uint64) uint64 { return (highBits >> 7) * 0x0102040810204080 >> 56 }
