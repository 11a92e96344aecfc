//go:build !purego

package bytesearch

// vectors tells that pairIndex is fast.
const vectors = true

// pairIndex is plainPairIndex, in assembly.
func pairIndex(data []byte, blocks, off int, a, b byte) int {
	if blocks == 0 {
		return -1
	}
	_ = data[blocks*blockSize+off-1]
	return pairBlocks(&data[0], blocks, off, a, b)
}

// pairBlocks is pairIndex of the bytes from p on.
//
//go:noescape
func pairBlocks(p *byte, blocks int, off int, a, b byte) int
