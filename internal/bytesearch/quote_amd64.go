//go:build !purego

package bytesearch

// quote is plainQuote, in assembly.
//
//go:noescape
func quote(data []byte, i int) int
