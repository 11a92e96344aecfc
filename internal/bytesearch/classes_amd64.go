//go:build !purego

package bytesearch

// classes is Classes for whole blocks of 64 bytes.
//
//go:noescape
func classes(p *byte, blocks int, letters, alnums *uint64) (ascii bool)

// hexDigits is HexDigits for whole blocks of 64 bytes.
//
//go:noescape
func hexDigits(p *byte, blocks int, digits *uint64)
