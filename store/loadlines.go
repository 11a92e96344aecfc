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
	stored, err := r.fetchLines(ctx, s, page, 0, bits.Len64(l.blocks), fetched)
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

// fetchLines reads line blocks [from, to) of a page. The first one is what the others are decoded after, and near: mostly all
// is read at once.
func (r *columnReader) fetchLines(ctx context.Context, s *segment, page, from, to int, fetched *atomic.Int64) ([]byte, error) {
	p := &s.dir.pages[page]
	at := s.dir.pageOff[page] + blocksSize(p.lines[:from])
	return r.fetch(ctx, s, secPages, at, int(blocksSize(p.lines[from:to])), fetched)
}

// loadBegin reads the first line block of a page, without its digits.
func (r *columnReader) loadBegin(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*columnData, int64, error) {
	at := s.dir.pageOff[page]
	block, err := r.fetch(ctx, s, secPages, at, int(s.dir.pages[page].lines[0].size), fetched)
	if err != nil {
		return nil, 0, err
	}
	defer r.bytes.put(block)
	var raw []byte
	_, err = r.codec.decodeBlock(block, false, func(n int) []byte {
		raw = r.bytes.get(n)
		return raw
	})
	if err != nil {
		if raw != nil {
			r.bytes.put(raw)
		}
		return nil, 0, corrupt(s.path, fmt.Sprintf("lines of page %d", page), s.offset(secPages)+at, err)
	}
	return &columnData{stored: raw}, int64(cap(raw)), nil
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
	begun   *columnHandle // of the first block; nil: it is to be decoded
	from    int           // the first block that is stored
	first   []byte        // memory of the first block
	raw     []byte        // and of the block being decoded
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
	if l.begun != nil {
		l.begun.release()
	}
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

// fetch returns what is stored of the blocks that are wanted and of those that are needed for them. The cache gets what is worth
// most: what was fetched from far away, else the first block decoded, which takes half as long as one that is wanted.
func (l *lineLoader) fetch(ctx context.Context, fetched *atomic.Int64) (stored []byte, release func(), err error) {
	r, end := l.reader, bits.Len64(l.blocks)
	if !l.seg.near() {
		h, err := r.getBlocks(ctx, l.seg, l.number, colStored, uint64(end), fetched)
		if err != nil {
			return nil, nil, err
		}
		return h.val.stored, h.release, nil
	}
	if bits.OnesCount64(l.blocks) <= fewBlocks {
		if l.begun, err = r.get(ctx, l.seg, l.number, colBegin, fetched); err != nil {
			return nil, nil, err
		}
		l.from = bits.TrailingZeros64(l.blocks)
	}
	stored, err = r.fetchLines(ctx, l.seg, l.number, l.from, end, fetched)
	return stored, func() { r.bytes.put(stored) }, err
}

// fewBlocks is up to how many wanted blocks of a page its first one is kept decoded.
const fewBlocks = 2

// each calls f for the blocks that are wanted, with the raw bytes of the block, the stored block of its digits
// and its rows [from, to). Stored are all blocks from l.from up to the last one that is wanted.
func (l *lineLoader) each(stored []byte, f func(raw, digits []byte, from, to int) error) error {
	all, from := len(stored), 0
	if l.begun != nil {
		l.history(l.begun.val.stored)
	}
	for i, b := range l.pageMeta.lines {
		if l.blocks>>i == 0 {
			break
		}
		to := from + int(b.rows)
		if i < l.from {
			from = to
			continue
		}
		block, digits := stored[:b.size], stored[b.size:][:b.ids]
		stored = stored[b.size+b.ids:]
		if err := l.block(i, block, digits, from, to, f); err != nil {
			off := blocksSize(l.pageMeta.lines[:l.from]) + int64(all-len(stored)-len(digits)-len(block))
			return corrupt(l.seg.path, fmt.Sprintf("lines of page %d", l.number), l.seg.offset(secPages)+l.seg.dir.pageOff[l.number]+off, err)
		}
		from = to
	}
	return nil
}

// block does for a block what each does for all.
func (l *lineLoader) block(i int, block, digits []byte, from, to int, f func(raw, digits []byte, from, to int) error) error {
	wanted := l.blocks>>i&1 != 0
	var raw []byte
	var err error
	switch {
	case i == 0 && l.begun != nil:
		raw = l.begun.val.stored
	case i == 0:
		if raw, err = l.decoder.decode(block, l.into(&l.first)); err == nil {
			l.history(raw)
		}
	case wanted:
		raw, err = l.decoder.decode(block, l.into(&l.raw))
	}
	if err != nil || !wanted {
		return err
	}
	return f(raw, digits, from, to)
}

// history sets what blocks are decoded after, from the raw bytes of the first one.
func (l *lineLoader) history(first []byte) {
	if l.blocks > 1 {
		l.decoder.frame = l.reader.bytes.get(frameHeader + frameBlock + len(first) + int(l.largest()))
		l.decoder.begin(first)
	}
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
