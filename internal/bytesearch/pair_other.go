//go:build !amd64 || purego

package bytesearch

import "unsafe"

// vectors tells that pairIndex is fast.
const vectors = false

// pairIndex says what the assembly does.
func pairIndex(p *byte, blocks int, off int, a, b byte) int {
	n := blocks * blockSize
	first, second := unsafe.Slice(p, n), unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(p), off)), n)
	for i := range first {
		if first[i] == a && second[i] == b {
			return i
		}
	}
	return -1
}
