package store

import (
	"fmt"
	"math/bits"
)

// appendPlanes appends numbers in planes: their width in bytes, all low bytes, all second bytes, and
// so on. It leaves to the compressor what it can do well.
func appendPlanes(dst []byte, vals []uint32) []byte {
	var all uint32
	for _, v := range vals {
		all |= v
	}
	width := (bits.Len32(all) + 7) / 8
	dst = append(dst, byte(width))
	for p := range width {
		shift := 8 * p
		for _, v := range vals {
			dst = append(dst, byte(v>>shift))
		}
	}
	return dst
}

// planes reads len(dst) numbers.
func (d *decbuf) planes(dst []uint32) {
	width := int(d.u8())
	if width > 4 {
		d.fail(fmt.Errorf("planes of width %d", width))
	}
	raw := d.bytes(width * len(dst))
	if d.err != nil {
		return
	}
	n := len(dst)
	switch width {
	case 0:
		clear(dst)
	case 1:
		for i, b := range raw {
			dst[i] = uint32(b)
		}
	default:
		lo, hi := raw[:n], raw[n:2*n]
		for i := range dst {
			dst[i] = uint32(lo[i]) | uint32(hi[i])<<8
		}
		for p := 2; p < width; p++ {
			for i, b := range raw[p*n : (p+1)*n] {
				dst[i] |= uint32(b) << (8 * p)
			}
		}
	}
}

// canHoldPlanes tells whether n numbers may follow at all, for a check before memory is taken. Numbers
// that are all zero take no room, so the caller bounds n by other means too.
func (d *decbuf) canHoldPlanes(n int) bool {
	return len(d.b) > 0 && (d.b[0] == 0 || len(d.b)-1 >= n)
}
