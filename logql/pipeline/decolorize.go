package pipeline

import "bytes"

// decolorizeStage is "| decolorize": it takes ANSI escape sequences out of the line.
type decolorizeStage struct{}

func (decolorizeStage) prepare(n *needs)      { n.line = true }
func (decolorizeStage) runner(*Worker) runner { return &decolorizeRunner{} }

type decolorizeRunner struct{ buf []byte }

func (r *decolorizeRunner) run(w *Worker) bool {
	line := w.line
	at := bytes.IndexByte(line, '\x1b')
	if at < 0 {
		return true
	}
	out := r.buf[:0]
	for at >= 0 {
		out = append(out, line[:at]...)
		n := escapeLength(line[at:])
		if n == 0 { // no sequence: the byte stays
			out = append(out, line[at])
			n = 1
		}
		line = line[at+n:]
		at = bytes.IndexByte(line, '\x1b')
	}
	r.buf = append(out, line...)
	w.line = r.buf
	return true
}

// escapeLength returns the length of the colour or style sequence that b begins with: ESC [, numbers
// with semicolons, and a letter.
func escapeLength(b []byte) int {
	if len(b) < 3 || b[1] != '[' {
		return 0
	}
	for i := 2; i < len(b); i++ {
		switch c := b[i]; {
		case isDigit(c) || c == ';' || c == '?' || c == ':':
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z':
			return i + 1
		default:
			return 0
		}
	}
	return 0
}
