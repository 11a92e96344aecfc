package store

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
)

// pickMetadata reads the values of some rows of a column, in ascending order, and sets their places in index,
// which has all rows and is zero. Values have memory of their own. Of a damaged column less is noticed than by
// decodeMetadata.
func pickMetadata(raw []byte, rows []int32, index []uint32) ([][]byte, error) {
	d := decbuf{b: raw}
	shape, kind := d.u8(), d.u8()
	n := d.size(len(index))
	if d.err != nil {
		return nil, d.err
	}
	if n == 0 || shape == shapeConst && n != 1 || shape == shapeUnique && n != len(index) || shape > shapeSparse {
		return nil, fmt.Errorf("shape %d with %d values", shape, n)
	}
	dict, err := d.dictionary(kind, n)
	if err != nil {
		return nil, err
	}
	var syms symbols
	if shape == shapeSparse {
		syms = d.symbols(len(index))
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	values := make([][]byte, 0, len(rows))
	seen, to := 0, 0 // new values before row to
	for _, row := range rows {
		id := 0
		switch shape {
		case shapeUnique:
			id = int(row)
		case shapeSparse:
			seen, to = seen+syms.countNew(to, int(row)), int(row)
			switch s := syms.at(int(row)); s {
			case symNone:
				continue
			case symNew:
				id = seen
			default:
				id = int(s - symOld)
			}
		}
		if id >= n {
			return nil, fmt.Errorf("row %d refers to value %d of %d", row, id, n)
		}
		values = append(values, dict.value(id))
		index[row] = uint32(len(values))
	}
	return values, nil
}

// dictionary is the values of a column as they are stored.
type dictionary struct {
	kind   byte
	size   int    // of a packed value
	packed []byte // hexadecimal values and UUIDs
	lens   []uint32
	text   []byte // of other values
}

func (d *decbuf) dictionary(kind byte, n int) (v dictionary, err error) {
	v.kind = kind
	switch kind {
	case kindPlain:
		if !d.canHoldPlanes(n) {
			return v, errShort
		}
		v.lens = make([]uint32, n)
		d.planes(v.lens)
		total := uint64(0)
		for _, l := range v.lens {
			total += uint64(l)
		}
		v.text = d.bytes(int(min(total, math.MaxInt32)))
	case kindHex, kindUUID:
		size := 32
		if kind == kindHex {
			size = d.size(2 * len(d.b))
		}
		v.size = size / 2
		v.packed = d.bytes(n * v.size)
		if d.err == nil && (size == 0 || size%2 != 0) {
			d.fail(fmt.Errorf("hexadecimal values of length %d", size))
		}
	default:
		d.fail(fmt.Errorf("values of kind %d", kind))
	}
	return v, d.err
}

// value returns a copy of a value.
func (v *dictionary) value(id int) []byte {
	switch v.kind {
	case kindHex:
		return hex.AppendEncode(nil, v.packed[id*v.size:][:v.size])
	case kindUUID:
		return unpackUUIDs(v.packed[id*v.size:][:v.size])[0]
	}
	from := 0
	for _, l := range v.lens[:id] {
		from += int(l)
	}
	return slices.Clone(v.text[from:][:v.lens[id]])
}

// symbols are numbers in planes.
type symbols struct {
	planes []byte
	width  int
	rows   int
}

// symbols reads n numbers.
func (d *decbuf) symbols(n int) (s symbols) {
	s.width, s.rows = int(d.u8()), n
	if s.width > 4 {
		d.fail(fmt.Errorf("planes of width %d", s.width))
		return s
	}
	s.planes = d.bytes(s.width * n)
	return s
}

func (s *symbols) at(row int) (v uint32) {
	for p := range s.width {
		v |= uint32(s.planes[p*s.rows+row]) << (8 * p)
	}
	return v
}

// countNew returns how many of the rows [from, to) have the first use of a value.
func (s *symbols) countNew(from, to int) (n int) {
	switch s.width {
	case 0:
		return 0
	case 1:
		return bytes.Count(s.planes[from:to], []byte{symNew})
	case 2:
		hi := s.planes[s.rows+from : s.rows+to]
		for i, b := range s.planes[from:to] {
			if b == symNew && hi[i] == 0 {
				n++
			}
		}
		return n
	}
	for row := from; row < to; row++ {
		if s.at(row) == symNew {
			n++
		}
	}
	return n
}
