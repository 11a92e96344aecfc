package pipeline

import (
	"bytes"
	"fmt"

	"example.com/loki/logql/syntax"
)

// patternPart is a literal or a capture of a pattern; a capture that is not kept is "_".
type patternPart struct {
	literal []byte
	capture string
}

func patternParts(parts []syntax.PatternPart) []patternPart {
	out := make([]patternPart, 0, len(parts))
	for _, p := range parts {
		out = append(out, patternPart{[]byte(p.Literal), p.Name})
	}
	return out
}

// newPatternTest makes the test of |> and !>: the literals stand in the line in their order with at
// least one character for each <_>; the first may stand anywhere, the last one ends the line unless
// <_> follows.
func newPatternTest(s string) (lineTest, error) {
	split, err := syntax.ParseLinePattern(s)
	if err != nil {
		return lineTest{}, err
	}
	var t lineTest
	parts := patternParts(split)
	for _, p := range parts {
		if p.capture == "" {
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
	parts, err := syntax.ParsePattern(s.Pattern)
	if err != nil {
		return nil, fmt.Errorf("invalid pattern parser: %w", err)
	}
	return &patternStage{parts: patternParts(parts)}, nil
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
		if f != nil && f.wanted {
			r.end = len(r.fields)
		}
	}
	return r
}

type patternRunner struct {
	parts  []patternPart
	fields []*fieldName // nil for literals and <_>
	end    int          // behind the last capture that is wanted
}

// run sets the captures. When a literal is missing the capture before it takes the rest of the line.
func (r *patternRunner) run(w *Worker) bool {
	line := w.line
	if len(line) == 0 {
		return true
	}
	defer func() { w.parsed = true }()
	for i := 0; i < r.end; i++ {
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
