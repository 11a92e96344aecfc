package push

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// readerPools keep decompressors for reuse: each costs tens of kilobytes to make.
type readerPools struct{ gzip, flate, zlib, zstd, lz4, bufio sync.Pool }

// mediaType returns the media type of a Content-Type header.
func mediaType(header string) (string, error) {
	t, _, err := mime.ParseMediaType(header)
	if err != nil {
		if header == "" {
			return "", invalidf("Content-Type is missing (%v): send application/json or application/x-protobuf", err)
		}
		return "", invalidf("Content-Type %.100q cannot be read: %v", header, err)
	}
	return t, nil
}

// limitedReader counts what it reads and fails after max bytes.
type limitedReader struct {
	r    io.Reader
	n    int64
	max  int64
	over error // the error that ended it
}

func (l *limitedReader) Read(p []byte) (int, error) {
	if l.over != nil {
		return 0, l.over
	}
	if rest := l.max - l.n + 1; int64(len(p)) > rest {
		p = p[:rest]
	}
	n, err := l.r.Read(p)
	l.n += int64(n)
	if l.n > l.max {
		l.over = tooLarge("the body", l.max)
		return 0, l.over
	}
	if err != nil && err != io.EOF {
		l.over = invalidf("the body could not be read to its end: %v", err)
		err = l.over
	}
	return n, err
}

func tooLarge(what string, limit int64) error {
	return &Error{ErrTooLarge, fmt.Sprintf("%s is larger than the limit of %d bytes; send it in smaller parts", what, limit)}
}

// readAll reads everything into buf, which grows with what really comes, not with what was announced.
func (r *Request) readAll(from io.Reader, buf []byte, hint, limit int64, what string) ([]byte, error) {
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			n := int64(max(64<<10, 2*cap(buf)))
			if hint >= int64(len(buf)) && hint < n {
				n = hint + 1 // the end shows only when there is room for another byte
			}
			n = min(n, max(limit+1, int64(cap(buf))+1))
			if err := r.reserve(n - int64(cap(buf))); err != nil {
				return buf, err
			}
			bigger := make([]byte, len(buf), n)
			copy(bigger, buf)
			buf = bigger
		}
		n, err := from.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return buf, tooLarge(what, limit)
		}
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// encodings that a format understands.
type encodings uint8

const (
	encodingsPush encodings = iota // gzip, deflate, snappy
	encodingsOTLP                  // gzip, zstd, lz4
)

// read fills r.plain with the body after decompression. block tells that what is inside is a snappy
// block in any case.
func (r *Request) read(b Body, allowed encodings, block bool) error {
	d := r.decoder
	if b.Length > d.limits.MaxBody {
		return tooLarge("the body", d.limits.MaxBody)
	}
	in := &limitedReader{r: b.Reader, max: d.limits.MaxBody}
	defer func() { r.Size = int(in.n) }()

	encoding := strings.ToLower(strings.TrimSpace(b.Encoding))
	src, done, err := d.readers.open(in, encoding, allowed)
	if err != nil {
		if in.over != nil {
			return in.over
		}
		return err
	}
	defer done()
	hint := int64(-1)
	if src == io.Reader(in) {
		hint = b.Length
	}

	const what = "the decompressed body"
	if !block && encoding != "snappy" {
		r.plain, err = r.readAll(src, r.plain, hint, d.limits.MaxDecompressed, what)
		return r.readError(err, in, encoding)
	}
	r.raw, err = r.readAll(src, r.raw, hint, min(d.limits.MaxDecompressed, max(d.limits.MaxBody, 1)), what)
	if err != nil {
		return r.readError(err, in, encoding)
	}
	if err := r.unsnap(); err != nil {
		if block || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrBusy) {
			return err
		}
		// Some clients name snappy and send plain JSON; the reference takes it.
		r.raw, r.plain = r.plain, r.raw
		r.Plain = len(r.plain)
	}
	return nil
}

func (r *Request) readError(err error, in *limitedReader, encoding string) error {
	var known *Error
	switch {
	case err == nil:
		r.Plain = len(r.plain)
		return nil
	case in.over != nil:
		return in.over
	case errors.As(err, &known):
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return invalidf("the %s body ends too early: unexpected EOF", encoding)
	default:
		return invalidf("Content-Encoding says %s, but the body is not: %v", encoding, err)
	}
}

// unsnap decodes the snappy block in r.raw.
func (r *Request) unsnap() error {
	n, err := snappy.DecodedLen(r.raw)
	if err != nil {
		return invalidf("the body is not a snappy block: %v", err)
	}
	limit := r.decoder.limits.MaxDecompressed
	if int64(n) > limit {
		return tooLarge("the decompressed body", limit)
	}
	// No element of a snappy block gives more than 64 bytes for 3, so a length beyond that is a lie, and
	// not worth the memory.
	if n/22 > len(r.raw) {
		return invalidf("the body is not a snappy block: it announces %d bytes but has only %d", n, len(r.raw))
	}
	if n > cap(r.plain) {
		if err := r.reserve(int64(n - cap(r.plain))); err != nil {
			return err
		}
		r.plain = make([]byte, n)
	}
	r.plain, err = snappy.Decode(r.plain[:cap(r.plain)], r.raw)
	if err != nil {
		return invalidf("the body is not a snappy block: %v", err)
	}
	r.Plain = len(r.plain)
	return nil
}

// open returns a reader of the decompressed body and a function to call when it is read.
func (p *readerPools) open(in io.Reader, encoding string, allowed encodings) (io.Reader, func(), error) {
	unsupported := func() (io.Reader, func(), error) {
		known := "gzip, deflate or snappy"
		if allowed == encodingsOTLP {
			known = "gzip, zstd or lz4"
		}
		return nil, nil, invalidf("Content-Encoding %.100q not supported: send %s, or no compression", encoding, known)
	}
	none := func() {}
	switch encoding {
	case "", "identity":
		return in, none, nil
	case "snappy":
		if allowed != encodingsPush {
			return unsupported()
		}
		return in, none, nil
	case "gzip":
		z, _ := p.gzip.Get().(*gzip.Reader)
		if z == nil {
			z = new(gzip.Reader)
		}
		if err := z.Reset(in); err != nil {
			return nil, nil, invalidf("Content-Encoding says gzip, but the body is not: %v", err)
		}
		return z, func() { p.gzip.Put(z) }, nil
	case "deflate":
		if allowed != encodingsPush {
			return unsupported()
		}
		return p.openDeflate(in)
	case "zstd":
		if allowed != encodingsOTLP {
			return unsupported()
		}
		z, _ := p.zstd.Get().(*zstd.Decoder)
		if z == nil {
			var err error
			// One goroutine's worth of concurrency means none of its own.
			z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(16<<20), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, nil, fmt.Errorf("push: zstd decoder: %w", err)
			}
		}
		if err := z.Reset(in); err != nil {
			return nil, nil, invalidf("Content-Encoding says zstd, but the body is not: %v", err)
		}
		return z, func() {
			if z.Reset(nil) == nil {
				p.zstd.Put(z)
			}
		}, nil
	case "lz4":
		if allowed != encodingsOTLP {
			return unsupported()
		}
		z, _ := p.lz4.Get().(*lz4.Reader)
		if z == nil {
			z = lz4.NewReader(nil)
		}
		z.Reset(in)
		return z, func() { z.Reset(nil); p.lz4.Put(z) }, nil
	}
	return unsupported()
}

// openDeflate takes both meanings that clients give to deflate: the zlib format, as HTTP has it, and
// the bare format.
func (p *readerPools) openDeflate(in io.Reader) (io.Reader, func(), error) {
	br, _ := p.bufio.Get().(*bufio.Reader)
	if br == nil {
		br = bufio.NewReader(nil)
	}
	br.Reset(in)
	release := func() { br.Reset(nil); p.bufio.Put(br) }
	head, _ := br.Peek(2)
	if len(head) == 2 && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		if z, ok := p.zlib.Get().(io.ReadCloser); ok {
			if err := z.(zlib.Resetter).Reset(br, nil); err != nil {
				release()
				return nil, nil, invalidf("Content-Encoding says deflate, but the body is not: %v", err)
			}
			return z, func() { p.zlib.Put(z); release() }, nil
		}
		z, err := zlib.NewReader(br)
		if err != nil {
			release()
			return nil, nil, invalidf("Content-Encoding says deflate, but the body is not: %v", err)
		}
		return z, func() { p.zlib.Put(z); release() }, nil
	}
	z, ok := p.flate.Get().(io.ReadCloser)
	if ok {
		if err := z.(flate.Resetter).Reset(br, nil); err != nil {
			release()
			return nil, nil, invalidf("Content-Encoding says deflate, but the body is not: %v", err)
		}
	} else {
		z = flate.NewReader(br)
	}
	return z, func() { p.flate.Put(z); release() }, nil
}
