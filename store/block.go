package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	codecRaw   = 0
	codecZstd  = 1
	codecAfter = 2 // zstd after a history: see lineblocks.go

	crcSize     = 4
	maxExpand   = 1 << 16 // zstd makes a byte of at most so many, roughly
	blockHeader = 1 + binary.MaxVarintLen64
)

var (
	errChecksum = errors.New("checksum does not match")
	errAfter    = errors.New("there is no history to decode after")
)

// castagnoli is the table of all checksums. It is only read.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendCRC(dst, data []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(data, castagnoli))
}

// checkCRC splits data from its checksum and verifies it.
func checkCRC(b []byte) ([]byte, error) {
	if len(b) < crcSize {
		return nil, errShort
	}
	data := b[:len(b)-crcSize]
	if crc32.Checksum(data, castagnoli) != binary.LittleEndian.Uint32(b[len(data):]) {
		return nil, errChecksum
	}
	return data, nil
}

// codec compresses and decompresses. It is safe for concurrent use.
type codec struct {
	pages  sync.Pool // of *zstd.Encoder
	tables sync.Pool // of *zstd.Encoder, for what is written once a segment
	after  sync.Pool // of *afterEncoder
	dec    *zstd.Decoder
}

func newCodec(level zstd.EncoderLevel) *codec {
	c := &codec{}
	// One goroutine uses an encoder at a time, for at most a page at once, so the window need not be
	// larger. Tables of many streams repeat each label value at a large distance.
	c.pages.New = func() any { return newEncoder(level, 1<<20) }
	c.tables.New = func() any { return newEncoder(max(level, zstd.SpeedBetterCompression), 16<<20) }
	c.after.New = func() any {
		return &afterEncoder{enc: newEncoder(level, 1<<20, zstd.WithEncoderDictRaw(historyID, make([]byte, minHistory)))}
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(math.MaxUint32), zstd.IgnoreChecksum(true))
	if err != nil {
		panic("store: zstd options: " + err.Error())
	}
	c.dec = dec
	return c
}

// newEncoder panics where the options are not what NewWriter accepts: they are constants.
func newEncoder(level zstd.EncoderLevel, window int, more ...zstd.EOption) *zstd.Encoder {
	e, err := zstd.NewWriter(nil, append(more, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(window), zstd.WithEncoderCRC(false), zstd.WithSingleSegment(true))...)
	if err != nil {
		panic("store: zstd options: " + err.Error())
	}
	return e
}

func (c *codec) close() { c.dec.Close() }

// appendBlock appends raw as a block, compressed where that saves a sixteenth or more.
func (c *codec) appendBlock(dst, raw []byte) []byte { return appendBlock(dst, raw, &c.pages) }

// appendTable is appendBlock for the sections that are one block. They are small unless there are very
// many streams, and then worth more effort.
func (c *codec) appendTable(dst, raw []byte) []byte {
	if len(raw) <= 64<<10 {
		return c.appendBlock(dst, raw)
	}
	return appendBlock(dst, raw, &c.tables)
}

func appendBlock(dst, raw []byte, encoders *sync.Pool) []byte {
	return appendCompressed(dst, raw, codecZstd, func(dst []byte) []byte {
		e := encoders.Get().(*zstd.Encoder)
		defer encoders.Put(e)
		return e.EncodeAll(raw, dst)
	})
}

// appendCompressed appends raw as a block with what compress appends for it, or as it is.
func appendCompressed(dst, raw []byte, codec byte, compress func(dst []byte) []byte) []byte {
	start := len(dst)
	dst = append(dst, codec)
	dst = binary.AppendUvarint(dst, uint64(len(raw)))
	data := len(dst)
	// Below this size the frame's own header eats the gain.
	const tryFrom = 24
	if len(raw) >= tryFrom {
		dst = compress(dst)
	}
	if n := len(dst) - data; n == 0 || n > len(raw)-len(raw)/16 {
		dst[start] = codecRaw
		dst = append(dst[:data], raw...)
	}
	return appendCRC(dst, dst[start:])
}

// blockInfo verifies the checksum of a block and returns its codec, length and data.
func blockInfo(b []byte) (codec byte, rawLen int, data []byte, err error) {
	body, err := checkCRC(b)
	if err != nil {
		return 0, 0, nil, err
	}
	d := decbuf{b: body}
	codec = d.u8()
	rawLen = d.size(math.MaxUint32)
	if d.err != nil {
		return 0, 0, nil, d.err
	}
	switch codec {
	case codecRaw:
		if rawLen != len(d.b) {
			return 0, 0, nil, fmt.Errorf("%d bytes instead of %d", len(d.b), rawLen)
		}
	case codecZstd, codecAfter:
		if rawLen > maxExpand+maxExpand*len(d.b) {
			return 0, 0, nil, fmt.Errorf("%d bytes can't become %d", len(d.b), rawLen)
		}
	default:
		return 0, 0, nil, fmt.Errorf("unknown codec %d", codec)
	}
	return codec, rawLen, d.b, nil
}

// decodeBlock returns the raw bytes of a block. They are in memory from alloc, or, if share is set and
// nothing was compressed, part of b.
func (c *codec) decodeBlock(b []byte, share bool, alloc func(n int) []byte) ([]byte, error) {
	kind, rawLen, data, err := blockInfo(b)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == codecAfter:
		return nil, errAfter
	case kind == codecRaw && share:
		return data, nil
	}
	dst := alloc(rawLen)
	if kind == codecRaw {
		copy(dst, data)
		return dst, nil
	}
	out, err := c.dec.DecodeAll(data, dst[:0:rawLen])
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	if len(out) != rawLen {
		return nil, fmt.Errorf("%d bytes instead of %d", len(out), rawLen)
	}
	return out, nil
}

func allocBytes(n int) []byte { return make([]byte, n) }
