//go:build !purego

package alias

import "unsafe"

// Shares tells that results share the memory of arguments. Otherwise they are copies.
const Shares = true

// String returns b as a string, which is valid until b is changed.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Bytes returns the bytes of s, which must not be changed. Those of an empty string may be nil or not.
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
