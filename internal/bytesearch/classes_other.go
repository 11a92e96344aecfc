//go:build !amd64 || purego

package bytesearch

import "unsafe"

// classes is Classes for whole blocks of 64 bytes.
func classes(p *byte, blocks int, letters, alnums *uint64) (ascii bool) {
	data := unsafe.Slice((*[64]byte)(unsafe.Pointer(p)), blocks)
	l, a := unsafe.Slice(letters, blocks), unsafe.Slice(alnums, blocks)
	ascii = true
	for i := range data {
		var ok bool
		l[i], a[i], ok = plainClasses(&data[i])
		ascii = ascii && ok
	}
	return ascii
}

// hexDigits is HexDigits for whole blocks of 64 bytes.
func hexDigits(p *byte, blocks int, digits *uint64) {
	data := unsafe.Slice((*[64]byte)(unsafe.Pointer(p)), blocks)
	d := unsafe.Slice(digits, blocks)
	for i := range data {
		d[i] = plainHexDigits(&data[i])
	}
}
