package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

var (
	errShort  = errors.New("ends too early")
	errVarint = errors.New("number is too large")
	errRest   = errors.New("has bytes left over")
)

// decbuf reads numbers and byte strings from a slice. After the first error it returns zeros; the
// caller looks at err once. It never allocates.
type decbuf struct {
	b   []byte
	err error
}

func (d *decbuf) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *decbuf) u8() byte {
	if len(d.b) < 1 {
		d.fail(errShort)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decbuf) u16() uint16 {
	if len(d.b) < 2 {
		d.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

func (d *decbuf) u32() uint32 {
	if len(d.b) < 4 {
		d.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decbuf) u64() uint64 {
	if len(d.b) < 8 {
		d.fail(errShort)
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decbuf) uvarint() uint64 {
	if len(d.b) > 0 && d.b[0] < 0x80 {
		v := d.b[0]
		d.b = d.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.b)
	switch {
	case n == 0:
		d.fail(errShort)
		return 0
	case n < 0:
		d.fail(errVarint)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decbuf) varint() int64 {
	v := d.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// readUvarints fills dst with numbers, each times unit. One above limit is an error.
func readUvarints[T int64 | uint32](d *decbuf, dst []T, unit, limit uint64) {
	const highs = 0x8080808080808080
	b, at := d.b, 0
	for i := range dst {
		var v uint64
		var x, stops uint64
		if at+8 <= len(b) {
			x = binary.LittleEndian.Uint64(b[at : at+8])
			stops = ^x & highs
		}
		if stops != 0 { // the lowest is in the last byte of the number: the seven bits of each byte are moved together
			at += bits.TrailingZeros64(stops)/8 + 1
			x &= (stops ^ (stops - 1)) &^ highs
			x = x&0x007f007f007f007f | x&0x7f007f007f007f00>>1
			x = x&0x00003fff00003fff | x&0x3fff00003fff0000>>2
			v = x&0x0fffffff | x&0x0fffffff00000000>>4
		} else {
			var n int
			v, n = binary.Uvarint(b[at:])
			if n == 0 {
				d.fail(errShort)
				return
			}
			if n < 0 {
				d.fail(errVarint)
				return
			}
			at += n
		}
		if v > limit {
			d.fail(errVarint)
			return
		}
		dst[i] = T(v * unit)
	}
	d.b = b[at:]
}

// size reads a number that must not exceed limit.
func (d *decbuf) size(limit int) int {
	v := d.uvarint()
	if v > uint64(limit) {
		d.fail(fmt.Errorf("number %d exceeds %d", v, limit))
		return 0
	}
	return int(v)
}

// count reads the number of things that follow, each of which takes a byte at least.
func (d *decbuf) count() int { return d.size(min(len(d.b), math.MaxInt32)) }

func (d *decbuf) bytes(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail(errShort)
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

// end returns the error, or one if something is left.
func (d *decbuf) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.err = errRest
	}
	return d.err
}
