package pipeline

import (
	"errors"

	"github.com/buger/jsonparser"

	"example.com/loki/internal/bytesearch"
)

const (
	errJSON = "JSONParserErr"

	// maxJSONDepth is how deep objects may lie in each other; deeper lines are faulty.
	maxJSONDepth = 128
)

var (
	errNoObject  = errors.New("the line is not a JSON object")
	errTooDeep   = errors.New("JSON objects lie too deep in each other")
	errJSONFault = errors.New("malformed JSON")
)

// jsonStage is "| json" without expressions: all members of the object that the line is become
// labels, nested ones with their names joined.
//
// Lines that are well-formed are read in one pass. For others the outcome, which fields are found
// before the fault, is decided by the plain version.
type jsonStage struct {
	need  *needs
	judge *judge // nil: none
}

func (s *jsonStage) parser() {}
func (s *jsonStage) prepare(n *needs) {
	s.need = n.clone()
	n.line = true
}

func (s *jsonStage) runner(*Worker) runner {
	all := &jsonRunner{names: newNameTable(s.need), limit: limitOf(s.need)}
	if s.judge == nil {
		return all
	}
	// It looks into all objects that the other one looks into, as both must find the same faults.
	few := newNameTable(s.judge.need)
	few.below = s.need
	return &judgingRunner{filters: s.judge.filters, few: &jsonRunner{names: few, limit: -1}, all: all}
}

// limitOf returns after how many fields a parser may stop, -1 for never: it has all labels that
// somebody looks at, and nobody asks for faults in the rest of the line.
func limitOf(n *needs) int {
	if n.all || n.errors {
		return -1
	}
	return len(n.names)
}

type jsonRunner struct {
	names *nameTable
	limit int
	left  int // fields to go before the rest of the line doesn't matter
	plain jsonPlain
}

func (r *jsonRunner) run(w *Worker) bool {
	line := w.line
	i := skipBlanks(line, 0)
	if i == len(line) || line[i] != '{' {
		w.setError(errJSON, errNoObject.Error(), true)
		return true
	}
	defer func() { w.parsed = true }()
	mark := len(w.labels.list)
	r.left = r.limit
	s := jsonScanner{w: w, b: line}
	_, outcome := r.object(&s, i+1, r.names.root, 0)
	switch outcome {
	case jsonGood, jsonEnough:
	case jsonDeep:
		w.setError(errJSON, errTooDeep.Error(), true)
	default:
		w.labels.truncate(mark)
		w.rowSeq++
		r.left = r.limit
		if err := r.plain.parse(w, r, line); err != nil {
			w.setError(errJSON, err.Error(), true)
		}
	}
	return true
}

// outcome is how the reading of a JSON value ended.
type outcome uint8

const (
	jsonGood   outcome = iota
	jsonEnough         // all that is wanted has been found
	jsonDeep
	jsonOdd // not well-formed, or unusual
)

// object reads the members of an object whose opening brace lies before i, and returns the place
// behind its closing brace.
func (r *jsonRunner) object(s *jsonScanner, i int, parent *fieldName, depth int) (int, outcome) {
	if depth == maxJSONDepth {
		return i, jsonDeep
	}
	b := s.b
	i = skipBlanks(b, i)
	if i < len(b) && b[i] == '}' {
		return i + 1, jsonGood
	}
	var f *fieldName
	for {
		next := parent.first // or else the key that followed on the line before
		if f != nil {
			next = f.next
		}
		if next != nil && next.lead.begins(b, i) {
			i += len(next.lead.text)
		} else {
			var o outcome
			if next, i, o = r.key(s, i, parent, f); o != jsonGood {
				return i, o
			}
		}
		if i < len(b) && b[i] <= ' ' {
			i = skipBlanks(b, i)
		}
		if i >= len(b) {
			return i, jsonOdd
		}
		f = next
		switch b[i] {
		case '"':
			end, escaped := bytesearch.Quote(b, i+1), false
			if end == len(b) || b[end] != '"' {
				if end, escaped = stringEnd(b, i+1); end < 0 {
					return i, jsonOdd
				}
			}
			if f.wanted {
				v := b[i+1 : end]
				if escaped {
					v, _ = s.unescape(v)
				}
				if r.take(s.w, f, text(v)) {
					return i, jsonEnough
				}
			}
			i = end + 1
		case '{':
			if f.wantBelow && f.name != "" {
				var o outcome
				if i, o = r.object(s, i+1, f, depth+1); o != jsonGood {
					return i, o
				}
				break
			}
			if i = skipBlock(b, i); i < 0 {
				return 0, jsonOdd
			}
		case '[':
			if i = skipBlock(b, i); i < 0 {
				return 0, jsonOdd
			}
		default:
			end, number := plainNumber(b, i)
			if !number {
				end = tokenEnd(b, i)
			}
			v := b[i:end]
			switch {
			case number, isNumber(v), string(v) == "true", string(v) == "false":
				if f.wanted && r.take(s.w, f, text(v)) {
					return i, jsonEnough
				}
			case string(v) == "null":
			default:
				return i, jsonOdd
			}
			i = end
		}
		if i+1 < len(b) && b[i] == ',' && b[i+1] == '"' { // mostly
			i++
			continue
		}
		i = skipBlanks(b, i)
		if i >= len(b) {
			return i, jsonOdd
		}
		if b[i] == '}' {
			return i + 1, jsonGood
		}
		if b[i] != ',' {
			return i, jsonOdd
		}
		i = skipBlanks(b, i+1)
		if i < len(b) && b[i] == '}' { // a comma too many is fine
			return i + 1, jsonGood
		}
	}
}

// key reads the key that begins at i and the colon behind it. The field before is prev.
func (r *jsonRunner) key(s *jsonScanner, i int, parent, prev *fieldName) (f *fieldName, behind int, o outcome) {
	b := s.b
	if i >= len(b) || b[i] != '"' {
		return nil, i, jsonOdd
	}
	end, escaped := stringEnd(b, i+1)
	if end < 0 {
		return nil, i, jsonOdd
	}
	key := b[i+1 : end]
	i = skipBlanks(b, end+1)
	if i >= len(b) || b[i] != ':' {
		return nil, i, jsonOdd
	}
	if escaped {
		var ok bool
		if key, ok = s.unescape(key); !ok {
			return nil, i, jsonOdd
		}
	}
	return r.names.follow(parent, prev, key), i + 1, jsonGood
}

// take adds a wanted field and tells whether that was the last one.
func (r *jsonRunner) take(w *Worker, f *fieldName, value string) bool {
	if f.name == "" {
		return false
	}
	n := len(w.labels.list)
	if w.found(f, value) && r.left > 0 && r.names.needs.names[w.labels.list[n].name] {
		r.left--
		return r.left == 0
	}
	return false
}

// jsonPlain is the obvious way to find the fields of an object, and the one that decides what to make
// of a faulty line.
type jsonPlain struct{}

var errEnough = errors.New("enough")

func (jsonPlain) parse(w *Worker, r *jsonRunner, line []byte) error {
	s := jsonScanner{w: w, b: line}
	err := plainObject(&s, r, line, r.names.root, 0)
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

func plainObject(s *jsonScanner, r *jsonRunner, b []byte, parent *fieldName, depth int) error {
	if depth == maxJSONDepth {
		return errTooDeep
	}
	return jsonparser.ObjectEach(b, func(key, value []byte, t jsonparser.ValueType, _ int) error {
		f := r.names.child(parent, key)
		switch t {
		case jsonparser.Object:
			if f.name == "" || !f.wantBelow {
				return nil
			}
			return plainObject(s, r, value, f, depth+1)
		case jsonparser.String:
			if f.wanted {
				value, _ = s.unescape(value)
				if r.take(s.w, f, text(value)) {
					return errEnough
				}
			}
		case jsonparser.Number, jsonparser.Boolean:
			if f.wanted && r.take(s.w, f, text(value)) {
				return errEnough
			}
		}
		return nil
	})
}
