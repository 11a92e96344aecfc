package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/grafana/regexp"

	"example.com/loki/internal/bytesearch"
	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
)

// lineMatcher is a line filter. Where it can, it says by a search for some strings which lines may
// match at all, so that a whole column is searched at once.
type lineMatcher struct {
	negated bool
	tests   []lineTest

	// A line that matches contains one of needles; with exact, each line that contains one matches.
	// No needles: nothing is known.
	needles []needle
	finders []bytesearch.Finder // of needles
	exact   bool

	texts *column.Texts // the needles, if each line that the filter keeps has one of them as it is; else nil
}

// lineTest is one operand of a line filter.
type lineTest struct {
	match func(line []byte) bool

	any   []needle // as lineMatcher.needles
	exact bool
	all   []needle // a line that matches contains each of these
}

// needle is a string to search for. With fold it is ASCII in lower case, and case doesn't count.
type needle struct {
	text []byte
	fold bool
}

func newLineMatcher(f *syntax.LineFilter) (*lineMatcher, error) {
	m := &lineMatcher{exact: true}
	switch f.Op {
	case syntax.LineNotContains, syntax.LineNotMatches, syntax.LineNotPattern:
		m.negated = true
	}
	searchable := true
	// Next to plain strings an ip() of a chain doesn't count, as in Loki.
	plain := slices.ContainsFunc(f.Operands, func(o syntax.LineOperand) bool { return !o.IP })
	for _, o := range f.Operands {
		t, err := newLineTest(f.Op, o)
		if err != nil {
			return nil, err
		}
		if o.IP && plain {
			continue
		}
		m.tests = append(m.tests, t)
		m.needles = append(m.needles, t.any...)
		m.exact = m.exact && t.exact
		searchable = searchable && len(t.any) > 0
	}
	if !searchable {
		m.needles, m.exact = nil, false
	}
	for _, n := range m.needles {
		m.finders = append(m.finders, bytesearch.New(n.text))
	}
	if len(m.needles) > 0 && !m.negated && !slices.ContainsFunc(m.needles, func(n needle) bool { return n.fold }) {
		m.texts = &column.Texts{}
		for _, n := range m.needles {
			m.texts.Any = append(m.texts.Any, n.text)
		}
	}
	return m, nil
}

func newLineTest(op syntax.LineFilterOp, o syntax.LineOperand) (lineTest, error) {
	if o.IP {
		if op != syntax.LineContains && op != syntax.LineNotContains {
			return lineTest{}, fmt.Errorf("ip: invalid operation: ip() goes with |= and != only")
		}
		m, err := newIPMatcher(o.Text)
		if err != nil {
			return lineTest{}, err
		}
		return lineTest{match: func(line []byte) bool { return m.inText(text(line)) }}, nil
	}
	switch op {
	case syntax.LineContains, syntax.LineNotContains:
		return containsTest([]byte(o.Text)), nil
	case syntax.LineMatches, syntax.LineNotMatches:
		return newRegexpTest(o.Text)
	case syntax.LinePattern, syntax.LineNotPattern:
		return newPatternTest(o.Text)
	}
	return lineTest{}, fmt.Errorf("unknown operator of a line filter")
}

func containsTest(lit []byte) lineTest {
	if len(lit) == 0 {
		return lineTest{match: func([]byte) bool { return true }}
	}
	n := []needle{{text: lit}}
	return lineTest{match: func(line []byte) bool { return bytes.Contains(line, lit) }, any: n, all: n, exact: true}
}

func newRegexpTest(expr string) (lineTest, error) {
	re, err := regexp.Compile(expr)
	if err != nil {
		return lineTest{}, err
	}
	t := lineTest{match: re.Match}
	l, err := literalsOf(expr)
	if err != nil {
		return lineTest{}, err
	}
	t.any, t.all, t.exact = l.any, l.all, l.exact
	if t.exact && len(t.any) == 1 && !t.any[0].fold {
		return containsTest(t.any[0].text), nil
	}
	if first := worthLooking(t.all); !t.exact && len(first) > 1 {
		t.match = func(line []byte) bool {
			for _, n := range first {
				if !bytes.Contains(line, n) {
					return false
				}
			}
			return re.Match(line)
		}
	}
	return t, nil
}

// worthLooking returns the strings to look for before an expression is run: a search for a string
// costs a small part of that.
func worthLooking(all []needle) [][]byte {
	var out [][]byte
	for _, n := range all {
		if !n.fold && len(n.text) > 1 {
			out = append(out, n.text)
		}
	}
	return out
}

// matches tells whether the filter keeps a line.
func (m *lineMatcher) matches(line []byte) bool {
	for i := range m.tests {
		if m.tests[i].match(line) {
			return !m.negated
		}
	}
	return m.negated
}

// cost ranks filters: those that decide by a search, those that look closer at what a search has
// found, those that look at each line.
func (m *lineMatcher) cost() int {
	switch {
	case len(m.needles) == 0:
		return 3
	case !m.exact:
		return 2
	case m.negated:
		return 1
	}
	return 0
}

// selectRows appends those of spans' rows that the filter keeps to dst.
func (m *lineMatcher) selectRows(w *Worker, lines column.Lines, spans, dst []span) []span {
	if len(m.needles) == 0 {
		for n, s := range spans {
			for i := s.lo; i < s.hi; i++ {
				if m.matches(lines.Row(i)) {
					dst = appendSpan(dst, span{i, i + 1})
				}
			}
			if n%64 == 63 && w.ctx.Err() != nil {
				return dst[:0]
			}
		}
		return dst
	}
	for _, s := range spans {
		dst = m.searchRows(w, lines, s, dst)
	}
	return dst
}

// searchRows is selectRows for one range of rows and a filter with needles.
func (m *lineMatcher) searchRows(w *Worker, lines column.Lines, s span, dst []span) []span {
	search := &w.search
	search.start(lines, s, m.needles, m.finders)
	rest := s.lo // rows from here on are undecided
	for {
		row := search.next()
		if row < 0 {
			break
		}
		hit := m.exact
		if !hit {
			hit = m.matches(lines.Row(row)) != m.negated
		}
		switch {
		case !m.negated && hit:
			dst = appendSpan(dst, span{row, row + 1})
		case m.negated && hit:
			if rest < row {
				dst = appendSpan(dst, span{rest, row})
			}
			rest = row + 1
		}
	}
	if m.negated && rest < s.hi {
		dst = appendSpan(dst, span{rest, s.hi})
	}
	return dst
}

// search finds the rows of a range that contain one of some needles.
type search struct {
	offsets []uint32
	plain   []byte // from the start of the column to the end of the range
	folded  []byte // the same in lower case; only the range is filled
	needles []needle
	finders []bytesearch.Finder
	at      []int // place of the next hit of each needle, len(plain) for none
	row     int   // the first row not looked at
	buf     []byte
}

func (s *search) start(lines column.Lines, rows span, needles []needle, finders []bytesearch.Finder) {
	s.offsets, s.needles, s.finders, s.row = lines.Offsets, needles, finders, rows.lo
	lo, hi := int(lines.Offsets[rows.lo]), int(lines.Offsets[rows.hi])
	s.plain = lines.Data[:hi]
	for _, n := range needles {
		if n.fold {
			if cap(s.buf) < hi {
				s.buf = make([]byte, len(lines.Data))
			}
			s.folded = s.buf[:hi]
			lowerASCII(s.folded[lo:], s.plain[lo:])
			break
		}
	}
	s.at = s.at[:0]
	for i := range needles {
		s.at = append(s.at, s.index(i, lo))
	}
}

// index returns the place of the first hit of a needle at or behind pos.
func (s *search) index(i, pos int) int {
	data := s.plain
	if s.needles[i].fold {
		data = s.folded
	}
	if p := s.finders[i].Index(data[pos:]); p >= 0 {
		return pos + p
	}
	return len(data)
}

// next returns the next row with a hit, or -1.
func (s *search) next() int {
	for {
		best := -1
		for i := range s.at {
			if s.at[i] < len(s.plain) && (best < 0 || s.at[i] < s.at[best]) {
				best = i
			}
		}
		if best < 0 {
			return -1
		}
		row := rowAt(s.offsets, s.row, s.at[best])
		end := int(s.offsets[row+1])
		s.row = row
		if s.at[best]+len(s.needles[best].text) > end { // straddles rows
			s.at[best] = s.index(best, s.at[best]+1)
			continue
		}
		for i := range s.at {
			if s.at[i] < end {
				s.at[i] = s.index(i, end)
			}
		}
		return row
	}
}

// rowAt returns the row that the byte at pos belongs to; it is row from or a later one.
func rowAt(offsets []uint32, from, pos int) int {
	p := uint32(pos)
	step := 1
	lo := from
	for lo+step < len(offsets) && offsets[lo+step] <= p {
		lo += step
		step *= 2
	}
	// offsets[lo] <= pos, and the row is below lo+step.
	hi := min(lo+step, len(offsets)-1)
	for lo+1 < hi {
		mid := int(uint(lo+hi) / 2)
		if offsets[mid] <= p {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// lowerASCII copies src to dst with the letters A to Z in lower case, eight bytes at a time.
func lowerASCII(dst, src []byte) {
	const (
		ones = 0x0101010101010101
		high = 0x80 * ones
	)
	dst = dst[:len(src)]
	i := 0
	for ; i+8 <= len(src); i += 8 {
		v := binary.LittleEndian.Uint64(src[i:])
		low := v &^ high
		// The high bit of each byte of these says that the byte is at least 'A', or above 'Z'.
		from := low + (0x80-'A')*ones
		above := low + (0x80-'Z'-1)*ones
		upper := from &^ above &^ v & high
		binary.LittleEndian.PutUint64(dst[i:], v|upper>>2)
	}
	for ; i < len(src); i++ {
		c := src[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst[i] = c
	}
}

// lineFilterStage is a line filter behind a stage that has changed the line.
type lineFilterStage struct{ m *lineMatcher }

func (s lineFilterStage) prepare(n *needs)      { n.line = true }
func (s lineFilterStage) runner(*Worker) runner { return s }
func (s lineFilterStage) run(w *Worker) bool    { return s.m.matches(w.line) }
