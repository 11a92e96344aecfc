package column

import (
	"context"
	"encoding/binary"

	"github.com/cespare/xxhash/v2"
)

// Hashed is implemented by Columns that know the hashes of their rows without a look at the lines, as when
// the lines have stayed in another process.
type Hashed interface {
	// Hashes returns per row what a Hasher would return, nil if it isn't known.
	Hashes(ctx context.Context) ([]uint64, error)
}

// RowHashed is implemented by Columns that can hash single rows without making columns of all.
type RowHashed interface {
	// RowHashes returns a function that returns what a Hasher would for a row, nil if it isn't known how. It is for one
	// goroutine, and valid until Release.
	RowHashes() func(row int) uint64
}

// Hasher hashes what rows hold: the line and the metadata, as they are stored. Entries of the same stream and
// time with the same hash are the same entry. The zero value is ready for Reset.
type Hasher struct {
	given   []uint64
	rows    func(row int) uint64
	lines   Lines
	names   []string
	columns []Metadata
	buf     []byte
}

// Reset makes the hasher ready for rows of some columns.
func (h *Hasher) Reset(ctx context.Context, c Columns) (err error) {
	h.given, h.rows = nil, nil
	if c, ok := c.(Hashed); ok {
		if h.given, err = c.Hashes(ctx); err != nil || h.given != nil {
			return err
		}
	}
	if c, ok := c.(RowHashed); ok {
		if h.rows = c.RowHashes(); h.rows != nil {
			return nil
		}
	}
	if h.lines, err = c.Lines(ctx); err != nil {
		return err
	}
	if h.names, err = c.MetadataNames(ctx); err != nil {
		return err
	}
	h.columns = make([]Metadata, len(h.names))
	for i, name := range h.names {
		if h.columns[i], err = c.Metadata(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// Row returns the hash of a row.
func (h *Hasher) Row(row int) uint64 {
	if h.given != nil {
		return h.given[row]
	}
	if h.rows != nil {
		return h.rows(row)
	}
	line := h.lines.Row(row)
	b := h.buf[:0]
	for i, name := range h.names {
		v, ok := h.columns[i].Row(row)
		if !ok {
			continue
		}
		b = AppendField(b, name, v)
	}
	h.buf = b
	return HashRow(line, b)
}

// AppendField appends a field of metadata as HashRow wants them.
func AppendField(dst []byte, name string, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// HashRow returns what a Hasher does for a row with this line and these fields, which ascend by name.
func HashRow(line, fields []byte) uint64 {
	sum := xxhash.Sum64(line)
	if len(fields) > 0 {
		sum = Mix(sum, xxhash.Sum64(fields))
	}
	return sum
}

// Mix makes one hash of two, whose order matters.
func Mix(a, b uint64) uint64 {
	a = (a ^ b) * 0x9e3779b97f4a7c15 // an odd constant: a bijection
	a ^= a >> 32
	a *= 0xd6e8feb86659fd93
	return a ^ a>>32
}
