package lokihttp

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// flushAt is the number of bytes from which on an encoder hands its buffer to the writer.
const flushAt = 64 << 10

// encoder builds JSON in a buffer and passes it on in pieces, so that a large answer is never in memory
// whole.
type encoder struct {
	w   io.Writer
	buf []byte
	err error // of the first failed write; nothing is written after it

	whole bool // the answer stays in buf
}

func newEncoder(w io.Writer) *encoder {
	return &encoder{w: w, buf: make([]byte, 0, flushAt+4096)}
}

func (e *encoder) raw(s string) { e.buf = append(e.buf, s...) }

func (e *encoder) byte(b byte) { e.buf = append(e.buf, b) }

func (e *encoder) string(s string) { e.buf = appendString(e.buf, s) }

func (e *encoder) int(n int64) { e.buf = strconv.AppendInt(e.buf, n, 10) }

func (e *encoder) uint(n uint64) { e.buf = strconv.AppendUint(e.buf, n, 10) }

// float writes a number as JSON. Infinite ones, which JSON does not know, are 0.
func (e *encoder) float(f float64) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		f = 0
	}
	e.buf = strconv.AppendFloat(e.buf, f, 'f', -1, 64)
}

// check passes the buffer on if it is large. It returns false if writing has failed.
func (e *encoder) check() bool {
	if len(e.buf) >= flushAt && !e.whole {
		e.flush()
	}
	return e.err == nil
}

func (e *encoder) flush() error {
	if e.err == nil && len(e.buf) > 0 {
		_, e.err = e.w.Write(e.buf)
	}
	e.buf = e.buf[:0]
	return e.err
}

// labels writes an object.
func (e *encoder) labels(ls labels.Labels) {
	e.byte('{')
	first := true
	ls.Range(func(l labels.Label) {
		if !first {
			e.byte(',')
		}
		first = false
		e.string(l.Name)
		e.byte(':')
		e.string(l.Value)
	})
	e.byte('}')
}

const hex = "0123456789abcdef"

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString(dst []byte, s string) []byte {
	dst = append(slices.Grow(dst, len(s)+len(s)/8+16), '"')
	for {
		var n int
		dst, n = appendPlain(dst, s)
		if n == len(s) {
			return append(dst, '"')
		}
		s = s[n:]
		c := s[0]
		if c < utf8.RuneSelf {
			switch c {
			case '"', '\\':
				dst = append(dst, '\\', c)
			case '\n':
				dst = append(dst, '\\', 'n')
			case '\r':
				dst = append(dst, '\\', 'r')
			case '\t':
				dst = append(dst, '\\', 't')
			default:
				dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			s = s[1:]
			continue
		}
		for len(s) > 0 && s[0] >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(s)
			if r == utf8.RuneError && size == 1 {
				dst = append(dst, "\ufffd"...)
			} else {
				dst = append(dst, s[:size]...)
			}
			s = s[size:]
		}
	}
}

// appendPlain appends the bytes that s begins with that stand for themselves in a JSON string and are ASCII, and returns how
// many they are. It looks at eight bytes at a time.
func appendPlain(dst []byte, s string) ([]byte, int) {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	i := 0
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		v := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56 // one load
		quote := v ^ ones*'"'
		back := v ^ ones*'\\'
		// A high bit is set in the sum for each byte that is zero in quote or back, or below 0x20, or
		// has it itself. Borrows can set it in bytes above these too, never below.
		special := (v | (v - ones*0x20) | (quote - ones) | (back - ones)) & highs
		dst = binary.LittleEndian.AppendUint64(dst, v)
		if special != 0 {
			n := bits.TrailingZeros64(special) / 8
			return dst[:len(dst)-8+n], i + n
		}
	}
	from := i
	for ; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			break
		}
	}
	return append(dst, s[from:i]...), i
}
