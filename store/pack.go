package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/bits"
	"slices"

	"example.com/loki/internal/bytesearch"
)

// Lines are packed before they are compressed. Most have the time of their row in their text, and
// many an identifier in hexadecimal: to a compressor both are random digits, which cost it more than
// all else in the line. Packed, the time costs nothing and the identifier half of its length. What
// stands in the text instead begins with a byte that the page does not have, the escape. Another such
// byte ends each line, so that packed text can be searched without taking it apart: see textSearch.

const (
	minPackedHex = 16  // digits of a run that a code may stand for
	maxPackedHex = 254 // and the most

	// Codes are no control characters, so that the end of a line is not taken for one. From packHex on a
	// code stands for 16, 18, ... digits, from packTime on for the time of the row.
	packHex  = 32
	packTime = 160

	packTimeWithin = 128 // bytes at the start of a line in which its time is looked for
)

var errPacked = errors.New("packed lines do not add up")

// clockForm is a way to write a time of day, in UTC: "15:04:05", with a fraction, or "150405".
type clockForm struct {
	compact bool
	point   byte
	digits  int // of the fraction
}

// clockForms are the forms in the order of their codes. It is only read.
var clockForms = [...]clockForm{
	{}, {point: '.', digits: 3}, {point: ',', digits: 3}, {point: '.', digits: 6}, {point: ',', digits: 6},
	{point: '.', digits: 9}, {point: ',', digits: 9}, {compact: true},
}

const (
	clockCompact = 7
	maxClock     = len("15:04:05.000000000")
)

func (f clockForm) size() int {
	switch {
	case f.compact:
		return len("150405")
	case f.digits > 0:
		return len("15:04:05.") + f.digits
	}
	return len("15:04:05")
}

// clock is a time of day. The zero value is not valid before set.
type clock struct {
	text   [maxClock]byte // in full, up to the fraction after set and with it after fraction
	second int64          // since 1970, that text shows; the rows of a stream often share theirs
	nanos  uint32
	begun  bool
}

// set makes c the time of day of t.
func (c *clock) set(t int64) {
	second, nanos := t/1e9, t%1e9
	if nanos < 0 {
		second, nanos = second-1, nanos+1e9
	}
	if second != c.second || !c.begun {
		c.setSecond(second)
	}
	c.nanos = uint32(nanos)
}

// fraction writes the fraction.
func (c *clock) fraction() {
	threeDigits(c.text[9:], c.nanos/1e6)
	threeDigits(c.text[12:], c.nanos/1e3%1e3)
	threeDigits(c.text[15:], c.nanos%1e3)
}

func threeDigits(dst []byte, v uint32) {
	_ = dst[2]
	dst[0], dst[1], dst[2] = byte('0'+v/100), byte('0'+v/10%10), byte('0'+v%10)
}

// setSecond writes all but the fraction.
func (c *clock) setSecond(second int64) {
	c.second, c.begun = second, true
	const day = 86_400
	if second %= day; second < 0 {
		second += day
	}
	sec := uint32(second)
	two := func(at int, v uint32) { c.text[at], c.text[at+1] = byte('0'+v/10), byte('0'+v%10) }
	two(0, sec/3600)
	c.text[2] = ':'
	two(3, sec/60%60)
	c.text[5] = ':'
	two(6, sec%60)
	c.text[8] = '.'
}

// put writes the time in a form to dst.
func (c *clock) put(dst []byte, f clockForm) {
	switch {
	case f.compact:
		copy(dst, c.text[:2])
		copy(dst[2:], c.text[3:5])
		copy(dst[4:], c.text[6:8])
	case f.digits > 0:
		copy(dst, c.text[:8])
		dst[8] = f.point
		threeDigits(dst[9:], c.nanos/1e6)
		if f.digits > 3 {
			threeDigits(dst[12:], c.nanos/1e3%1e3)
		}
		if f.digits > 6 {
			threeDigits(dst[15:], c.nanos%1e3)
		}
	default:
		copy(dst, c.text[:8])
	}
}

// packer packs the lines of pages. It is not safe for concurrent use.
type packer struct {
	text  []byte
	ids   []byte
	runs  []uint64 // of the lines being packed: a bit where minPackedHex digits begin
	place int      // of the time in the line before
	clock clock
}

// marks are the two bytes that packed lines of a page have besides their text; both 0: they are not packed.
type marks struct{ escape, end byte }

// freeMarks returns bytes that the lines do not have.
func freeMarks(lines []byte) (m marks) {
	free := func(c byte) bool { return c != m.end && bytes.IndexByte(lines, c) < 0 }
	if free('\n') {
		m.end = '\n' // as a compressor expects it
	}
	for c := byte(1); c < ' '; c++ {
		switch {
		case !free(c):
		case m.end == 0:
			m.end = c
		default:
			m.escape = c
			return m
		}
	}
	return marks{}
}

// reset forgets text and ids.
func (p *packer) reset() { p.text, p.ids = p.text[:0], p.ids[:0] }

// pack appends to text and ids what becomes of lines.
func (p *packer) pack(lines []byte, lens []uint32, times []int64, m marks) {
	p.findRuns(lines)
	end := 0
	for i, n := range lens {
		from := end
		end += int(n)
		if at, form, ok := p.find(lines[from:end], times[i]); ok {
			p.hex(lines, from, from+at, m.escape)
			p.text = append(p.text, m.escape, packTime+byte(form))
			from += at + clockForms[form].size()
		}
		p.hex(lines, from, end, m.escape)
		p.text = append(p.text, m.end)
	}
}

// find looks for the row's time in its line. Where a digit stands before it, it is left alone: who searches
// packed text relies on that.
func (p *packer) find(line []byte, t int64) (at, form int, ok bool) {
	head := line[:min(len(line), packTimeWithin)]
	p.clock.set(t)
	c := &p.clock
	find := func(text []byte) bool {
		if at = p.place; at+len(text) > len(head) || !bytes.Equal(head[at:at+len(text)], text) {
			if at = bytes.Index(head, text); at < 0 {
				return false
			}
			p.place = at
		}
		return at == 0 || !hexDigits[head[at-1]]
	}
	if find(c.text[:8]) {
		c.fraction()
		frac := line[at+8:]
		for digits := 9; digits > 0; digits -= 3 {
			if len(frac) > digits && (frac[0] == '.' || frac[0] == ',') && bytes.Equal(frac[1:1+digits], c.text[9:9+digits]) {
				form = digits/3*2 - 1
				if frac[0] == ',' {
					form++
				}
				break
			}
		}
		return at, form, true
	}
	var compact [6]byte
	c.put(compact[:], clockForms[clockCompact])
	return at, clockCompact, find(compact[:])
}

// hexDigits tells which bytes are lower-case hexadecimal digits. It is only read.
var hexDigits = func() (t [256]bool) {
	for _, c := range []byte("0123456789abcdef") {
		t[c] = true
	}
	return t
}()

// findRuns finds out where minPackedHex hexadecimal digits follow one another.
func (p *packer) findRuns(lines []byte) {
	words := (len(lines)+63)/64 + 1 // one more, which is zero
	p.runs = slices.Grow(p.runs[:0], words)[:words]
	p.runs[words-1] = 0
	bytesearch.HexDigits(lines, p.runs)
	for i := range words - 1 {
		a, b := p.runs[i], p.runs[i+1]
		for n := 1; n < minPackedHex; n *= 2 { // twice as many each time
			a &= a>>n | b<<(64-n)
			b &= b >> n // its last bits get lost; the first ones suffice
		}
		p.runs[i] = a
	}
}

// run returns the first place in lines[from:to] where minPackedHex digits begin that lie in there, or -1.
func (p *packer) run(from, to int) int {
	last := to - minPackedHex
	for w := from / 64; 64*w <= last; w++ {
		starts := p.runs[w]
		if w == from/64 {
			starts &= ^uint64(0) << (from % 64)
		}
		if starts != 0 {
			if at := 64*w + bits.TrailingZeros64(starts); at <= last {
				return at
			}
			break
		}
	}
	return -1
}

// hex appends lines[from:to], in which runs of hexadecimal digits are replaced.
func (p *packer) hex(lines []byte, from, to int, escape byte) {
	for {
		lo := p.run(from, to)
		if lo < 0 {
			break
		}
		hi := lo + minPackedHex
		for hi < to && hexDigits[lines[hi]] && hi-lo < maxPackedHex {
			hi++
		}
		n := (hi - lo) &^ 1
		p.text = append(p.text, lines[from:lo]...)
		p.text = append(p.text, escape, packHex+byte((n-minPackedHex)/2))
		p.ids = appendUnhex(p.ids, lines[lo:lo+n])
		from = lo + n
	}
	p.text = append(p.text, lines[from:to]...)
}

// appendUnhex appends what lower-case hexadecimal digits stand for; there is an even number of them.
func appendUnhex(dst, src []byte) []byte {
	for len(src) >= 8 {
		w := binary.LittleEndian.Uint64(src)
		v := w&(0x0f*ones) + 9*(w>>6&ones)
		v = (v<<4 | v>>8) & 0x00ff00ff00ff00ff
		v = (v | v>>8) & 0x0000ffff0000ffff
		dst = binary.LittleEndian.AppendUint32(dst, uint32(v|v>>16))
		src = src[8:]
	}
	dst, _ = hex.AppendDecode(dst, src)
	return dst
}

// unpacker takes the packed lines of a block apart, one after another.
type unpacker struct {
	marks
	text, ids []byte // what is left of them
	code      int    // place of the next escape in text, len(text) if there is none
	clock     clock
}

func newUnpacker(m marks, text, ids []byte) unpacker {
	u := unpacker{marks: m, text: text, ids: ids}
	u.find()
	return u
}

// find sets code.
func (u *unpacker) find() {
	if u.code = bytes.IndexByte(u.text, u.escape); u.code < 0 {
		u.code = len(u.text)
	}
}

// next appends the next line, that of a row with time t, to dst, which must not grow beyond limit bytes.
func (u *unpacker) next(dst []byte, t int64, limit int) ([]byte, error) {
	n := bytes.IndexByte(u.text, u.end)
	if n < 0 {
		return dst, errPacked
	}
	for u.code < n {
		if u.code+1 == n || u.code > limit-len(dst) {
			return dst, errPacked
		}
		dst = append(dst, u.text[:u.code]...)
		code := u.text[u.code+1]
		n -= u.code + 2
		u.text = u.text[u.code+2:]
		u.find()
		if size := hexSize(code); size > 0 {
			if size > len(u.ids) || 2*size > limit-len(dst) {
				return dst, errPacked
			}
			dst = appendHex(dst, u.ids[:size])
			u.ids = u.ids[size:]
			continue
		}
		if code < packTime || int(code-packTime) >= len(clockForms) {
			return dst, errPacked
		}
		f := clockForms[code-packTime]
		size := f.size()
		if size > limit-len(dst) {
			return dst, errPacked
		}
		u.clock.set(t)
		dst = append(dst, u.clock.text[:size]...) // makes room
		u.clock.put(dst[len(dst)-size:], f)
	}
	if n > limit-len(dst) {
		return dst, errPacked
	}
	dst = append(dst, u.text[:n]...)
	u.text = u.text[n+1:]
	u.code -= n + 1
	return dst, nil
}

// skip passes over lines whose packed text has n bytes.
func (u *unpacker) skip(n int) error {
	for u.code < n {
		if u.code+1 == n {
			return errPacked
		}
		size := hexSize(u.text[u.code+1])
		if size > len(u.ids) {
			return errPacked
		}
		u.ids = u.ids[size:]
		n -= u.code + 2
		u.text = u.text[u.code+2:]
		u.find()
	}
	u.text = u.text[n:]
	u.code -= n
	return nil
}

// appendHex is hex.AppendEncode, four bytes at a time.
func appendHex(dst, src []byte) []byte {
	at := len(dst)
	dst = slices.Grow(dst, 2*len(src))[:at+2*len(src)]
	out := dst[at:]
	for len(src) >= 4 {
		v := uint64(binary.LittleEndian.Uint32(src))
		v = (v | v<<16) & 0x0000ffff0000ffff
		v = (v | v<<8) & 0x00ff00ff00ff00ff
		v = (v>>4 | v<<8) & 0x0f0f0f0f0f0f0f0f // a digit in each byte
		letters := (v + 6*ones) >> 4 & ones
		binary.LittleEndian.PutUint64(out, v+'0'*ones+letters*('a'-'0'-10))
		src, out = src[4:], out[8:]
	}
	hex.Encode(out, src)
	return dst
}

// hexSize returns how many bytes of digits a code stands for, 0 if for none.
func hexSize(code byte) int {
	if code < packHex || code > packHex+(maxPackedHex-minPackedHex)/2 {
		return 0
	}
	return int(code-packHex) + minPackedHex/2
}
