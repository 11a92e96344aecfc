package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// The lines of a page are cut into blocks that can be read alone, so that a query for one line need not
// decompress them all. So that they compress as if they were one, the raw bytes of the first block, its
// history, go before those of each other for the compressor, and only for it.

const (
	firstLineBlock = 32 << 10 // raw bytes at which the first block of a page's lines ends
	lineBlockBytes = 64 << 10 // and the others
	minHistory     = 1 << 10
	maxHistory     = 64 << 10
	historyID      = 1
)

// lineCut is where a line block begins.
type lineCut struct{ row, at int }

// cutLines begins a line block if the one before is large enough. The next line will be at the given
// place of the page's lines.
func (p *pageBuilder) cutLines(at int) {
	from, size := 0, firstLineBlock
	if n := len(p.cuts); n > 0 {
		// A large page has large blocks.
		from, size = p.cuts[n-1].at, max(lineBlockBytes, p.target/(maxPageBlocks-2))
	}
	if at-from < size || len(p.cuts) == maxPageBlocks-1 {
		return
	}
	p.cuts = append(p.cuts, lineCut{len(p.lens), at})
	p.keys.cut()
}

// appendLines appends the lines of the page and their digits, block by block.
func (p *pageBuilder) appendLines(c *codec, dst []byte) (_ []byte, blocks []lineBlock, m marks) {
	type part struct{ text, ids int } // where a block ends
	parts := make([]part, 0, maxPageBlocks)
	pk := &p.packer
	pk.reset()
	m = freeMarks(p.lines)
	packed := m != marks{}
	from := lineCut{}
	for i := range len(p.cuts) + 1 {
		to := lineCut{len(p.lens), len(p.lines)}
		if i < len(p.cuts) {
			to = p.cuts[i]
		}
		if packed {
			pk.pack(p.lines[from.at:to.at], p.lens[from.row:to.row], p.times[from.row:to.row], m)
			parts = append(parts, part{len(pk.text), len(pk.ids)})
		} else {
			parts = append(parts, part{to.at, 0})
		}
		blocks = append(blocks, lineBlock{rows: int32(to.row - from.row)})
		from = to
	}
	text := pk.text
	if !packed {
		text = p.lines
	}
	var hist *afterEncoder
	var begin part
	for i, end := range parts {
		at := len(dst)
		raw := text[begin.text:end.text]
		switch {
		case i == 0 || parts[0].text < minHistory:
			dst = c.appendBlock(dst, raw)
		default:
			if hist == nil {
				hist = c.after.Get().(*afterEncoder)
				defer c.after.Put(hist)
				hist.begin(history(text[:parts[0].text]))
			}
			dst = hist.appendBlock(dst, raw)
		}
		blocks[i].size = int32(len(dst) - at)
		if ids := pk.ids[begin.ids:end.ids]; len(ids) > 0 {
			at := len(dst)
			dst = c.appendBlock(dst, ids)
			blocks[i].ids = int32(len(dst) - at)
		}
		begin = end
	}
	return dst, blocks, m
}

// history returns what goes before the blocks of a page whose first one has these raw bytes.
func history(first []byte) []byte { return first[:min(len(first), maxHistory)] }

// afterEncoder compresses blocks after a history.
type afterEncoder struct {
	enc   *zstd.Encoder
	frame []byte
}

// begin sets the history.
func (e *afterEncoder) begin(history []byte) {
	if err := e.enc.ResetWithOptions(nil, zstd.WithEncoderDictRaw(historyID, history)); err != nil {
		panic("store: zstd history: " + err.Error())
	}
}

// appendBlock appends raw as a block.
func (e *afterEncoder) appendBlock(dst, raw []byte) []byte {
	return appendCompressed(dst, raw, codecAfter, func(dst []byte) []byte {
		e.frame = e.enc.EncodeAll(raw, e.frame[:0])
		var h zstd.Header
		if err := h.Decode(e.frame); err != nil {
			panic("store: zstd frame: " + err.Error())
		}
		return append(dst, e.frame[h.HeaderSize:]...)
	})
}

// lineDecoder decodes the line blocks of a page, the first one first. To a decoder, the history is an
// uncompressed block at the start of the frame: that costs it no more than a copy, while a dictionary
// would send it another, slower way.
type lineDecoder struct {
	codec *codec
	frame []byte // header, the history as a block
	room  int    // of frame without what is decoded after the history
}

const (
	frameHeader = 4 + 1 + 4 // magic, a single segment whose size follows in 4 bytes
	frameBlock  = 3         // header of a block
)

// begin sets the history. The frame will be in memory of the given capacity at least.
func (d *lineDecoder) begin(first []byte) {
	h := history(first)
	f := append(d.frame[:0], 0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0)
	block := uint32(len(h)) << 3 // not the last one, raw
	f = append(f, byte(block), byte(block>>8), byte(block>>16))
	d.frame = append(f, h...)
	d.room = len(d.frame)
}

var errHistory = errors.New("line block without a history")

// decode returns the raw bytes of a block. They lie in memory from alloc, or in b.
func (d *lineDecoder) decode(b []byte, alloc func(n int) []byte) ([]byte, error) {
	kind, rawLen, data, err := blockInfo(b)
	if err != nil {
		return nil, err
	}
	if kind != codecAfter {
		return d.codec.decodeBlock(b, true, alloc)
	}
	if d.room == 0 {
		return nil, errHistory
	}
	hist := d.room - frameHeader - frameBlock
	binary.LittleEndian.PutUint32(d.frame[frameHeader-4:], uint32(hist+rawLen))
	d.frame = append(d.frame[:d.room], data...)
	dst := alloc(hist + rawLen)
	out, err := d.codec.dec.DecodeAll(d.frame, dst[:0:hist+rawLen])
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	if len(out) != hist+rawLen {
		return nil, fmt.Errorf("%d bytes instead of %d", len(out)-hist, rawLen)
	}
	return out[hist:], nil
}
