package pipeline

import (
	"bytes"
	"errors"
	"fmt"

	"example.com/loki/logql/syntax"
)

// patternPart is a literal or a capture of a pattern; an unnamed capture is "_".
type patternPart struct {
	literal []byte
	capture string
}

// parsePattern splits a pattern such as `<ip> - <_> "<method>`.
func parsePattern(s string) ([]patternPart, error) {
	var parts []patternPart
	var lit []byte
	for i := 0; i < len(s); {
		name := captureAt(s[i:])
		if name == "" {
			lit = append(lit, s[i])
			i++
			continue
		}
		if len(lit) > 0 {
			parts = append(parts, patternPart{literal: lit})
			lit = nil
		} else if n := len(parts); n > 0 {
			return nil, fmt.Errorf("found consecutive capture '<%s><%s>': put some text between them", parts[n-1].capture, name)
		}
		parts = append(parts, patternPart{capture: name})
		i += len(name) + 2
	}
	if len(lit) > 0 {
		parts = append(parts, patternPart{literal: lit})
	}
	return parts, nil
}

// captureAt returns the name of the capture that s begins with, or "".
func captureAt(s string) string {
	if s == "" || s[0] != '<' {
		return ""
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '>':
			return s[1:i]
		case !isNameByte(c) || i == 1 && isDigit(c):
			return ""
		}
	}
	return ""
}

// newPatternTest makes the test of |> and !>: the literals stand in the line in their order with at
// least one character for each <_>; the first may stand anywhere, the last one ends the line unless
// <_> follows.
func newPatternTest(s string) (lineTest, error) {
	parts, err := parsePattern(s)
	if err != nil {
		return lineTest{}, err
	}
	var t lineTest
	for _, p := range parts {
		if p.capture != "" && p.capture != "_" {
			return lineTest{}, fmt.Errorf("named captures are not allowed: found '<%s>', use <_>", p.capture)
		}
		if p.literal != nil {
			n := needle{text: p.literal}
			t.all = append(t.all, n)
			if t.any == nil || len(p.literal) > len(t.any[0].text) {
				t.any = []needle{n}
			}
		}
	}
	t.match = func(line []byte) bool { return matchPattern(parts, line) }
	return t, nil
}

func matchPattern(parts []patternPart, line []byte) bool {
	if len(parts) == 0 {
		return len(line) == 0
	}
	gap := 0 // characters that must stand before the next literal
	for i, p := range parts {
		if p.capture != "" {
			gap = 1
			continue
		}
		if len(line) < gap {
			return false
		}
		if i == len(parts)-1 {
			return bytes.HasSuffix(line[gap:], p.literal)
		}
		at := bytes.Index(line[gap:], p.literal)
		if at < 0 {
			return false
		}
		line = line[gap+at+len(p.literal):]
		gap = 0
	}
	return len(line) > 0 // the last part is a capture
}

// patternStage is "| pattern".
type patternStage struct {
	parts []patternPart
	need  *needs
}

func newPatternStage(s *syntax.PatternStage) (prepared, error) {
	parts, err := parsePattern(s.Pattern)
	if err != nil {
		return nil, fmt.Errorf("invalid pattern parser: %w", err)
	}
	seen := map[string]bool{}
	for _, p := range parts {
		if p.capture == "" || p.capture == "_" {
			continue
		}
		if seen[p.capture] {
			return nil, fmt.Errorf("invalid pattern parser: duplicate capture name (%s)", p.capture)
		}
		seen[p.capture] = true
	}
	if len(seen) == 0 {
		return nil, errors.New("invalid pattern parser: at least one capture is required, such as <name>")
	}
	return &patternStage{parts: parts}, nil
}

func (s *patternStage) parser() {}
func (s *patternStage) prepare(n *needs) {
	s.need = n.clone()
	n.line = true
}

func (s *patternStage) runner(*Worker) runner {
	r := &patternRunner{parts: s.parts}
	for _, p := range s.parts {
		var f *fieldName
		if p.capture != "" && p.capture != "_" {
			f = newFieldName(p.capture, s.need)
		}
		r.fields = append(r.fields, f)
	}
	return r
}

type patternRunner struct {
	parts  []patternPart
	fields []*fieldName // nil for literals and <_>
}

// run sets the captures. When a literal is missing the capture before it takes the rest of the line.
func (r *patternRunner) run(w *Worker) bool {
	line := w.line
	if len(line) == 0 {
		return true
	}
	for i := 0; i < len(r.parts); i++ {
		p := &r.parts[i]
		if p.capture == "" { // only at the start, see below
			if !bytes.HasPrefix(line, p.literal) {
				return true
			}
			line = line[len(p.literal):]
			continue
		}
		value, missing := line, false
		if i+1 < len(r.parts) {
			next := r.parts[i+1].literal
			if at := bytes.Index(line, next); at >= 0 {
				value, line = line[:at], line[at+len(next):]
			} else {
				missing = true
			}
		}
		if f := r.fields[i]; f != nil && f.wanted {
			w.found(f, text(value))
		}
		if missing {
			return true
		}
		i++
	}
	return true
}
