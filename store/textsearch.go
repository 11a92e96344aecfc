package store

import (
	"bytes"
	"math"
	"slices"

	"example.com/loki/internal/bytesearch"
)

// textSearch finds lines in packed text without taking it apart.
//
// What a line has of a text stands in packed text as it is, unless a code stands for a part of it. A code
// stands for at least 16 hexadecimal digits or for a time of day, so for bytes of a few kinds, and it begins
// behind a byte that is no hexadecimal digit. So it is known of a text which parts of it a code may stand for:
// what is left is searched for.
type textSearch struct {
	marks
	finders []bytesearch.Finder
}

const (
	maxFinders  = 8
	minSearched = 3 // bytes of what is searched for
)

// newTextSearch returns a search for lines that may have one of the texts. It is not known how if the result
// is nil. No line can have one if there are no finders.
func newTextSearch(texts [][]byte, m marks) *textSearch {
	s := &textSearch{marks: m}
	for _, text := range texts {
		if bytes.IndexByte(text, m.escape) >= 0 || bytes.IndexByte(text, m.end) >= 0 {
			continue // which the lines of the page do not have
		}
		patterns := packedForms(text, m.escape)
		if patterns == nil || len(s.finders)+len(patterns) > maxFinders {
			return nil
		}
		for _, p := range patterns {
			s.finders = append(s.finders, bytesearch.New(p))
		}
	}
	return s
}

// coded tells of which bytes is what codes stand for.
func coded(b byte) bool { return hexDigits[b] || b == ':' || b == '.' || b == ',' }

// mayHold tells whether a code may stand for a part of these bytes, which have others before and behind them.
func mayHold(run []byte) bool {
	digits := 0
	for _, b := range run {
		if '0' <= b && b <= '9' {
			digits++
		}
	}
	return digits >= len("150405") || len(run) >= minPackedHex
}

// packedForms returns strings of which packed text has at least one where the line has the text, nil if they
// would be too short.
//
// The text is cut into runs of coded bytes and others. Behind a run at its start, which may be the end of what
// a code stands for, and behind runs that may hold one, begins a piece that is as it is up to the next such run
// or to the one at its end. Of that one it is known where a code may begin: if none does, it is as it is too.
func packedForms(text []byte, escape byte) [][]byte {
	var best, tail []byte // a piece, and the coded bytes behind it
	from := 0             // of the piece
	for i := 0; i < len(text); {
		end := i
		for end < len(text) && coded(text[end]) {
			end++
		}
		switch {
		case end == i:
			i++
			continue
		case i == 0:
			from = end
		case end == len(text) || mayHold(text[i:end]):
			if i-from > len(best) {
				best, tail = text[from:i], text[i:end]
			}
			from = end
		}
		i = end
	}
	if len(text)-from > len(best) {
		best, tail = text[from:], nil
	}
	last := len(tail) > 0 && &tail[len(tail)-1] == &text[len(text)-1]
	forms := [][]byte{slices.Concat(best, tail)}
	for i := range tail {
		if (i == 0 || !hexDigits[tail[i-1]]) && mayBegin(tail[i:], last) {
			forms = append(forms, slices.Concat(best, tail[:i], []byte{escape}))
		}
	}
	for _, f := range forms {
		if len(f) < minSearched {
			return nil
		}
	}
	return forms
}

// mayBegin tells whether what a code stands for may begin with these coded bytes. open tells that more may
// follow, else it must be whole in them.
func mayBegin(b []byte, open bool) bool {
	n := 0
	for n < len(b) && hexDigits[b[n]] {
		n++
	}
	if n >= minPackedHex || open && n == len(b) {
		return true
	}
	for _, form := range []string{"00:00:00", "000000"} {
		n := 0
		for n < min(len(b), len(form)) && (b[n] == form[n] || form[n] == '0' && '0' <= b[n] && b[n] <= '9') {
			n++
		}
		if n == len(form) || open && n == len(b) {
			return true
		}
	}
	return false
}

// rows calls f with the place and length of the packed text of each line of a block, and its number, that may
// have one of the texts. They end before the given number.
func (s *textSearch) rows(text []byte, end int, f func(row, at, n int) error) error {
	var places [maxFinders]int
	next := places[:len(s.finders)]
	for i := range next {
		next[i] = s.index(i, text, 0)
	}
	row, at := 0, 0 // at is where the line of that row begins
	for {
		hit := slices.Min(next)
		if hit == math.MaxInt {
			return nil
		}
		row += bytes.Count(text[at:hit], []byte{s.end})
		if row >= end {
			return errManyLines
		}
		at += bytes.LastIndexByte(text[at:hit], s.end) + 1
		n := bytes.IndexByte(text[hit:], s.end)
		if n < 0 {
			return errPacked
		}
		n += hit - at
		if err := f(row, at, n); err != nil {
			return err
		}
		row, at = row+1, at+n+1
		for i := range next {
			if next[i] < at {
				next[i] = s.index(i, text, at)
			}
		}
	}
}

// index returns the first place of a form at or behind a place, MaxInt if there is none.
func (s *textSearch) index(i int, text []byte, from int) int {
	if n := s.finders[i].Index(text[from:]); n >= 0 {
		return from + n
	}
	return math.MaxInt
}
