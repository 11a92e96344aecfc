package wire

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"example.com/loki/internal/alias"
)

// Compression is how messages are made smaller on their way.
type Compression string

// The compressions. Peers understand each of them, whatever they send themselves.
const (
	NoCompression Compression = ""
	Snappy        Compression = "snappy" // cheap
	Gzip          Compression = "gzip"   // smaller, at many times the cost
	Zstd          Compression = "zstd"   // smaller than that, at several times the cost of Snappy
)

// check returns an error if c is none of the above.
func (c Compression) check() error {
	switch c {
	case NoCompression, Snappy, Gzip, Zstd:
		return nil
	}
	return fmt.Errorf("Compression is %q; it must be %q, %q, %q or empty", string(c), string(Snappy), string(Gzip), string(Zstd))
}

// codec turns messages into bytes. It speaks plain protobuf, so that it understands and is understood
// by any gRPC peer, but it uses the generated code for that and doesn't copy the byte fields of
// received messages.
//
// Compression is part of it since gRPC keeps compressors in a list for the whole process. A compressed
// message begins with a byte that is 0, which no protobuf message does, and one that says how it is
// compressed. So both sides understand both kinds without having agreed.
type codec struct {
	compression Compression
	maxPlain    int // bytes of a message after decompression
	encoder     *zstd.Encoder
	decoder     *zstd.Decoder
}

var _ encoding.CodecV2 = (*codec)(nil)

// compressFrom is the size in bytes from which compression is worth it.
const compressFrom = 1 << 10

// The second byte of a compressed message.
const (
	tagSnappy = 1
	tagZstd   = 2
	tagGzip   = 3
)

func newCodec(c Compression, maxPlain int) (*codec, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	k := &codec{compression: c, maxPlain: maxPlain}
	var err error
	if c == Zstd {
		// Both work without goroutines of their own in EncodeAll and DecodeAll.
		if k.encoder, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false)); err != nil {
			return nil, err
		}
	}
	k.decoder, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(uint64(maxPlain)))
	return k, err
}

// Name implements encoding.CodecV2: it is what gRPC's own codec for protobuf is called.
func (k *codec) Name() string { return "proto" }

type fastMarshaler interface {
	SizeVT() int
	MarshalToSizedBufferVT([]byte) (int, error)
}

// fastUnmarshaler has two ways to decode a message: one whose fields share the memory of what is decoded, and its twin
// without unsafe, which copies them.
type fastUnmarshaler interface {
	UnmarshalVTUnsafe([]byte) error
	UnmarshalVT([]byte) error
}

// Marshal implements encoding.CodecV2.
func (k *codec) Marshal(v any) (mem.BufferSlice, error) {
	pool := mem.DefaultBufferPool()
	var buf *[]byte
	switch m := v.(type) {
	case fastMarshaler:
		buf = pool.Get(m.SizeVT())
		if _, err := m.MarshalToSizedBufferVT(*buf); err != nil {
			pool.Put(buf)
			return nil, err
		}
	case proto.Message:
		buf = pool.Get(proto.Size(m))
		if _, err := (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend((*buf)[:0], m); err != nil {
			pool.Put(buf)
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%T is no protobuf message", v)
	}
	if k.compression == NoCompression || len(*buf) < compressFrom {
		return mem.BufferSlice{mem.NewBuffer(buf, pool)}, nil
	}
	defer pool.Put(buf)
	packed, err := k.compress(*buf)
	return mem.BufferSlice{mem.SliceBuffer(packed)}, err
}

func (k *codec) compress(plain []byte) ([]byte, error) {
	switch k.compression {
	case Gzip:
		var b bytes.Buffer
		b.Write([]byte{0, tagGzip})
		w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
		if err == nil {
			_, err = w.Write(plain)
		}
		if err == nil {
			err = w.Close()
		}
		return b.Bytes(), err
	case Snappy:
		out := make([]byte, 2+snappy.MaxEncodedLen(len(plain)))
		out[1] = tagSnappy
		return out[:2+len(snappy.Encode(out[2:], plain))], nil
	}
	return k.encoder.EncodeAll(plain, append(make([]byte, 0, 2+len(plain)/2), 0, tagZstd)), nil
}

var errCompressed = errors.New("message is compressed in an unknown way")

// Unmarshal implements encoding.CodecV2. The message gets memory of its own.
func (k *codec) Unmarshal(data mem.BufferSlice, v any) error {
	plain, err := k.plain(data)
	if err != nil {
		return err
	}
	switch m := v.(type) {
	case fastUnmarshaler:
		if alias.Shares {
			return m.UnmarshalVTUnsafe(plain)
		}
		return m.UnmarshalVT(plain)
	case proto.Message:
		return proto.Unmarshal(plain, m)
	}
	return fmt.Errorf("%T is no protobuf message", v)
}

// plain returns the bytes of a message, as they are before compression.
func (k *codec) plain(data mem.BufferSlice) ([]byte, error) {
	var first byte = 1
	for _, b := range data {
		if b.Len() > 0 {
			first = b.ReadOnlyData()[0]
			break
		}
	}
	if first != 0 {
		return data.Materialize(), nil
	}
	pool := mem.DefaultBufferPool()
	packed := data.MaterializeToBuffer(pool)
	defer packed.Free()
	b := packed.ReadOnlyData()
	if len(b) < 2 {
		return nil, errCompressed
	}
	switch b[1] {
	case tagSnappy:
		n, err := snappy.DecodedLen(b[2:])
		if err != nil {
			return nil, err
		}
		if n > k.maxPlain {
			return nil, k.tooLarge(n)
		}
		return snappy.Decode(make([]byte, n), b[2:])
	case tagZstd:
		var h zstd.Header
		if err := h.Decode(b[2:]); err == nil && h.HasFCS && h.FrameContentSize > uint64(k.maxPlain) {
			return nil, k.tooLarge(int(min(h.FrameContentSize, 1<<62)))
		}
		plain, err := k.decoder.DecodeAll(b[2:], nil)
		if err != nil {
			return nil, err
		}
		return slices.Clip(plain), nil
	case tagGzip:
		r, err := gzip.NewReader(bytes.NewReader(b[2:]))
		if err != nil {
			return nil, err
		}
		plain, err := io.ReadAll(io.LimitReader(r, int64(k.maxPlain)+1))
		if err == nil && len(plain) > k.maxPlain {
			err = k.tooLarge(len(plain))
		}
		return slices.Clip(plain), err
	}
	return nil, errCompressed
}

// tooLarge words the error as gRPC does for messages that are not compressed.
func (k *codec) tooLarge(n int) error {
	return fmt.Errorf("received message after decompression larger than max (%d vs. %d)", n, k.maxPlain)
}
