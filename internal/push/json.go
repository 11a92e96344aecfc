package push

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads JSON from a buffer that it owns: strings with escapes are decoded in place, so that all
// strings are slices of the buffer. It accepts raw control characters and invalid UTF-8 in strings,
// because log lines have them.
type scanner struct {
	buf []byte
	pos int
}

// maxDepth is how deep JSON and OTLP values may nest.
const maxDepth = 64

// space skips blanks and returns the next byte, or 0 at the end.
func (s *scanner) space() byte {
	for s.pos < len(s.buf) {
		switch c := s.buf[s.pos]; c {
		case ' ', '\n', '\t', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// expected is the error for what stands at the current position.
func (s *scanner) expected(want string) error {
	return invalidf("expected %s, found %s at byte %d", want, s.found(), s.pos)
}

// found describes what stands at the current position.
func (s *scanner) found() string {
	if s.pos >= len(s.buf) {
		return "the end of the body"
	}
	rest := s.buf[s.pos:]
	switch c := rest[0]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "the string " + clip(rest)
	case c == '-' || c >= '0' && c <= '9':
		n := 1
		for n < len(rest) && numberByte(rest[n]) {
			n++
		}
		return "the number " + string(rest[:min(n, 30)])
	case bytes.HasPrefix(rest, []byte("null")):
		return "null"
	case bytes.HasPrefix(rest, []byte("true")):
		return "true"
	case bytes.HasPrefix(rest, []byte("false")):
		return "false"
	}
	r, _ := utf8.DecodeRune(rest)
	return strconv.QuoteRune(r)
}

// clip returns the start of a quoted string for an error.
func clip(b []byte) string {
	const most = 30
	if end := bytes.IndexByte(b[1:], '"'); end >= 0 && end+2 <= most {
		return string(b[:end+2])
	}
	n := min(len(b), most)
	for n > 0 && n < len(b) && !utf8.RuneStart(b[n]) {
		n--
	}
	return fmt.Sprintf("%s…", b[:n])
}

func numberByte(c byte) bool {
	return c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c|0x20 == 'e'
}

// word consumes a literal such as null.
func (s *scanner) word(w string) bool {
	if bytes.HasPrefix(s.buf[s.pos:], []byte(w)) {
		s.pos += len(w)
		return true
	}
	return false
}

// str reads a string, which must start here after blanks.
func (s *scanner) str(what string) ([]byte, error) {
	if s.space() != '"' {
		return nil, s.expected(what)
	}
	start := s.pos + 1
	rest := s.buf[start:]
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, s.unterminated(start - 1)
	}
	esc := bytes.IndexByte(rest[:end], '\\')
	if esc < 0 {
		s.pos = start + end + 1
		return rest[:end], nil
	}
	return s.unescape(start, start+esc)
}

func (s *scanner) unterminated(start int) error {
	s.pos = len(s.buf)
	return invalidf("the string that starts at byte %d has no end", start)
}

// unescape decodes the string that starts at start and has its first backslash at in, in place.
func (s *scanner) unescape(start, in int) ([]byte, error) {
	buf, out := s.buf, in
	for in < len(buf) {
		c := buf[in]
		if c == '"' {
			s.pos = in + 1
			return buf[start:out], nil
		}
		if c != '\\' {
			// Move a run without escapes at once.
			n := plainRun(buf[in:])
			if n < 0 {
				return nil, s.unterminated(start - 1)
			}
			copy(buf[out:], buf[in:in+n])
			in, out = in+n, out+n
			continue
		}
		if in+1 >= len(buf) {
			break
		}
		switch c := buf[in+1]; c {
		case '"', '\\', '/':
			buf[out] = c
		case 'n':
			buf[out] = '\n'
		case 't':
			buf[out] = '\t'
		case 'r':
			buf[out] = '\r'
		case 'b':
			buf[out] = '\b'
		case 'f':
			buf[out] = '\f'
		case 'u':
			r, n := unicodeEscape(buf[in:])
			if n == 0 {
				return nil, invalidf("expected four hexadecimal digits after \\u at byte %d", in)
			}
			// An escape is longer than the character, so the write stays behind the read.
			out += utf8.EncodeRune(buf[out:], r)
			in += n
			continue
		default:
			return nil, invalidf("the escape \\%c at byte %d is not known to JSON", c, in)
		}
		in, out = in+2, out+1
	}
	return nil, s.unterminated(start - 1)
}

// plainRun is the number of bytes before the next quote or backslash, negative if there is none.
func plainRun(b []byte) int {
	for i, c := range b {
		if c == '"' || c == '\\' {
			return i
		}
	}
	return -1
}

// unicodeEscape decodes \uXXXX, or two of them that are a pair, and returns the number of bytes read.
// Half a pair is U+FFFD.
func unicodeEscape(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if len(b) >= 8 && b[6] == '\\' && b[7] == 'u' {
		if low, ok := hex4(b[6:]); ok {
			if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return utf8.RuneError, 6
}

// hex4 reads the digits of \uXXXX.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return r, true
}

// enter consumes the bracket that opens an object or array, and reports whether it holds anything; if
// not, it is closed.
func (s *scanner) enter(open byte, what string) (more bool, err error) {
	if s.space() != open {
		return false, s.expected(what)
	}
	s.pos++
	if s.space() == open+2 { // the closing bracket, in ASCII
		s.pos++
		return false, nil
	}
	return true, nil
}

// next consumes what stands behind a value in an object or array, and reports whether another follows.
func (s *scanner) next(open byte) (more bool, err error) {
	switch s.space() {
	case ',':
		s.pos++
		return true, nil
	case open + 2:
		s.pos++
		return false, nil
	}
	return false, s.expected(fmt.Sprintf(`"," or "%c"`, open+2))
}

// key reads a key of an object and the colon after it.
func (s *scanner) key() ([]byte, error) {
	key, err := s.str("a name in quotes")
	if err != nil {
		return nil, err
	}
	if s.space() != ':' {
		return nil, s.expected(`":"`)
	}
	s.pos++
	return key, nil
}

// object reads an object and calls field for each key, when the scanner stands before its value; field
// must consume the value. The key is valid until then.
func (s *scanner) object(what string, field func(key []byte) error) error {
	more, err := s.enter('{', what)
	for more && err == nil {
		var key []byte
		if key, err = s.key(); err != nil {
			break
		}
		if err = field(key); err != nil {
			break
		}
		more, err = s.next('{')
	}
	return err
}

// array reads an array and calls element before each one; element must consume it.
func (s *scanner) array(what string, element func() error) error {
	more, err := s.enter('[', what)
	for more && err == nil {
		if err = element(); err != nil {
			break
		}
		more, err = s.next('[')
	}
	return err
}

// scalar reads a number, true, false or null as its text.
func (s *scanner) scalar(what string) ([]byte, error) {
	c := s.space()
	start := s.pos
	switch {
	case c == '-' || c >= '0' && c <= '9':
		for s.pos < len(s.buf) && numberByte(s.buf[s.pos]) {
			s.pos++
		}
		return s.buf[start:s.pos], nil
	case s.word("true"), s.word("false"), s.word("null"):
		return s.buf[start:s.pos], nil
	}
	return nil, s.expected(what)
}

// skip reads any value and returns its text. Strings in it stay as they are.
func (s *scanner) skip() ([]byte, error) {
	s.space()
	start := s.pos
	depth := 0
	var open [maxDepth]byte
	for {
		switch c := s.space(); c {
		case '{', '[':
			if depth == maxDepth {
				return nil, invalidf("values nest deeper than %d at byte %d", maxDepth, s.pos)
			}
			open[depth] = c + 2 // the closing bracket in ASCII
			depth++
			s.pos++
			if s.space() != open[depth-1] {
				if c == '{' {
					if err := s.skipKey(); err != nil {
						return nil, err
					}
				}
				continue
			}
		case '"':
			if err := s.skipString(); err != nil {
				return nil, err
			}
		default:
			if _, err := s.scalar("a value"); err != nil {
				return nil, err
			}
		}
		// A value is read: close what ends here, or go on after a comma.
		for {
			if depth == 0 {
				return s.buf[start:s.pos], nil
			}
			c := s.space()
			if c == open[depth-1] {
				s.pos++
				depth--
				continue
			}
			if c != ',' {
				return nil, s.expected(fmt.Sprintf(`"," or "%c"`, open[depth-1]))
			}
			s.pos++
			if open[depth-1] == '}' {
				if err := s.skipKey(); err != nil {
					return nil, err
				}
			}
			break
		}
	}
}

func (s *scanner) skipKey() error {
	if s.space() != '"' {
		return s.expected("a name in quotes")
	}
	if err := s.skipString(); err != nil {
		return err
	}
	if s.space() != ':' {
		return s.expected(`":"`)
	}
	s.pos++
	return nil
}

func (s *scanner) skipString() error {
	start := s.pos
	for i := s.pos + 1; ; {
		n := bytes.IndexByte(s.buf[i:], '"')
		if n < 0 {
			return s.unterminated(start)
		}
		i += n + 1
		// The quote counts unless an odd number of backslashes stands before it.
		odd := false
		for j := i - 2; j > start && s.buf[j] == '\\'; j-- {
			odd = !odd
		}
		if !odd {
			s.pos = i
			return nil
		}
	}
}
