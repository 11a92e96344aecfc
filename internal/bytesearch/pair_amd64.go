//go:build !purego

package bytesearch

// vectors tells that pairIndex is fast.
const vectors = true

// pairIndex returns the first i below blocks*blockSize for which the byte i behind p is a and the one off
// further is b, or -1. It reads blocks*blockSize bytes from p on, and as many from p+off on.
//
//go:noescape
func pairIndex(p *byte, blocks int, off int, a, b byte) int
