package ingester

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression is how the write-ahead log is compressed. A log may have been written with any; what its records say
// counts.
type Compression uint8

const (
	// CompressS2 costs a quarter of the processor time of CompressZstd and makes logs half as large again. For a log that is
	// written once and nearly never read that is the better choice, unless the disk is the limit.
	CompressS2 Compression = iota
	// CompressZstd is zstd at its fastest level.
	CompressZstd
	// CompressNone writes what it gets: some four times as much as CompressS2.
	CompressNone
)

func (c Compression) String() string {
	switch c {
	case CompressS2:
		return "s2"
	case CompressZstd:
		return "zstd"
	case CompressNone:
		return "none"
	}
	return fmt.Sprintf("Compression(%d)", uint8(c))
}

// How the payload of a record is compressed: docs/format/wal.md.
const (
	codecNone = 0
	codecZstd = 1
	codecS2   = 2
)

// maxS2Ratio bounds what a record compressed with S2 may become. A few bytes of S2 can stand for megabytes, and
// what a damaged record claims must not decide what is allocated.
const maxS2Ratio = 128

// codec compresses and decompresses payloads. It may be used by several goroutines.
type codec struct {
	with Compression
	enc  *zstd.Encoder
	dec  *zstd.Decoder
}

func newCodec(with Compression) (*codec, error) {
	// The fastest level: on logs it is within a few percent of the default one in size, see
	// BenchmarkCodec. A window of 1 MiB bounds memory; records are not much larger anyway.
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(1<<20),
		zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(true))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPayload))
	if err != nil {
		return nil, err
	}
	return &codec{with: with, enc: enc, dec: dec}, nil
}

func (c *codec) close() { c.dec.Close() }

// appendRecord appends a record with the payload.
func (c *codec) appendRecord(dst []byte, parts []partName, payload []byte) []byte {
	start := len(dst)
	dst = append(dst, recordVersion, codecNone)
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for _, p := range parts {
		dst = append(dst, p.id[:]...)
		dst = appendString(dst, p.tenant)
	}
	dst = binary.AppendUvarint(dst, uint64(len(payload)))
	head := len(dst)
	dst, codec := c.compress(dst, payload)
	if len(dst)-head >= len(payload) {
		codec = codecNone
		dst = append(dst[:head], payload...)
	}
	dst[start+1] = codec
	return dst
}

// compress appends the payload and says how it did so.
func (c *codec) compress(dst, payload []byte) ([]byte, byte) {
	head := len(dst)
	switch c.with {
	case CompressNone:
		return append(dst, payload...), codecNone
	case CompressS2:
		dst = slices.Grow(dst, max(s2.MaxEncodedLen(len(payload)), 0))
		n := len(s2.Encode(dst[head:cap(dst)], payload))
		if len(payload) <= maxS2Ratio*n {
			return dst[:head+n], codecS2
		}
	}
	return c.enc.EncodeAll(payload, dst[:head]), codecZstd
}

// payload decompresses. The result is a buffer of its own.
func (c *codec) payload(r record) ([]byte, error) {
	var p []byte
	var err error
	switch r.codec {
	case codecNone:
		p = slices.Clone(r.data)
	case codecZstd:
		// What the record claims must not decide what is allocated: zstd's ratio on text is well
		// below 100, a claim beyond that has to prove itself.
		p, err = c.dec.DecodeAll(r.data, make([]byte, 0, min(r.raw, 128*len(r.data))))
	case codecS2:
		if n, err := s2.DecodedLen(r.data); err != nil || n != r.raw || n > maxS2Ratio*len(r.data) {
			return nil, fmt.Errorf("decompress: %d bytes of S2 cannot be %d", len(r.data), r.raw)
		}
		p, err = s2.Decode(nil, r.data)
	default:
		return nil, fmt.Errorf("unknown codec %d", r.codec)
	}
	if err != nil {
		return nil, fmt.Errorf("decompress: %w", err)
	}
	if len(p) != r.raw {
		return nil, fmt.Errorf("payload of %d bytes, should be %d", len(p), r.raw)
	}
	return p, nil
}
