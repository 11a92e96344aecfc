//go:build !amd64 || purego

package bytesearch

// vectors tells that pairIndex is fast.
const vectors = false

func pairIndex(data []byte, blocks, off int, a, b byte) int {
	return plainPairIndex(data, blocks, off, a, b)
}
