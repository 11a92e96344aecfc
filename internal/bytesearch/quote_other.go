//go:build !amd64 || purego

package bytesearch

func quote(data []byte, i int) int { return plainQuote(data, i) }
