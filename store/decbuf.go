package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
