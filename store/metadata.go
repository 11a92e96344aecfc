package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"example.com/loki/logql/column"
)

// A metadata column is a dictionary and a symbol per row; see docs/format/segment.md.
const (
	shapeConst  = 0 // every row has value 0
	shapeUnique = 1 // row i has value i
	shapeSparse = 2 // a symbol per row

	kindPlain = 0
	kindHex   = 1
	kindUUID  = 2

	symNone = 0
	symNew  = 1
	symOld  = 2

	maxColumns = 200 // of a page; more names go to its overflow block
)

// metaBuilder collects the values of one name in one page.
type metaBuilder struct {
	name   string
	rows   int               // that have a value
	syms   []uint32          // up to the last row with a value
	dict   map[uint64]uint32 // hash of a value → its number
	data   []byte            // dictionary values, one after another
	ends   []uint32          // of them in data
	lens   []uint32          // of them
	hexLen int               // length of all values so far if they are hexadecimal, else -1
	uuid   bool              // all values so far are UUIDs
}

func (m *metaBuilder) reset() {
	m.rows = 0
	m.syms = m.syms[:0]
	clear(m.dict)
	m.data = m.data[:0]
	m.ends, m.lens = m.ends[:0], m.lens[:0]
	m.hexLen = 0
	m.uuid = true
}

// remap says for values of a stream's dictionary which page's dictionary has them and where: the
// number of the page in the upper half, index + 1 in the lower.
type remap []uint64

// add appends the values of rows [from, to) of a stream's column, the first of which is row of the page.
func (m *metaBuilder) add(md column.Metadata, from, to, row int, r remap, page uint32) {
	for i, x := range md.Index[from:to] {
		if x == 0 {
			continue
		}
		for len(m.syms) < row+i {
			m.syms = append(m.syms, symNone)
		}
		m.rows++
		at := r[x-1]
		if uint32(at>>32) == page {
			m.syms = append(m.syms, uint32(at)-1+symOld)
			continue
		}
		v := md.Values[x-1]
		hash := xxhash.Sum64(v)
		id, ok := m.dict[hash]
		// Should two values have one hash, the second one is stored each time that it occurs.
		if ok && bytes.Equal(m.value(id), v) {
			m.syms = append(m.syms, id+symOld)
		} else {
			id = uint32(len(m.lens))
			m.dict[hash] = id
			m.insert(v, id)
			m.syms = append(m.syms, symNew)
		}
		r[x-1] = uint64(page)<<32 | uint64(id+1)
	}
}

func (m *metaBuilder) insert(v []byte, id uint32) {
	m.data = append(m.data, v...)
	m.ends = append(m.ends, uint32(len(m.data)))
	m.lens = append(m.lens, uint32(len(v)))
	if m.hexLen >= 0 && (id == 0 || m.hexLen == len(v)) && len(v)%2 == 0 && len(v) > 0 && isHex(v) {
		m.hexLen = len(v)
	} else {
		m.hexLen = -1
	}
	m.uuid = m.uuid && isUUID(v)
}

// value returns a value of the dictionary.
func (m *metaBuilder) value(id uint32) []byte {
	return m.data[m.ends[id]-m.lens[id] : m.ends[id]]
}

// each calls f with the values of the dictionary.
func (m *metaBuilder) each(f func(v []byte)) {
	for id := range m.lens {
		f(m.value(uint32(id)))
	}
}

// append appends the raw bytes of the column's block.
func (m *metaBuilder) append(dst []byte, rows int) []byte {
	shape := byte(shapeSparse)
	switch {
	case m.rows == rows && len(m.lens) == 1:
		shape = shapeConst
	case m.rows == rows && len(m.lens) == rows:
		shape = shapeUnique
	}
	kind := byte(kindPlain)
	switch {
	case m.hexLen > 0:
		kind = kindHex
	case m.uuid && len(m.lens) > 0:
		kind = kindUUID
	}
	dst = append(dst, shape, kind)
	dst = binary.AppendUvarint(dst, uint64(len(m.lens)))
	switch kind {
	case kindPlain:
		dst = appendPlanes(dst, m.lens)
		dst = append(dst, m.data...)
	case kindHex:
		dst = binary.AppendUvarint(dst, uint64(m.hexLen))
		dst, _ = hex.AppendDecode(dst, m.data)
	case kindUUID:
		var b [32]byte
		m.each(func(v []byte) {
			uuidDigits(&b, v)
			dst, _ = hex.AppendDecode(dst, b[:])
		})
	}
	if shape == shapeSparse {
		for len(m.syms) < rows {
			m.syms = append(m.syms, symNone)
		}
		dst = appendPlanes(dst, m.syms)
	}
	return dst
}

func isHex(v []byte) bool {
	for _, c := range v {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f') {
			return false
		}
	}
	return true
}

const uuidLen = 36

func isUUID(v []byte) bool {
	if len(v) != uuidLen || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
		return false
	}
	var b [32]byte
	uuidDigits(&b, v)
	return isHex(b[:])
}

func uuidDigits(dst *[32]byte, v []byte) {
	n := copy(dst[:], v[:8])
	n += copy(dst[n:], v[9:13])
	n += copy(dst[n:], v[14:18])
	n += copy(dst[n:], v[19:23])
	copy(dst[n:], v[24:])
}

// decodeMetadata reads a column of so many rows. Values may refer to raw.
func decodeMetadata(raw []byte, rows int) (column.Metadata, error) {
	d := decbuf{b: raw}
	shape, kind := d.u8(), d.u8()
	n := d.size(rows)
	if d.err != nil {
		return column.Metadata{}, d.err
	}
	if n == 0 || shape == shapeConst && n != 1 || shape == shapeUnique && n != rows || shape > shapeSparse {
		return column.Metadata{}, fmt.Errorf("shape %d with %d values", shape, n)
	}
	values, err := d.metaValues(kind, n)
	if err != nil {
		return column.Metadata{}, err
	}
	index := make([]uint32, rows)
	switch shape {
	case shapeConst:
		for i := range index {
			index[i] = 1
		}
	case shapeUnique:
		for i := range index {
			index[i] = uint32(i) + 1
		}
	default:
		d.planes(index)
		seen := uint32(0)
		for i, s := range index {
			switch {
			case s == symNone:
			case s == symNew:
				seen++
				index[i] = seen
			case s-symOld < seen:
				index[i] = s - symOld + 1
			default:
				d.fail(fmt.Errorf("row %d refers to value %d of %d", i, s-symOld, seen))
			}
		}
		if int(seen) != n {
			d.fail(fmt.Errorf("%d of %d values used", seen, n))
		}
	}
	if err := d.end(); err != nil {
		return column.Metadata{}, err
	}
	return column.Metadata{Values: values, Index: index}, nil
}

func (d *decbuf) metaValues(kind byte, n int) ([][]byte, error) {
	switch kind {
	case kindPlain:
		if !d.canHoldPlanes(n) {
			return nil, errShort
		}
		lens := make([]uint32, n)
		d.planes(lens)
		values := make([][]byte, n)
		for i, l := range lens {
			values[i] = d.bytes(int(l))
		}
		return values, d.err
	case kindHex, kindUUID:
		size := 32
		if kind == kindHex {
			size = d.size(2 * len(d.b))
		}
		packed := d.bytes(n * (size / 2))
		if d.err == nil && (size == 0 || size%2 != 0) {
			d.fail(fmt.Errorf("hexadecimal values of length %d", size))
		}
		if d.err != nil {
			return nil, d.err
		}
		if kind == kindUUID {
			return unpackUUIDs(packed), nil
		}
		text := hex.AppendEncode(make([]byte, 0, 2*len(packed)), packed)
		values := make([][]byte, n)
		for i := range values {
			values[i] = text[i*size : (i+1)*size : (i+1)*size]
		}
		return values, nil
	}
	return nil, fmt.Errorf("values of kind %d", kind)
}

func unpackUUIDs(packed []byte) [][]byte {
	n := len(packed) / 16
	text := make([]byte, 0, n*uuidLen)
	values := make([][]byte, n)
	for i := range values {
		p := packed[16*i : 16*i+16]
		at := len(text)
		for j, part := range [5][]byte{p[:4], p[4:6], p[6:8], p[8:10], p[10:]} {
			if j > 0 {
				text = append(text, '-')
			}
			text = hex.AppendEncode(text, part)
		}
		values[i] = text[at:len(text):len(text)]
	}
	return values
}

// appendOverflow appends the raw bytes of an overflow block.
func appendOverflow(dst []byte, cols []*metaBuilder) []byte {
	slices.SortFunc(cols, func(a, b *metaBuilder) int { return cmp.Compare(a.name, b.name) })
	dst = binary.AppendUvarint(dst, uint64(len(cols)))
	for _, m := range cols {
		dst = appendString(dst, m.name)
		dst = binary.AppendUvarint(dst, uint64(m.rows))
		last, seen := 0, uint32(0)
		for row, s := range m.syms {
			id := s - symOld
			switch s {
			case symNone:
				continue
			case symNew:
				id = seen
				seen++
			}
			dst = binary.AppendUvarint(dst, uint64(row-last))
			last = row
			dst = appendString(dst, m.value(id))
		}
	}
	return dst
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// overflow is an overflow block whose names have been read.
type overflow struct {
	names []string
	cols  []column.Metadata // Values and Index hold only the rows that have values; see overflow.column
	rows  []uint32          // row numbers of all columns
	from  []int             // per column: its first row in rows
}

func decodeOverflow(raw []byte, rows int) (*overflow, error) {
	d := decbuf{b: raw}
	n := d.count()
	o := &overflow{}
	for i := range n {
		name := string(d.bytes(d.count()))
		if i > 0 && name <= o.names[i-1] {
			d.fail(fmt.Errorf("names out of order at %q", name))
		}
		k := d.size(min(rows, len(d.b)))
		if d.err == nil && k == 0 {
			d.fail(fmt.Errorf("name %q without rows", name))
		}
		if d.err != nil {
			return nil, d.err
		}
		o.names = append(o.names, name)
		o.from = append(o.from, len(o.rows))
		values := make([][]byte, 0, k)
		row := 0
		for j := range k {
			step := d.size(rows - 1)
			if row += step; row >= rows || j > 0 && step == 0 {
				d.fail(fmt.Errorf("row %d of %d", row, rows))
			}
			values = append(values, d.bytes(d.count()))
			if d.err != nil {
				return nil, d.err
			}
			o.rows = append(o.rows, uint32(row))
		}
		o.cols = append(o.cols, column.Metadata{Values: values})
	}
	return o, d.end()
}

// column returns the column of a name as other columns are.
func (o *overflow) column(name string, rows int) column.Metadata {
	i, ok := slices.BinarySearch(o.names, name)
	if !ok {
		return column.Metadata{}
	}
	md := column.Metadata{Values: o.cols[i].Values, Index: make([]uint32, rows)}
	for j := range md.Values {
		md.Index[o.rows[o.from[i]+j]] = uint32(j) + 1
	}
	return md
}

func (o *overflow) memory() int64 {
	n := int64(4 * len(o.rows))
	for i, c := range o.cols {
		n += int64(len(o.names[i])) + 64 + int64(24*len(c.Values))
	}
	return n
}
