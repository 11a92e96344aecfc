package pipeline

import "example.com/loki/logql/syntax"

// jsonPathStage is "| json" with expressions: each label gets the value at its path, or an empty one.
type jsonPathStage struct {
	fields []syntax.Extraction
	root   *pathNode
	need   *needs
}

// pathNode is a step of the paths of a stage, merged into a tree.
type pathNode struct {
	keys    map[string]*pathNode
	lengths uint64 // of the keys, a bit each; the last one stands for all that are longer
	indexes map[int]*pathNode
	targets []int // fields whose value is here
}

func newJSONPathStage(s *syntax.JSONStage) (prepared, error) {
	st := &jsonPathStage{fields: s.Fields, root: &pathNode{}}
	for i, f := range s.Fields {
		steps, err := syntax.ParsePath(f.Expression)
		if err != nil {
			return nil, err
		}
		n := st.root
		for _, step := range steps {
			n = n.step(step)
		}
		n.targets = append(n.targets, i)
	}
	return st, nil
}

// step returns the node behind a step, which it makes if need be.
func (n *pathNode) step(s syntax.PathStep) *pathNode {
	if s.Index >= 0 {
		c := n.indexes[s.Index]
		if c == nil {
			c = &pathNode{}
			if n.indexes == nil {
				n.indexes = map[int]*pathNode{}
			}
			n.indexes[s.Index] = c
		}
		return c
	}
	c := n.keys[s.Name]
	if c == nil {
		c = &pathNode{}
		if n.keys == nil {
			n.keys = map[string]*pathNode{}
		}
		n.keys[s.Name] = c
		n.lengths |= 1 << min(len(s.Name), 63)
	}
	return c
}

// child returns the node behind a key, nil if no path has it. Most keys of a line have a length that none of a path has.
func (n *pathNode) child(key []byte) *pathNode {
	if n.lengths>>min(len(key), 63)&1 == 0 {
		return nil
	}
	return n.keys[string(key)]
}

func (s *jsonPathStage) parser() {}
func (s *jsonPathStage) prepare(n *needs) {
	s.need = n.clone()
	n.line = true
}

func (s *jsonPathStage) runner(*Worker) runner {
	r := &jsonPathRunner{root: s.root, values: make([]pathValue, len(s.fields))}
	for _, f := range s.fields {
		r.fields = append(r.fields, newFieldName(f.Name, s.need))
	}
	return r
}

type jsonPathRunner struct {
	root   *pathNode
	fields []*fieldName
	values []pathValue
	left   int
}

// pathValue is what was found at a path.
type pathValue struct {
	text  string
	found bool
}

func (r *jsonPathRunner) run(w *Worker) bool {
	line := w.line
	i := skipBlanks(line, 0)
	if i == len(line) || line[i] != '{' && line[i] != '[' {
		w.setError(errJSON, errNoObject.Error(), true)
		return true
	}
	clear(r.values)
	r.left = len(r.values)
	s := jsonScanner{w: w, b: line}
	if _, o := r.value(&s, i, r.root, 0); o == jsonOdd || o == jsonDeep {
		w.setError(errJSON, errJSONFault.Error(), true)
	}
	for i, f := range r.fields {
		if f.wanted {
			w.assign(f, r.values[i].text)
		}
	}
	w.parsed = true
	return true
}

// value reads the value at i, of which node (nil: nothing) is wanted, and returns the place behind it.
func (r *jsonPathRunner) value(s *jsonScanner, i int, node *pathNode, depth int) (int, outcome) {
	b := s.b
	if depth == maxJSONDepth {
		return i, jsonDeep
	}
	switch b[i] {
	case '"':
		end, escaped := stringEnd(b, i+1)
		if end < 0 {
			return i, jsonOdd
		}
		if node != nil && len(node.targets) > 0 {
			v := b[i+1 : end]
			if escaped {
				v, _ = s.unescape(v)
			}
			if r.take(node, v) {
				return i, jsonEnough
			}
		}
		return end + 1, jsonGood
	case '{', '[':
		if node != nil && len(node.targets) > 0 {
			end := skipBlock(b, i)
			if end < 0 {
				return i, jsonOdd
			}
			if r.take(node, b[i:end]) {
				return i, jsonEnough
			}
		}
		switch {
		case node != nil && b[i] == '{' && node.keys != nil:
			return r.object(s, i+1, node, depth)
		case node != nil && b[i] == '[' && node.indexes != nil:
			return r.array(s, i+1, node, depth)
		}
		end := skipBlock(b, i)
		if end < 0 {
			return i, jsonOdd
		}
		return end, jsonGood
	}
	end := tokenEnd(b, i)
	v := b[i:end]
	switch {
	case isNumber(v), string(v) == "true", string(v) == "false":
		if node != nil && r.take(node, v) {
			return i, jsonEnough
		}
	case string(v) == "null":
		if node != nil && r.take(node, nil) {
			return i, jsonEnough
		}
	default:
		return i, jsonOdd
	}
	return end, jsonGood
}

// take gives a value to the fields of a node and tells whether all fields have theirs. Of duplicate
// keys the first counts.
func (r *jsonPathRunner) take(node *pathNode, v []byte) bool {
	for _, t := range node.targets {
		if !r.values[t].found {
			r.values[t] = pathValue{text(v), true}
			r.left--
		}
	}
	return r.left == 0
}

func (r *jsonPathRunner) object(s *jsonScanner, i int, node *pathNode, depth int) (int, outcome) {
	b := s.b
	i = skipBlanks(b, i)
	if i < len(b) && b[i] == '}' {
		return i + 1, jsonGood
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return i, jsonOdd
		}
		end, escaped := stringEnd(b, i+1)
		if end < 0 {
			return i, jsonOdd
		}
		key := b[i+1 : end]
		if escaped {
			key, _ = s.unescape(key)
		}
		child := node.child(key)
		i = skipBlanks(b, end+1)
		if i >= len(b) || b[i] != ':' {
			return i, jsonOdd
		}
		var more bool
		var o outcome
		if i, more, o = r.element(s, i+1, '}', child, depth); o != jsonGood || !more {
			return i, o
		}
	}
}

func (r *jsonPathRunner) array(s *jsonScanner, i int, node *pathNode, depth int) (int, outcome) {
	b := s.b
	i = skipBlanks(b, i)
	if i < len(b) && b[i] == ']' {
		return i + 1, jsonGood
	}
	for n := 0; ; n++ {
		var more bool
		var o outcome
		if i, more, o = r.element(s, i, ']', node.indexes[n], depth); o != jsonGood || !more {
			return i, o
		}
	}
}

// element reads a value and what separates it from the next one; more tells that there is one.
func (r *jsonPathRunner) element(s *jsonScanner, i int, closer byte, node *pathNode, depth int) (end int, more bool, o outcome) {
	b := s.b
	i = skipBlanks(b, i)
	if i >= len(b) {
		return i, false, jsonOdd
	}
	if i, o = r.value(s, i, node, depth+1); o != jsonGood {
		return i, false, o
	}
	i = skipBlanks(b, i)
	switch {
	case i >= len(b):
		return i, false, jsonOdd
	case b[i] == closer:
		return i + 1, false, jsonGood
	case b[i] != ',':
		return i, false, jsonOdd
	}
	i = skipBlanks(b, i+1)
	if i < len(b) && b[i] == closer {
		return i + 1, false, jsonGood
	}
	return i, true, jsonGood
}
