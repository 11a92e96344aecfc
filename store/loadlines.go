package store

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"

	"example.com/loki/logql/column"
)

// loadLines reads the lines of some line blocks of a page, 0 for all. The others are empty.
func (r *columnReader) loadLines(ctx context.Context, s *segment, page int, blocks uint64, fetched *atomic.Int64) (*columnData, int64, error) {
	l := newLineLoader(r, s, page, blocks)
	defer l.free()
	add := l.addPlain
	var need int
	if l.packed() {
		add, need = l.addPacked, colTimes
	} else {
		need = colLengths
	}
	h, err := r.get(ctx, s, page, need, fetched)
	if err != nil {
		return nil, 0, err
	}
	defer h.release()
	l.times, l.lengths = h.val.times, h.val.lengths
	stored, err := r.fetchLines(ctx, s, page, bits.Len64(l.blocks), fetched)
	if err != nil {
		return nil, 0, err
	}
	defer r.bytes.put(stored)
	l.begin(l.wantedBytes())
	if err = l.each(stored, add); err == nil {
		err = l.end()
	}
	if err != nil {
		l.drop()
		return nil, 0, err
	}
	return &columnData{lines: l.lines}, int64(cap(l.lines.Data) + 4*cap(l.lines.Offsets)), nil
}

// fetchLines reads the first n line blocks of a page. The first one is what the others are decoded after, and
// near: all is read at once.
func (r *columnReader) fetchLines(ctx context.Context, s *segment, page, n int, fetched *atomic.Int64) ([]byte, error) {
	size := int64(0)
	for _, b := range s.dir.pages[page].lines[:n] {
		size += int64(b.size) + int64(b.ids)
	}
	return r.fetch(ctx, s, secPages, s.dir.pageOff[page], int(size), fetched)
}

// lineLoader reads lines of a page.
type lineLoader struct {
	*pageMeta
	reader *columnReader
	seg    *segment
	number int    // of the page
	blocks uint64 // that are wanted

	// What is being made: lines of rows in ascending order.
	lines column.Lines
	row   int // the first row that has not been added

	times   []int64  // to take packed lines apart
	lengths []uint32 // of lines that are not packed

	decoder lineDecoder
	first   []byte // memory of the first block
	raw     []byte // and of the block being decoded
	digits  []byte
}

func newLineLoader(r *columnReader, s *segment, page int, blocks uint64) *lineLoader {
	p := &s.dir.pages[page]
	if blocks == 0 {
		blocks = allBlocks
	}
	blocks &= allBlocks >> (maxPageBlocks - len(p.lines))
	return &lineLoader{pageMeta: p, reader: r, seg: s, number: page, blocks: blocks, decoder: lineDecoder{codec: r.codec}}
}

// wantedBytes estimates the bytes of the lines in the blocks that are wanted.
func (l *lineLoader) wantedBytes() int {
	if bits.OnesCount64(l.blocks) == len(l.pageMeta.lines) {
		return int(l.rawBytes)
	}
	rows := 0
	for i, b := range l.pageMeta.lines {
		if l.blocks>>i&1 != 0 {
			rows += int(b.rows)
		}
	}
	return int(l.rawBytes * int64(rows) / int64(l.rows))
}

// begin takes memory for lines of about so many bytes.
func (l *lineLoader) begin(size int) {
	l.lines.Offsets = l.reader.u32s.get(l.rows + 1)
	l.lines.Offsets[0] = 0
	l.lines.Data = l.reader.bytes.get(size)[:0]
}

// reach adds empty lines up to a row.
func (l *lineLoader) reach(row int) {
	at := uint32(len(l.lines.Data))
	ends := l.lines.Offsets[l.row+1 : row+1]
	for i := range ends {
		ends[i] = at
	}
	l.row = row
}

// end adds empty lines up to the last row.
func (l *lineLoader) end() error {
	if l.blocks == allBlocks>>(maxPageBlocks-len(l.pageMeta.lines)) && int64(len(l.lines.Data)) != l.rawBytes {
		return corrupt(l.seg.path, fmt.Sprintf("lines of page %d", l.number), l.seg.offset(secPages)+l.seg.dir.pageOff[l.number],
			fmt.Errorf("they have %d bytes instead of %d", len(l.lines.Data), l.rawBytes))
	}
	l.reach(l.rows)
	return nil
}

// drop gives back the memory of the lines.
func (l *lineLoader) drop() {
	if l.lines.Offsets != nil {
		l.reader.u32s.put(l.lines.Offsets)
		l.reader.bytes.put(l.lines.Data)
		l.lines = column.Lines{}
	}
}

// free gives back all other memory.
func (l *lineLoader) free() {
	for _, b := range [][]byte{l.first, l.raw, l.digits, l.decoder.frame} {
		if b != nil {
			l.reader.bytes.put(b)
		}
	}
}

// into returns memory for n bytes in place of *buf.
func (l *lineLoader) into(buf *[]byte) func(n int) []byte {
	return func(n int) []byte {
		if cap(*buf) < n {
			if *buf != nil {
				l.reader.bytes.put(*buf)
			}
			*buf = l.reader.bytes.get(n)
		}
		return (*buf)[:n]
	}
}

// each calls f for the blocks that are wanted, with the raw bytes of the block, the stored block of its digits
// and its rows [from, to). Stored are all blocks up to the last one that is wanted.
func (l *lineLoader) each(stored []byte, f func(raw, digits []byte, from, to int) error) error {
	all, from := len(stored), 0
	for i, b := range l.pageMeta.lines {
		if l.blocks>>i == 0 {
			break
		}
		block, digits := stored[:b.size], stored[b.size:][:b.ids]
		stored = stored[b.size+b.ids:]
		to := from + int(b.rows)
		if err := l.block(i, block, digits, from, to, f); err != nil {
			off := all - len(stored) - len(digits) - len(block)
			return corrupt(l.seg.path, fmt.Sprintf("lines of page %d", l.number), l.seg.offset(secPages)+l.seg.dir.pageOff[l.number]+int64(off), err)
		}
		from = to
	}
	return nil
}

// block does for a block what each does for all.
func (l *lineLoader) block(i int, block, digits []byte, from, to int, f func(raw, digits []byte, from, to int) error) error {
	wanted := l.blocks>>i&1 != 0
	if !wanted && i > 0 {
		return nil
	}
	buf := &l.raw
	if i == 0 {
		buf = &l.first
	}
	raw, err := l.decoder.decode(block, l.into(buf))
	if err != nil {
		return err
	}
	if i == 0 && l.blocks > 1 {
		l.decoder.frame = l.reader.bytes.get(frameHeader + frameBlock + len(raw) + int(l.largest()))
		l.decoder.begin(raw)
	}
	if !wanted {
		return nil
	}
	return f(raw, digits, from, to)
}

// addPlain adds the lines of a block that is not packed.
func (l *lineLoader) addPlain(raw, _ []byte, from, to int) error {
	l.reach(from)
	at := len(l.lines.Data)
	sum := uint32(at)
	for i, n := range l.lengths[from:to] {
		sum += n
		l.lines.Offsets[from+1+i] = sum
	}
	l.row = to
	if int(sum)-at != len(raw) {
		return fmt.Errorf("lines of %d bytes instead of %d", len(raw), int(sum)-at)
	}
	l.lines.Data = append(l.lines.Data, raw...)
	return nil
}

var errManyLines = errors.New("more lines than rows")

// addPacked adds the lines of a packed block.
func (l *lineLoader) addPacked(raw, digits []byte, from, to int) error {
	ids, err := l.ids(digits)
	if err != nil {
		return err
	}
	l.reach(from)
	u := newUnpacker(l.marks, raw, ids)
	data, offs, limit := l.lines.Data, l.lines.Offsets, int(l.rawBytes)
	for row := from; row < to; row++ {
		if data, err = u.next(data, l.times[row], limit); err != nil {
			return err
		}
		offs[row+1] = uint32(len(data))
	}
	l.lines.Data, l.row = data, to
	if len(u.text) > 0 {
		return errManyLines
	}
	if len(u.ids) > 0 {
		return errPacked
	}
	return nil
}

// ids returns the digits of a block.
func (l *lineLoader) ids(digits []byte) ([]byte, error) {
	if len(digits) == 0 {
		return nil, nil
	}
	return l.reader.codec.decodeBlock(digits, true, l.into(&l.digits))
}
