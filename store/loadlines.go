package store

import (
	"context"
	"fmt"
	"math/bits"
	"sync/atomic"

	"example.com/loki/logql/column"
)

// loadLines reads the lines of some line blocks of a page, 0 for all. The others are empty.
func (r *columnReader) loadLines(ctx context.Context, s *segment, page int, blocks uint64, fetched *atomic.Int64) (*columnData, int64, error) {
	h, err := r.get(ctx, s, page, colLengths, fetched)
	if err != nil {
		return nil, 0, err
	}
	defer h.release()
	p := &s.dir.pages[page]
	if blocks == 0 {
		blocks = allBlocks
	}
	blocks &= allBlocks >> (maxPageBlocks - len(p.lines))
	l := lineLoader{reader: r, page: p, at: s.offset(secPages) + s.dir.pageOff[page]}
	if p.escape != 0 {
		h, err := r.get(ctx, s, page, colTimes, fetched)
		if err != nil {
			return nil, 0, err
		}
		defer h.release()
		l.times = h.val.times
	}
	// The first block is what the others are decoded after, and near: all is read at once.
	n := int64(0)
	for _, b := range p.lines[:bits.Len64(blocks)] {
		n += int64(b.size) + int64(b.ids)
	}
	stored, err := r.fetch(ctx, s, secPages, s.dir.pageOff[page], int(n), fetched)
	if err != nil {
		return nil, 0, err
	}
	defer r.bytes.put(stored)
	l.offs = r.u32s.get(p.rows + 1)
	l.lines = r.bytes.get(int(l.place(h.val.lengths, blocks)))
	defer l.free()
	if err := l.decode(stored, blocks); err != nil {
		r.u32s.put(l.offs)
		r.bytes.put(l.lines)
		return nil, 0, corrupt(s.path, fmt.Sprintf("lines of page %d", page), l.at, err)
	}
	return &columnData{lines: column.Lines{Data: l.lines, Offsets: l.offs}}, int64(cap(l.lines) + 4*cap(l.offs)), nil
}

// lineLoader decodes lines of a page.
type lineLoader struct {
	reader *columnReader
	page   *pageMeta
	at     int64 // where the block that is being decoded lies in the object
	times  []int64
	offs   []uint32
	lines  []byte

	decoder lineDecoder
	first   []byte // memory of the first block
	raw     []byte // and of the block being decoded
	digits  []byte
}

// place sets the offsets of the lines of some blocks, and returns where they end.
func (l *lineLoader) place(lengths []uint32, blocks uint64) uint32 {
	sum, row := uint32(0), 0
	l.offs[0] = 0
	for i, b := range l.page.lines {
		rows := lengths[row : row+int(b.rows)]
		ends := l.offs[row+1:][:len(rows)]
		row += len(rows)
		if blocks>>i&1 == 0 {
			for j := range ends {
				ends[j] = sum
			}
			continue
		}
		for j, n := range rows {
			sum += n
			ends[j] = sum
		}
	}
	return sum
}

// into returns memory for n bytes in place of *buf.
func (l *lineLoader) into(buf *[]byte) func(n int) []byte {
	return func(n int) []byte {
		if *buf != nil {
			l.reader.bytes.put(*buf)
		}
		*buf = l.reader.bytes.get(n)
		return *buf
	}
}

func (l *lineLoader) free() {
	for _, b := range [][]byte{l.first, l.raw, l.digits, l.decoder.frame} {
		if b != nil {
			l.reader.bytes.put(b)
		}
	}
}

// decode decodes the blocks that are wanted, and the first one if others need it.
func (l *lineLoader) decode(stored []byte, blocks uint64) error {
	l.decoder.codec = l.reader.codec
	row := 0
	for i, b := range l.page.lines {
		if blocks>>i == 0 {
			break
		}
		block, digits := stored[:b.size], stored[b.size:][:b.ids]
		stored = stored[len(block)+len(digits):]
		rows := [2]int{row, row + int(b.rows)}
		row = rows[1]
		wanted := blocks>>i&1 != 0
		if wanted || i == 0 {
			buf := &l.raw
			if i == 0 {
				buf = &l.first
			}
			raw, err := l.decoder.decode(block, l.into(buf))
			if err != nil {
				return err
			}
			if i == 0 && blocks > 1 {
				l.decoder.frame = l.reader.bytes.get(frameHeader + frameBlock + len(raw) + int(l.page.largest()))
				l.decoder.begin(raw)
			}
			if wanted {
				if err := l.unpack(raw, digits, rows); err != nil {
					return err
				}
			}
		}
		l.at += int64(len(block) + len(digits))
	}
	return nil
}

// unpack makes the lines of a block.
func (l *lineLoader) unpack(raw, digits []byte, rows [2]int) error {
	offs := l.offs[rows[0] : rows[1]+1]
	dst := l.lines[offs[0]:offs[len(offs)-1]]
	if l.page.escape == 0 {
		if len(raw) != len(dst) {
			return fmt.Errorf("lines of %d bytes instead of %d", len(raw), len(dst))
		}
		copy(dst, raw)
		return nil
	}
	var ids []byte
	if len(digits) > 0 {
		var err error
		if ids, err = l.reader.codec.decodeBlock(digits, true, l.into(&l.digits)); err != nil {
			return err
		}
	}
	return unpack(dst, raw, ids, l.page.escape, offs, l.times[rows[0]:rows[1]])
}
