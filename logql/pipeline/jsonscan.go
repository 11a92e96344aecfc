package pipeline

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonScanner reads a line of JSON for a worker.
type jsonScanner struct {
	w *Worker
	b []byte
}

// skipBlanks returns the place of the first byte at or behind i that is not blank.
func skipBlanks(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\t' || b[i] == '\r') {
		i++
	}
	return i
}

// tokenEnd returns the place behind a number or a word that begins at i.
func tokenEnd(b []byte, i int) int {
	for ; i < len(b); i++ {
		switch b[i] {
		case ' ', '\n', '\r', '\t', ',', '}', ']':
			return i
		}
	}
	return i
}

// plainNumber returns the place behind a number that begins at i, if it is made of digits and points and something
// follows; ok is false where a closer look is needed.
func plainNumber(b []byte, i int) (end int, ok bool) {
	if !isDigit(b[i]) {
		return i, false
	}
	for i < len(b) && (isDigit(b[i]) || b[i] == '.') {
		i++
	}
	return i, i < len(b) && (b[i] == ',' || b[i] == '}')
}

// isNumber tells whether v can be taken for a number.
func isNumber(v []byte) bool {
	if len(v) == 0 || !isDigit(v[0]) && v[0] != '-' {
		return false
	}
	for _, c := range v {
		if !isDigit(c) && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}

// skipBlock returns the place behind the array or object that begins at i, or -1 if it has no end or
// its brackets don't fit.
func skipBlock(b []byte, i int) int {
	braces, brackets := 0, 0
	for ; i < len(b); i++ {
		switch b[i] {
		case '"':
			end, _ := stringEnd(b, i+1)
			if end < 0 {
				return -1
			}
			i = end
			continue
		case '{':
			braces++
			continue
		case '[':
			brackets++
			continue
		case '}':
			braces--
		case ']':
			brackets--
		default:
			continue
		}
		if braces < 0 || brackets < 0 {
			return -1
		}
		if braces == 0 && brackets == 0 {
			return i + 1
		}
	}
	return -1
}

// unescape returns the text that a JSON string stands for, in the worker's scratch. If there is an
// escape that JSON doesn't have it returns false and the string as it is.
func (s *jsonScanner) unescape(v []byte) ([]byte, bool) {
	next := bytes.IndexByte(v, '\\')
	if next < 0 {
		return v, true
	}
	w := s.w
	start := len(w.arena)
	out := w.arena
	for i := 0; ; {
		out = append(out, v[i:i+next]...)
		i += next
		if i == len(v) {
			break
		}
		n := 2
		if i+1 == len(v) {
			return v, false
		}
		switch c := v[i+1]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(v[i+2:])
			if !ok {
				return v, false
			}
			n = 6
			if utf16.IsSurrogate(r) {
				low, ok := rune(utf8.RuneError), false
				if i+7 < len(v) && v[i+6] == '\\' && v[i+7] == 'u' {
					low, ok = hex4(v[i+8:])
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					n = 12
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return v, false
		}
		i += n
		if next = bytes.IndexByte(v[i:], '\\'); next < 0 {
			next = len(v) - i
		}
	}
	w.arena = out
	return out[start:len(out):len(out)], true
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var r rune
	for _, c := range b[:4] {
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
