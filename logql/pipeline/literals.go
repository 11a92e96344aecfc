package pipeline

import (
	"unicode"
	"unicode/utf8"

	"github.com/grafana/regexp/syntax"
)

// literals is what every match of a regular expression contains.
type literals struct {
	any   []needle // one of these; nil: nothing is known
	exact bool     // whatever contains one of them matches
	all   []needle // each of these
}

// maxAlternatives bounds the number of strings that an expression is spelled out to.
const maxAlternatives = 32

// literalsOf finds the literals of an unanchored expression.
func literalsOf(expr string) (literals, error) {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return literals{}, err
	}
	re = re.Simplify()
	inner := trimDots(re)
	if set, ok := spell(inner); ok {
		if l, ok := exactLiterals(set); ok {
			return l, nil
		}
	}
	var l literals
	collect(re, &l)
	return l, nil
}

// spelling is a string that an expression can stand for. In some part of it case doesn't count (fold),
// in some it does (exact).
type spelling struct {
	text        string
	fold, exact bool
}

func newSpelling(s string, fold bool) spelling {
	cased := hasCase(s)
	return spelling{s, fold && cased, !fold && cased}
}

// exactLiterals makes needles of all strings that an expression can stand for.
func exactLiterals(set []spelling) (literals, bool) {
	l := literals{exact: true}
	for _, s := range set {
		if s.text == "" || !utf8.ValidString(s.text) {
			return literals{}, false
		}
		if s.fold {
			if s.exact || len(foldable(s.text)) != len(s.text) {
				return literals{}, false
			}
			l.any = append(l.any, needle{[]byte(foldable(s.text)), true})
		} else {
			l.any = append(l.any, needle{[]byte(s.text), false})
		}
	}
	if len(l.any) == 0 {
		return literals{}, false
	}
	if len(l.any) == 1 {
		l.all = l.any
	}
	return l, true
}

// trimDots takes ".*" away at both ends, which any text has.
func trimDots(re *syntax.Regexp) *syntax.Regexp {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op != syntax.OpConcat {
		return re
	}
	subs := re.Sub
	for len(subs) > 0 && isAnyText(subs[0]) {
		subs = subs[1:]
	}
	for len(subs) > 0 && isAnyText(subs[len(subs)-1]) {
		subs = subs[:len(subs)-1]
	}
	switch len(subs) {
	case len(re.Sub):
		return re
	case 1:
		return subs[0]
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Sub: subs}
}

func isAnyText(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL)
}

// spell returns all strings that re can stand for, if they are few.
func spell(re *syntax.Regexp) ([]spelling, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []spelling{{}}, true
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if r == utf8.RuneError {
				return nil, false // would match any byte that is not UTF-8
			}
		}
		s := string(re.Rune)
		return []spelling{newSpelling(s, re.Flags&syntax.FoldCase != 0)}, true
	case syntax.OpCapture:
		return spell(re.Sub[0])
	case syntax.OpCharClass:
		var out []spelling
		for i := 0; i < len(re.Rune); i += 2 {
			for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
				if len(out) == 8 || r == utf8.RuneError {
					return nil, false
				}
				out = append(out, newSpelling(string(r), false))
			}
		}
		return out, len(out) > 0
	case syntax.OpQuest:
		set, ok := spell(re.Sub[0])
		if !ok || len(set) >= maxAlternatives {
			return nil, false
		}
		return append(set[:len(set):len(set)], spelling{}), true
	case syntax.OpAlternate:
		var out []spelling
		for _, sub := range re.Sub {
			set, ok := spell(sub)
			if !ok || len(out)+len(set) > maxAlternatives {
				return nil, false
			}
			out = append(out, set...)
		}
		return out, true
	case syntax.OpConcat:
		out := []spelling{{}}
		for _, sub := range re.Sub {
			set, ok := spell(sub)
			if !ok {
				return nil, false
			}
			if out = join(out, set); out == nil {
				return nil, false
			}
		}
		return out, true
	}
	return nil, false
}

// join returns each of a followed by each of b, or nil if these are too many.
func join(a, b []spelling) []spelling {
	if len(a)*len(b) > maxAlternatives {
		return nil
	}
	out := make([]spelling, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			out = append(out, spelling{x.text + y.text, x.fold || y.fold, x.exact || y.exact})
		}
	}
	return out
}

// collect finds strings of which each match of re contains one (l.any: the best set), and strings
// that each match contains (l.all).
func collect(re *syntax.Regexp, l *literals) {
	switch re.Op {
	case syntax.OpCapture, syntax.OpPlus:
		collect(re.Sub[0], l)
	case syntax.OpRepeat:
		if re.Min > 0 {
			collect(re.Sub[0], l)
		}
	case syntax.OpConcat:
		run := []spelling{{}}
		flush := func() {
			l.offer(run)
			run = []spelling{{}}
		}
		for _, sub := range re.Sub {
			if isZeroWidth(sub) {
				continue
			}
			set, ok := spell(sub)
			if !ok {
				flush()
				collect(sub, l)
				continue
			}
			if joined := join(run, set); joined != nil {
				run = joined
				continue
			}
			flush()
			run = set
		}
		flush()
	case syntax.OpAlternate:
		var union []needle
		for _, sub := range re.Sub {
			var part literals
			collect(sub, &part)
			if part.any == nil {
				return
			}
			union = append(union, part.any...)
		}
		if len(union) <= maxAlternatives {
			l.better(union)
		}
	default:
		if set, ok := spell(re); ok {
			l.offer(set)
		}
	}
}

func isZeroWidth(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpEmptyMatch:
		return true
	}
	return false
}

// offer considers a set of strings of which each match contains one.
func (l *literals) offer(set []spelling) {
	var out []needle
	for _, s := range set {
		n := needle{[]byte(s.text), false}
		if s.fold {
			n = needle{[]byte(foldable(s.text)), true}
		}
		if len(n.text) == 0 {
			return
		}
		out = append(out, n)
	}
	if len(out) == 1 {
		l.all = append(l.all, out[0])
	}
	l.better(out)
}

// better replaces the set by a better one: longer strings are rarer, and fewer are faster.
func (l *literals) better(set []needle) {
	if score(set) > score(l.any) {
		l.any = set
	}
}

func score(set []needle) int {
	if len(set) == 0 {
		return -1 << 20
	}
	shortest := len(set[0].text)
	for _, n := range set {
		shortest = min(shortest, len(n.text))
	}
	return 4*min(shortest, 16) - len(set)
}

// foldable returns the longest part of s, in lower case, for which the case of ASCII letters is all
// that case folding means. The letters k and s have a third form outside of ASCII (the Kelvin sign
// and the long s).
func foldable(s string) string {
	var best, cur []byte
	for _, r := range s {
		if r >= utf8.RuneSelf || r == 'k' || r == 'K' || r == 's' || r == 'S' {
			cur = nil
			continue
		}
		cur = append(cur, byte(unicode.ToLower(r)))
		if len(cur) > len(best) {
			best = cur[:len(cur):len(cur)]
		}
	}
	return string(best)
}

func hasCase(s string) bool {
	for _, r := range s {
		if unicode.SimpleFold(r) != r {
			return true
		}
	}
	return false
}
