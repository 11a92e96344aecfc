package syntax

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// ParseLabels reads the labels of a stream as clients push them: {app="api", env="prod"}. Names are
// ASCII letters, digits and _, values Go strings in any of the three quotes; a last comma may stay. A
// label with an empty value is left out, of labels with one name the last one counts. The result
// does not refer to text.
//
// The error begins with line and column: "1:6: parse error: unexpected character inside braces: '-'".
func ParseLabels(text string) (labels.Labels, error) {
	var buf [16]labels.Label
	list, err := AppendLabels(buf[:0], text)
	if err != nil {
		return labels.EmptyLabels(), err
	}
	b := labels.NewScratchBuilder(len(list))
	for _, l := range list {
		b.Add(l.Name, l.Value)
	}
	return b.Labels(), nil
}

// AppendLabels is ParseLabels for who makes something else of the labels: it appends them to dst, ascending by name.
// Names and values may be parts of text.
func AppendLabels(dst []labels.Label, text string) ([]labels.Label, error) {
	s := labelScanner{text: text}
	from := len(dst)
	dst, err := s.scan(dst)
	if err != nil {
		return nil, err
	}
	return dst[:from+len(CanonicalLabels(dst[from:]))], nil
}

// CanonicalLabels sorts a list of labels by name and drops those that a label set does not have: of equal names all but
// the last, and then empty values. It works in place.
func CanonicalLabels(list []labels.Label) []labels.Label {
	good := true
	for i := range list {
		good = good && list[i].Value != "" && (i == 0 || list[i-1].Name < list[i].Name)
	}
	if good {
		return list
	}
	slices.SortStableFunc(list, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	kept := list[:0]
	for i, l := range list {
		if i+1 < len(list) && list[i+1].Name == l.Name || l.Value == "" {
			continue
		}
		kept = append(kept, l)
	}
	return kept
}

// maxLabel is what labels.Labels can hold in a name or a value.
const maxLabel = 1<<24 - 1

// labelScanner reads the text of ParseLabels.
type labelScanner struct {
	text string
	pos  int
}

func (s *labelScanner) scan(list []labels.Label) ([]labels.Label, error) {
	s.blank()
	if !s.accept('{') {
		return nil, s.unexpected("labels", `"{"`)
	}
	for {
		s.blank()
		if s.accept('}') {
			break
		}
		name := s.word()
		if name == "" {
			return nil, s.unexpected("label set", `identifier or "}"`)
		}
		s.blank()
		if !s.accept('=') {
			return nil, s.unexpected("label set", `"="`)
		}
		s.blank()
		value, err := s.value()
		if err != nil {
			return nil, err
		}
		if len(name) > maxLabel || len(value) > maxLabel {
			return nil, s.errorf(s.pos, "label of more than %d bytes", maxLabel)
		}
		list = append(list, labels.Label{Name: name, Value: value})
		s.blank()
		if s.accept(',') {
			continue
		}
		if s.accept('}') {
			break
		}
		return nil, s.unexpected("label set", `"," or "}"`)
	}
	if s.blank(); s.pos < len(s.text) {
		return nil, s.unexpected("labels", "end of input")
	}
	return list, nil
}

func (s *labelScanner) blank() {
	for s.pos < len(s.text) {
		switch s.text[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

func (s *labelScanner) accept(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// word reads a name, "" if there is none.
func (s *labelScanner) word() string {
	start := s.pos
	if start < len(s.text) && isLetter(s.text[start]) {
		s.pos = wordEnd(s.text, start)
	}
	return s.text[start:s.pos]
}

func (s *labelScanner) value() (string, error) {
	if s.pos >= len(s.text) {
		return "", s.unexpected("label set", "string")
	}
	start, quote := s.pos, s.text[s.pos]
	if quote != '"' && quote != '\'' && quote != '`' {
		return "", s.unexpected("label set", "string")
	}
	body := s.text[start+1:]
	plain := strings.IndexByte(body, quote)
	if plain >= 0 && (quote == '`' || strings.IndexByte(body[:plain], '\\') < 0) {
		if quote != '`' && strings.IndexByte(body[:plain], '\n') >= 0 {
			return "", s.errorf(start, "unterminated quoted string")
		}
		s.pos = start + 1 + plain + 1
		return body[:plain], nil
	}
	if plain < 0 || quote == '`' {
		return "", s.errorf(start, "unterminated quoted string")
	}
	return s.escaped(start, body, quote)
}

// escaped reads a string with backslashes.
func (s *labelScanner) escaped(start int, rest string, quote byte) (string, error) {
	var b strings.Builder
	for rest != "" && rest[0] != quote {
		r, multibyte, tail, err := strconv.UnquoteChar(rest, quote)
		if rest[0] == '\n' {
			break
		}
		if err != nil {
			return "", s.errorf(len(s.text)-len(rest), "unknown escape sequence")
		}
		if multibyte {
			b.WriteRune(r)
		} else {
			b.WriteByte(byte(r))
		}
		rest = tail
	}
	if rest == "" || rest[0] != quote {
		return "", s.errorf(start, "unterminated quoted string")
	}
	s.pos = len(s.text) - len(rest) + 1
	return b.String(), nil
}

// unexpected is the error for what stands at s.pos.
func (s *labelScanner) unexpected(where, expected string) error {
	if s.pos >= len(s.text) {
		return s.errorf(s.pos, "unexpected end of input in %s, expected %s", where, expected)
	}
	if word := s.text[s.pos:wordEnd(s.text, s.pos)]; word != "" && isLetter(word[0]) {
		return s.errorf(s.pos, "unexpected identifier %q in %s, expected %s", word, where, expected)
	}
	r, n := utf8.DecodeRuneInString(s.text[s.pos:])
	switch r {
	case '=', '{', '}', ',':
		return s.errorf(s.pos, "unexpected %q in %s, expected %s", s.text[s.pos:s.pos+n], where, expected)
	case '"', '\'', '`':
		return s.errorf(s.pos, "unexpected string in %s, expected %s", where, expected)
	}
	return s.errorf(s.pos, "unexpected character inside braces: %q", r)
}

func (s *labelScanner) errorf(pos int, format string, args ...any) error {
	before := s.text[:pos]
	line := 1 + strings.Count(before, "\n")
	col := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return fmt.Errorf("%d:%d: parse error: %s", line, col, fmt.Sprintf(format, args...))
}
