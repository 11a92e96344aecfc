package store

import (
	"bytes"
	"encoding/hex"
	"errors"
)

// Lines are packed before they are compressed. Most have the time of their row in their text, and
// many an identifier in hexadecimal: to a compressor both are random digits, which cost it more than
// all else in the line. Packed, the time costs nothing and the identifier half of its length. What
// stands in the text instead begins with a byte that the page does not have, the escape.

const (
	minPackedHex = 16  // digits of a run that is worth it
	maxPackedHex = 254 // digits of a run that one code stands for

	packTime       = 128 // codes from here on stand for the time of the row, lower ones for digits
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

// clock is a time of day, written in full. The zero value is not valid before set.
type clock struct {
	text   [maxClock]byte
	second int64 // since 1970, that text shows; the rows of a stream often share theirs
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
	three := func(at int, v uint32) {
		c.text[at], c.text[at+1], c.text[at+2] = byte('0'+v/100), byte('0'+v/10%10), byte('0'+v%10)
	}
	n := uint32(nanos)
	three(9, n/1e6)
	three(12, n/1e3%1e3)
	three(15, n%1e3)
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
		copy(dst, c.text[:9+f.digits])
		dst[8] = f.point
	default:
		copy(dst, c.text[:8])
	}
}

// packer packs the lines of pages. It is not safe for concurrent use.
type packer struct {
	text  []byte
	ids   []byte
	place int // of the time in the line before
	clock clock
}

// freeEscape returns a byte that the lines do not have, or 0.
func freeEscape(lines []byte) byte {
	for c := byte(1); c < ' '; c++ {
		if bytes.IndexByte(lines, c) < 0 {
			return c
		}
	}
	return 0
}

// reset forgets text and ids.
func (p *packer) reset() { p.text, p.ids = p.text[:0], p.ids[:0] }

// pack appends to text and ids what becomes of lines.
func (p *packer) pack(lines []byte, lens []uint32, times []int64, escape byte) {
	rest := lines
	for i, n := range lens {
		line := rest[:n]
		rest = rest[n:]
		if at, form, ok := p.find(line, times[i]); ok {
			p.hex(line[:at], escape)
			p.text = append(p.text, escape, packTime+byte(form))
			line = line[at+clockForms[form].size():]
		}
		p.hex(line, escape)
	}
}

// find looks for the row's time in its line.
func (p *packer) find(line []byte, t int64) (at, form int, ok bool) {
	head := line[:min(len(line), packTimeWithin)]
	p.clock.set(t)
	c := &p.clock
	find := func(text []byte) bool {
		if at = p.place; at+len(text) <= len(head) && bytes.Equal(head[at:at+len(text)], text) {
			return true
		}
		if at = bytes.Index(head, text); at >= 0 {
			p.place = at
		}
		return at >= 0
	}
	if find(c.text[:8]) {
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

// hex appends text in which runs of hexadecimal digits are replaced.
func (p *packer) hex(text []byte, escape byte) {
	from := 0
	// A run of so many digits has one at every so many bytes.
	for i := minPackedHex - 1; i < len(text); {
		if !hexDigits[text[i]] {
			i += minPackedHex
			continue
		}
		lo, hi := i, i+1
		for lo > from && hexDigits[text[lo-1]] {
			lo--
		}
		for hi < len(text) && hexDigits[text[hi]] && hi-lo < maxPackedHex {
			hi++
		}
		n := (hi - lo) &^ 1
		if n < minPackedHex {
			i = hi + minPackedHex
			continue
		}
		p.text = append(p.text, text[from:lo]...)
		p.text = append(p.text, escape, byte(n/2))
		p.ids, _ = hex.AppendDecode(p.ids, text[lo:lo+n])
		from = lo + n
		i = from + minPackedHex - 1
	}
	p.text = append(p.text, text[from:]...)
}

// unpack makes the lines of a block, of which dst has the size. Offsets are those of the lines in their
// page, and where they end.
func unpack(dst, text, ids []byte, escape byte, offsets []uint32, times []int64) error {
	at, row := 0, 0
	base := int(offsets[0])
	var c clock
	for {
		n := bytes.IndexByte(text, escape)
		last := n < 0
		if last {
			n = len(text)
		}
		if n > len(dst)-at || !last && n+1 == len(text) {
			return errPacked
		}
		at += copy(dst[at:], text[:n])
		if last {
			break
		}
		code := int(text[n+1])
		text = text[n+2:]
		if code < packTime {
			if code == 0 || code > len(ids) || 2*code > len(dst)-at {
				return errPacked
			}
			at += hex.Encode(dst[at:], ids[:code])
			ids = ids[code:]
			continue
		}
		for row < len(times) && int(offsets[row+1])-base <= at {
			row++
		}
		if row == len(times) || code-packTime >= len(clockForms) {
			return errPacked
		}
		f := clockForms[code-packTime]
		if f.size() > len(dst)-at {
			return errPacked
		}
		c.set(times[row])
		c.put(dst[at:], f)
		at += f.size()
	}
	if at != len(dst) || len(ids) > 0 {
		return errPacked
	}
	return nil
}
