package pipeline

import (
	"bytes"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/grafana/regexp/syntax"
)

// sequence is a regular expression that takes lines apart from left to right: literals and repeated
// character classes, where what follows a class can't begin with a character of it. So there is never a
// choice to come back to, and matching is a loop that allocates nothing. Most expressions of "| regexp" are
// such: they name what stands between spaces, quotes and brackets.
type sequence struct {
	items    []sequenceItem
	anchored bool // the match begins where the line does
	ends     bool // and ends where it does
	caps     int  // submatches, the whole match included
}

// sequenceItem is a literal, a repeated class, or the edge of a submatch.
type sequenceItem struct {
	kind     itemKind
	literal  []byte
	class    *[256]bool // of bytes: those from 0x80 on are all in it or none
	min, max int        // repetitions; max -1: any number
	mark     int        // index into the submatches
}

type itemKind uint8

const (
	itemLiteral itemKind = iota
	itemClass
	itemMark
)

// newSequence returns nil if the expression is no sequence.
func newSequence(expr string) *sequence {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil
	}
	s := &sequence{caps: re.MaxCap() + 1}
	if !s.add(re) || !s.decided() {
		return nil
	}
	return s
}

// add appends what re stands for.
func (s *sequence) add(re *syntax.Regexp) bool {
	if s.ends && re.Op != syntax.OpEmptyMatch || re.Flags&syntax.NonGreedy != 0 {
		return false
	}
	switch re.Op {
	case syntax.OpEmptyMatch:
		return true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 || slices.Contains(re.Rune, utf8.RuneError) {
			return false
		}
		s.items = append(s.items, sequenceItem{kind: itemLiteral, literal: []byte(string(re.Rune))})
		return true
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return s.addClass(re, 1, 1)
	case syntax.OpStar:
		return s.addClass(re.Sub[0], 0, -1)
	case syntax.OpPlus:
		return s.addClass(re.Sub[0], 1, -1)
	case syntax.OpQuest:
		return s.addClass(re.Sub[0], 0, 1)
	case syntax.OpRepeat:
		return s.addClass(re.Sub[0], re.Min, re.Max)
	case syntax.OpCapture:
		s.items = append(s.items, sequenceItem{kind: itemMark, mark: 2 * re.Cap})
		if !s.add(re.Sub[0]) || s.ends {
			return false
		}
		s.items = append(s.items, sequenceItem{kind: itemMark, mark: 2*re.Cap + 1})
		return true
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if !s.add(sub) {
				return false
			}
		}
		return true
	case syntax.OpBeginText:
		if len(s.items) > 0 {
			return false
		}
		s.anchored = true
		return true
	case syntax.OpEndText:
		s.ends = true
		return true
	}
	return false
}

// addClass appends a repetition of a class of characters. It is matched by bytes, so if characters of
// several bytes are in it they can't be counted.
func (s *sequence) addClass(re *syntax.Regexp, least, most int) bool {
	var class [256]bool
	switch re.Op {
	case syntax.OpLiteral:
		if len(re.Rune) != 1 || re.Flags&syntax.FoldCase != 0 || re.Rune[0] >= utf8.RuneSelf {
			return false
		}
		class[re.Rune[0]] = true
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		for i := range class {
			class[i] = i != '\n' || re.Op == syntax.OpAnyChar
		}
	case syntax.OpCharClass:
		beyond := false // the class has all characters beyond ASCII
		for i := 0; i+1 < len(re.Rune); i += 2 {
			lo, hi := re.Rune[i], re.Rune[i+1]
			for c := lo; c <= min(hi, utf8.RuneSelf-1); c++ {
				class[c] = true
			}
			if hi >= utf8.RuneSelf {
				if lo > utf8.RuneSelf || hi != unicode.MaxRune {
					return false
				}
				beyond = true
			}
		}
		for i := utf8.RuneSelf; i < len(class); i++ {
			class[i] = beyond
		}
	default:
		return false
	}
	if class[0xff] && (most != -1 || least > 1) {
		return false
	}
	s.items = append(s.items, sequenceItem{kind: itemClass, class: &class, min: least, max: most})
	return true
}

// decided tells that there is never a choice: neither how often a class repeats nor, within a line, where
// a match that fails could begin instead.
func (s *sequence) decided() bool {
	var follows [256]bool // with what the items behind i can begin
	begins := false       // the first of them needs a byte
	for i := len(s.items) - 1; i >= 0; i-- {
		it := &s.items[i]
		switch it.kind {
		case itemLiteral:
			follows = [256]bool{}
			follows[it.literal[0]] = true
			begins = true
		case itemClass:
			for c := range follows {
				if follows[c] && it.class[c] {
					return false
				}
			}
			if it.min > 0 {
				follows = *it.class
				begins = true
				break
			}
			for c := range follows {
				follows[c] = follows[c] || it.class[c]
			}
			begins = false
		}
	}
	return s.anchored || begins
}

// match finds the first match in a line and fills caps with its submatches, as FindSubmatchIndex does.
func (s *sequence) match(line []byte, caps []int) bool {
	first := 0
	for first < len(s.items) && s.items[first].kind == itemMark {
		first++
	}
	for at := 0; at <= len(line); {
		if !s.anchored && s.items[first].kind == itemLiteral {
			n := bytes.Index(line[at:], s.items[first].literal)
			if n < 0 {
				return false
			}
			at += n
		}
		if s.matchAt(line, at, caps) {
			return true
		}
		if s.anchored || at == len(line) {
			return false
		}
		// A run of the first class ends where it ended before, whatever character of it is the first.
		if it := &s.items[first]; it.kind == itemClass && it.max < 0 {
			for at < len(line) && it.class[line[at]] {
				at++
			}
			for at < len(line) && !it.class[line[at]] {
				at++
			}
			continue
		}
		at++
	}
	return false
}

func (s *sequence) matchAt(line []byte, at int, caps []int) bool {
	caps[0] = at
	for i := range s.items {
		it := &s.items[i]
		switch it.kind {
		case itemMark:
			caps[it.mark] = at
		case itemLiteral:
			if !bytes.HasPrefix(line[at:], it.literal) {
				return false
			}
			at += len(it.literal)
		case itemClass:
			end := len(line)
			if it.max >= 0 {
				end = min(end, at+it.max)
			}
			from := at
			for at < end && it.class[line[at]] {
				at++
			}
			if at-from < it.min {
				return false
			}
		}
	}
	caps[1] = at
	return !s.ends || at == len(line)
}
