package ingester

import (
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// gathered are rows of a part and where their bytes lie.
type gathered struct {
	rows   []row
	blocks [][]byte
	names  *nameTable
}

func (g gathered) times(dst []int64) []int64 {
	dst = slices.Grow(dst[:0], len(g.rows))
	for i := range g.rows {
		dst = append(dst, g.rows[i].time)
	}
	return dst
}

func (g gathered) lengths() []uint32 {
	n := make([]uint32, len(g.rows))
	for i := range g.rows {
		n[i] = g.rows[i].len
	}
	return n
}

// lines returns the lines as one byte slice: that of the head if they lie there one after the other, as they do
// when they came in one push and in order; else a copy in buf. It also returns buf, which may have grown.
func (g gathered) lines(offsets []uint32, buf []byte) (column.Lines, []byte) {
	size, contiguous := 0, true
	for i := range g.rows {
		r := &g.rows[i]
		if contiguous && i > 0 {
			before := &g.rows[i-1]
			contiguous = r.block == before.block && r.off == before.off+before.len
		}
		size += int(r.len)
	}
	offsets = slices.Grow(offsets[:0], len(g.rows)+1)
	at := uint32(0)
	offsets = append(offsets, 0)
	for i := range g.rows {
		at += g.rows[i].len
		offsets = append(offsets, at)
	}
	if contiguous && len(g.rows) > 0 {
		first := g.rows[0]
		return column.Lines{Data: g.blocks[first.block][first.off:][:size:size], Offsets: offsets}, buf
	}
	buf = slices.Grow(buf[:0], size)
	for i := range g.rows {
		buf = append(buf, line(g.rows[i], g.blocks)...)
	}
	return column.Lines{Data: buf, Offsets: offsets}, buf
}

// metadataColumns makes columns of metadata. Its buffers are reused: what gather returns is valid until the next
// call.
type metadataColumns struct {
	cols   []store.NamedMetadata // of this call, in front of those kept for the next
	where  []place32             // by name number
	call   uint32
	fields []metadataField // of the row before
}

// place32 is the column of a name, if it was set in this call; -1 for a lost name.
type place32 struct {
	call uint32
	col  int32
}

type metadataField struct {
	col   int32
	index uint32 // of its value, from 1
}

// column returns the number of the column of a name, -1 for a lost name.
func (m *metadataColumns) column(id uint32, names *nameTable, rows int) int32 {
	for int(id) >= len(m.where) {
		m.where = append(m.where, place32{})
	}
	w := &m.where[id]
	if w.call == m.call {
		return w.col
	}
	*w = place32{m.call, -1}
	if name := names.name(id); name != "" {
		n := len(m.cols)
		w.col = int32(n)
		m.cols = slices.Grow(m.cols, 1)[:n+1]
		c := &m.cols[n]
		c.Name, c.Values = name, c.Values[:0]
		c.Index = slices.Grow(c.Index[:0], rows)[:rows]
		clear(c.Index)
	}
	return w.col
}

// forget makes the buffers hold no values, which would keep the blocks of a part in memory.
func (m *metadataColumns) forget() {
	for i := range m.cols[:cap(m.cols)] {
		c := &m.cols[:cap(m.cols)][i]
		c.Name = ""
		clear(c.Values[:cap(c.Values)])
	}
	m.cols = m.cols[:0]
}

// gather returns all columns of some rows, ascending by name. Values refer to the blocks.
func (m *metadataColumns) gather(g gathered) []store.NamedMetadata {
	m.call++
	m.cols = m.cols[:0]
	// Rows that share a set, or have sets with a value in the same place, are next to each other more
	// often than not.
	m.fields = m.fields[:0]
	var block, meta uint32
	for i := range g.rows {
		r := &g.rows[i]
		if r.meta == 0 {
			continue
		}
		if r.meta != meta || r.block != block || i == 0 {
			block, meta = r.block, r.meta
			m.fields = m.fields[:0]
			for id, value := range setFields(g.blocks[block][meta:]) {
				c := m.column(id, g.names, len(g.rows))
				if c >= 0 {
					col := &m.cols[c]
					if n := len(col.Values); n == 0 || string(col.Values[n-1]) != string(value) {
						col.Values = append(col.Values, value)
					}
					m.fields = append(m.fields, metadataField{c, uint32(len(col.Values))})
				}
			}
		}
		for _, f := range m.fields {
			m.cols[f.col].Index[i] = f.index
		}
	}
	if len(m.cols) > 1 {
		slices.SortFunc(m.cols, func(a, b store.NamedMetadata) int { return strings.Compare(a.Name, b.Name) })
	}
	return m.cols
}

// volume is the number of bytes of lines and metadata.
func (g gathered) volume() int64 {
	var sum, set int64
	var block, meta uint32
	for i := range g.rows {
		r := &g.rows[i]
		sum += int64(r.len)
		if r.meta == 0 {
			continue
		}
		if r.meta != meta || r.block != block || i == 0 {
			block, meta, set = r.block, r.meta, 0
			for _, value := range setFields(g.blocks[block][meta:]) {
				set += int64(column.MetadataSize(value))
			}
		}
		sum += set
	}
	return sum
}

// setFields yields the name numbers and values of the metadata set that b begins with. The set was
// checked when it was read or written.
func setFields(b []byte) iter.Seq2[uint32, []byte] {
	return func(yield func(uint32, []byte) bool) {
		k, n := binary.Uvarint(b)
		b := b[n:]
		for range k {
			id, n := binary.Uvarint(b)
			l, m := binary.Uvarint(b[n:])
			from, to := n+m, n+m+int(l)
			if !yield(uint32(id), b[from:to:to]) {
				return
			}
			b = b[to:]
		}
	}
}
