package drain

import (
	"strings"
	"unicode/utf8"
)

// kind is what a token is made of.
type kind uint8

const (
	blank  kind = iota // a run of blanks
	punct              // one byte of punctuation
	word               // anything else
	number             // a word with digits: it probably differs from line to line
	gap                // stands for any text
)

// token is a piece of a line. The tokens of a line put together are the line.
type token struct {
	text string // of the line or template that it belongs to
	kind kind
}

func (t token) isWord() bool { return t.kind == word || t.kind == number }

// says tells whether there is a letter or digit in the token.
func (t token) says() bool {
	for i := range len(t.text) {
		if class[t.text[i]]&hasText != 0 {
			return true
		}
	}
	return false
}

// maxTokens bounds a template; what follows is one token.
const maxTokens = 512

// tokenize appends the tokens of a line and returns how many of them have letters or digits. From the first line
// break, or from the byte max on, all is one token.
func tokenize(dst []token, line string, max int) (tokens []token, words int) {
	rest := len(line)
	if len(line) > max {
		rest = max
		for rest > 0 && !utf8.RuneStart(line[rest]) {
			rest--
		}
	}
	if i := strings.IndexByte(line[:rest], '\n'); i >= 0 {
		rest = i
		if rest > 0 && line[rest-1] == '\r' {
			rest--
		}
	}
	b := line[:rest]
	for i := 0; i < len(b); {
		if len(dst) >= maxTokens {
			rest = i
			break
		}
		start := i
		switch class[b[i]] {
		case isBlank:
			for i < len(b) && class[b[i]] == isBlank {
				i++
			}
			dst = append(dst, token{b[start:i], blank})
		case isPunct:
			if n := captureLen(b[i:]); n > 0 {
				// In a pattern it would stand for something else.
				i += n
				dst = append(dst, token{b[start:i], gap})
				continue
			}
			i++
			dst = append(dst, token{b[start:i], punct})
		default:
			if b[i] == ':' && i > 0 && b[i-1] == '"' { // of JSON
				i++
				dst = append(dst, token{b[start:i], punct})
				continue
			}
			k, all := word, byteClass(0)
			for ; i < len(b) && class[b[i]] >= isOther; i++ {
				all |= class[b[i]]
			}
			if all&isDigit != 0 || all&isHigh != 0 && !utf8.ValidString(b[start:i]) {
				k = number
			}
			end := i
			for end > start+1 && isFinal(b[end-1]) {
				end-- // what ends a clause is no part of its last word
			}
			if all&hasText != 0 {
				words++
			}
			dst = append(dst, token{b[start:end], k})
			for ; end < i; end++ {
				dst = append(dst, token{b[end : end+1], punct})
			}
		}
	}
	if rest < len(line) {
		dst = append(dst, token{line[rest:], gap})
	}
	return dst, words
}

// captureLen returns the length of <name> at the start of s, or 0.
func captureLen(s string) int {
	if s[0] != '<' {
		return 0
	}
	i := 1
	for i < len(s) && (s[i] == '_' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z' || i > 1 && s[i] >= '0' && s[i] <= '9') {
		i++
	}
	if i == 1 || i == len(s) || s[i] != '>' {
		return 0
	}
	return i + 1
}

func isFinal(c byte) bool { return c == ':' || c == '.' || c == '!' || c == '?' }

// byteClass says where in a token a byte may stand.
type byteClass uint8

const (
	isBlank  byteClass = 0
	isPunct  byteClass = 1
	isOther  byteClass = 2 // from here on: of words
	isDigit  byteClass = 4
	isLetter byteClass = 8
	isHigh   byteClass = 16 // beyond ASCII

	hasText = isDigit | isLetter | isHigh
)

var class = func() (c [256]byteClass) {
	for b := range c {
		switch {
		case b <= ' ':
			c[b] = isBlank
		case b >= utf8.RuneSelf:
			c[b] = isHigh
		case b >= '0' && b <= '9':
			c[b] = isDigit
		case strings.IndexByte("\"'`()[]{}<>,;=|", byte(b)) >= 0:
			c[b] = isPunct
		case b|0x20 >= 'a' && b|0x20 <= 'z':
			c[b] = isLetter
		default:
			c[b] = isOther
		}
	}
	return c
}()
