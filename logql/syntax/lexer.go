package syntax

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// kind is what a token is. Keywords, functions and operators are told apart by their text.
type kind uint8

const (
	tokEnd      kind = iota
	tokIdent         // a name
	tokString        // text is its value
	tokNumber        // num
	tokDuration      // dur
	tokBytes         // size
	tokRange         // dur; "[5m]"
	tokFlag          // text is "strict" or "keep-empty"
	tokKeyword       // text is in lower case
	tokFunc          // text is in lower case; "(" or a grouping follows
	tokOp            // text is the operator or bracket
)

// token is a piece of the query from pos to end.
type token struct {
	kind     kind
	pos, end int
	text     string
	num      float64
	dur      time.Duration
	size     uint64
}

// describe names the token in an error.
func (t token) describe() string {
	switch t.kind {
	case tokEnd:
		return "$end"
	case tokIdent:
		return "IDENTIFIER"
	case tokString:
		return "STRING"
	case tokNumber:
		return "NUMBER"
	case tokDuration:
		return "DURATION"
	case tokBytes:
		return "BYTES"
	case tokRange:
		return "RANGE"
	case tokFlag:
		return "--" + t.text
	default:
		return t.text
	}
}

// lexer cuts a query into tokens. Errors are thrown as *ParseError, see parser.fail.
type lexer struct {
	query string
	pos   int
}

// next returns the token at l.pos and steps behind it.
func (l *lexer) next() token {
	l.skipBlank()
	t := token{pos: l.pos, end: l.pos}
	if l.pos >= len(l.query) {
		return t
	}
	switch c := l.query[l.pos]; {
	case isLetter(c):
		l.word(&t)
	case isDigit(c), c == '.' && l.pos+1 < len(l.query) && isDigit(l.query[l.pos+1]):
		l.number(&t)
	case c == '"', c == '`':
		l.str(&t)
	case c == '[':
		l.bracket(&t)
	case c == '-' && strings.HasPrefix(l.query[l.pos:], "--") && l.pos+2 < len(l.query) && isLetter(l.query[l.pos+2]):
		l.flag(&t)
	default:
		l.operator(&t)
	}
	t.end = l.pos
	return t
}

func (l *lexer) fail(pos int, hint, format string, args ...any) {
	panic(&ParseError{Pos: Pos(pos), Msg: fmt.Sprintf(format, args...), Hint: hint})
}

func (l *lexer) skipBlank() { l.pos = blankEnd(l.query, l.pos) }

// blankEnd returns the first place from pos on that is neither blank nor in a comment.
func blankEnd(s string, pos int) int {
	for pos < len(s) {
		switch s[pos] {
		case ' ', '\t', '\n', '\r':
			pos++
		case '#':
			if n := strings.IndexByte(s[pos:], '\n'); n >= 0 {
				pos += n + 1
			} else {
				pos = len(s)
			}
		default:
			return pos
		}
	}
	return pos
}

// wordEnd returns where the word that begins at pos ends.
func wordEnd(s string, pos int) int {
	for pos < len(s) && (isLetter(s[pos]) || isDigit(s[pos])) {
		pos++
	}
	return pos
}

// keywords are reserved: they cannot be names of labels.
var keywords = map[string]bool{
	"by": true, "without": true, "bool": true, "on": true, "ignoring": true, "group_left": true,
	"group_right": true, "offset": true, "unwrap": true, "json": true, "logfmt": true, "regexp": true,
	"pattern": true, "unpack": true, "line_format": true, "label_format": true, "decolorize": true,
	"drop": true, "keep": true, "and": true, "or": true, "unless": true,
}

// functions are names only where no "(" follows. Those of ops.go come on top.
var functions = map[string]bool{
	"vector": true, "label_replace": true, "variants": true,
	"ip": true, "bytes": true, "duration": true, "duration_seconds": true,
}

var (
	rangeOps  = opsByName(RangeRateCounter)
	vectorOps = opsByName(VectorApproxTopK)
)

// opsByName maps the names of operators that count from 0 to last.
func opsByName[T interface {
	~uint8
	String() string
}](last T) map[string]T {
	m := make(map[string]T, last+1)
	for o := T(0); o <= last; o++ {
		m[o.String()] = o
	}
	return m
}

// isFunction tells that a word in lower case is the name of a function.
func isFunction(word string) bool {
	_, isRange := rangeOps[word]
	_, isVector := vectorOps[word]
	return isRange || isVector || functions[word]
}

func (l *lexer) word(t *token) {
	l.pos = wordEnd(l.query, l.pos)
	t.kind, t.text = tokIdent, l.query[t.pos:l.pos]
	if len(t.text) > len("quantile_over_time") {
		return // longer than all reserved words
	}
	low := strings.ToLower(t.text)
	switch {
	case keywords[low]:
		t.kind, t.text = tokKeyword, low
	case isFunction(low) && l.called():
		t.kind, t.text = tokFunc, low
	}
}

// called tells that "(", "by (" or "without (" follows.
func (l *lexer) called() bool {
	at := blankEnd(l.query, l.pos)
	end := wordEnd(l.query, at)
	if w := l.query[at:end]; strings.EqualFold(w, "by") || strings.EqualFold(w, "without") {
		at = blankEnd(l.query, end)
	}
	return at < len(l.query) && l.query[at] == '('
}

// number reads 5, 1.5e3, 1h30m or 20MB.
func (l *lexer) number(t *token) {
	s, end := l.query, l.pos
	for end < len(s) && (isDigit(s[end]) || s[end] == '.') {
		end++
	}
	if end < len(s) && lower(s[end]) == 'e' {
		exp := end + 1
		if exp < len(s) && (s[exp] == '+' || s[exp] == '-') {
			exp++
		}
		if exp < len(s) && isDigit(s[exp]) {
			for end = exp; end < len(s) && isDigit(s[end]); {
				end++
			}
		}
	}
	rest := end
	for rest < len(s) {
		r, n := utf8.DecodeRuneInString(s[rest:])
		if r != 'µ' && r != 'μ' && r != '.' && (r >= utf8.RuneSelf || !isLetter(byte(r)) && !isDigit(byte(r))) {
			break
		}
		rest += n
	}
	text := s[l.pos:rest]
	l.pos = rest
	var err error
	if rest == end {
		t.kind = tokNumber
		if t.num, err = strconv.ParseFloat(text, 64); err != nil {
			l.fail(t.pos, "", "not a valid number: %q", text)
		}
		return
	}
	if t.dur, err = ParseDuration(text); err == nil {
		t.kind = tokDuration
		return
	}
	if t.size, err = ParseBytes(text); err == nil {
		t.kind = tokBytes
		return
	}
	// A number with something behind it: let the grammar complain, so that it can say what it
	// expects there.
	l.pos = end
	if t.num, err = strconv.ParseFloat(s[t.pos:end], 64); err != nil {
		l.fail(t.pos, "", "not a valid number: %q", s[t.pos:end])
	}
	t.kind = tokNumber
}

func (l *lexer) str(t *token) {
	s, quote := l.query, l.query[l.pos]
	end := l.pos + 1
	for end < len(s) && s[end] != quote {
		if quote == '"' {
			if s[end] == '\n' {
				break
			}
			if s[end] == '\\' {
				end++
			}
		}
		end++
	}
	if end >= len(s) || s[end] != quote {
		l.fail(t.pos, fmt.Sprintf("close the string with %c", quote), "literal not terminated")
	}
	l.pos = end + 1
	text, err := strconv.Unquote(s[t.pos:l.pos])
	if err != nil {
		l.fail(t.pos, "write a backslash as \\\\ or put the string in backquotes", "invalid char escape in %s", s[t.pos:l.pos])
	}
	t.kind, t.text = tokString, text
}

func (l *lexer) bracket(t *token) {
	n := strings.IndexByte(l.query[l.pos:], ']')
	if n < 0 {
		l.fail(t.pos, `close the range with "]"`, "missing closing ']' in duration")
	}
	text := l.query[l.pos+1 : l.pos+n]
	d, err := parseRange(text)
	if err != nil {
		hint := "a range is a number with a unit such as [5m] or [1h30m]"
		switch {
		case strings.Contains(text, ":"):
			hint = "LogQL has no subqueries"
		case strings.Contains(text, "$"):
			hint = "variables must be replaced before the query is sent"
		}
		l.fail(t.pos, hint, "%v", err)
	}
	l.pos += n + 1
	t.kind, t.dur = tokRange, d
}

func (l *lexer) flag(t *token) {
	l.pos += 2
	end := l.pos
	for end < len(l.query) && (isLetter(l.query[end]) || l.query[end] == '-') {
		end++
	}
	t.text = l.query[l.pos:end]
	l.pos = end
	if t.text != "strict" && t.text != "keep-empty" {
		panic(&ParseError{Pos: Pos(t.pos), Msg: fmt.Sprintf("syntax error: unexpected flag --%s", t.text),
			Expected: []string{"--strict", "--keep-empty"}})
	}
	t.kind = tokFlag
}

func (l *lexer) operator(t *token) {
	s := l.query[l.pos:]
	n := 0
	switch s[0] {
	case '|':
		n = operatorLen(s, "=~>")
	case '!':
		if n = operatorLen(s, "=~>"); n == 1 {
			n = 0
		}
	case '=':
		n = operatorLen(s, "=~")
	case '<', '>':
		n = operatorLen(s, "=")
	case '{', '}', '(', ')', ',', '+', '-', '*', '/', '%', '^', '.':
		n = 1
	case '\'':
		l.fail(t.pos, "put strings in double quotes or backquotes", "invalid char literal")
	}
	if n == 0 {
		r, _ := utf8.DecodeRuneInString(s)
		hint := ""
		switch {
		case r == '@':
			hint = "LogQL has no @ modifier"
		case r == '$':
			hint = "variables must be replaced before the query is sent"
		case r == '“', r == '”', r == '„':
			hint = `use straight quotes: "`
		case unicode.IsLetter(r):
			hint = "names consist of ASCII letters, digits and _"
		case unicode.IsSpace(r):
			hint = "use plain blanks"
		}
		l.fail(t.pos, hint, "syntax error: unexpected character %q", r)
	}
	t.kind, t.text = tokOp, s[:n]
	l.pos += n
}

// operatorLen is 2 if the second byte of s is in second, else 1.
func operatorLen(s, second string) int {
	if len(s) > 1 && strings.IndexByte(second, s[1]) >= 0 {
		return 2
	}
	return 1
}
