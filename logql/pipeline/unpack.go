package pipeline

import (
	"github.com/buger/jsonparser"
)

// entryKey is the member that holds the line of a packed entry.
const entryKey = "_entry"

// unpackStage is "| unpack": an object with a member _entry is replaced by that member, and its other
// members, as far as they are strings, become labels.
type unpackStage struct{ need *needs }

func (s *unpackStage) parser()                 {}
func (s *unpackStage) prepare(n *needs)        { s.need = n.clone(); n.line = true }
func (s *unpackStage) runner(w *Worker) runner { return &unpackRunner{names: newNameTable(s.need)} }

type unpackRunner struct {
	names *nameTable
	found []unpacked
}

type unpacked struct {
	field *fieldName
	value []byte
}

func (r *unpackRunner) run(w *Worker) bool {
	if len(w.line) == 0 {
		return true
	}
	if w.line[0] != '{' {
		w.setError(errJSON, errNoObject.Error(), true)
		return true
	}
	s := jsonScanner{w: w, b: w.line}
	var entry []byte
	packed := false
	r.found = r.found[:0]
	err := jsonparser.ObjectEach(w.line, func(key, value []byte, t jsonparser.ValueType, _ int) error {
		if t != jsonparser.String {
			return nil
		}
		if string(key) == entryKey {
			entry, _ = s.unescape(value)
			packed = true
			return nil
		}
		if f := r.names.child(r.names.root, key); f.wanted && f.name != "" {
			v, _ := s.unescape(value)
			r.found = append(r.found, unpacked{f, v})
		}
		return nil
	})
	if err != nil {
		w.setError(errJSON, err.Error(), true)
		return true
	}
	if !packed {
		return true
	}
	for _, u := range r.found {
		w.found(u.field, text(u.value))
	}
	w.line, w.parsed = entry, true
	return true
}
