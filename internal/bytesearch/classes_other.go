//go:build !amd64 || purego

package bytesearch

func classes(data []byte, blocks int, letters, alnums []uint64) (ascii bool) {
	return plainClasses(data, blocks, letters, alnums)
}

func hexDigits(data []byte, blocks int, digits []uint64) { plainHexDigits(data, blocks, digits) }
