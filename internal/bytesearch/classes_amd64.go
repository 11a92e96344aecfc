//go:build !purego

package bytesearch

// classes is plainClasses, in assembly.
func classes(data []byte, blocks int, letters, alnums []uint64) (ascii bool) {
	if blocks == 0 {
		return true
	}
	_, _, _ = data[64*blocks-1], letters[blocks-1], alnums[blocks-1]
	return classBlocks(&data[0], blocks, &letters[0], &alnums[0])
}

// hexDigits is plainHexDigits, in assembly.
func hexDigits(data []byte, blocks int, digits []uint64) {
	if blocks == 0 {
		return
	}
	_, _ = data[64*blocks-1], digits[blocks-1]
	hexDigitBlocks(&data[0], blocks, &digits[0])
}

// classBlocks is classes of at least one block of 64 bytes from p on.
//
//go:noescape
func classBlocks(p *byte, blocks int, letters, alnums *uint64) (ascii bool)

// hexDigitBlocks is hexDigits of at least one block of 64 bytes from p on.
//
//go:noescape
func hexDigitBlocks(p *byte, blocks int, digits *uint64)
