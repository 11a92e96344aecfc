package pipeline

import (
	"fmt"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/syntax"
)

const errLogfmt = "LogfmtParserErr"

// logfmtStage is "| logfmt": the pairs of the line become labels, or with expressions some of them.
// Faulty pairs are skipped, or with strict end the reading.
type logfmtStage struct {
	strict, keepEmpty bool
	fields            []syntax.Extraction // Expression is a cleaned key
	need              *needs
}

func newLogfmtStage(s *syntax.LogfmtStage) (prepared, error) {
	st := &logfmtStage{strict: s.Strict, keepEmpty: s.KeepEmpty, fields: s.Fields}
	for _, f := range s.Fields {
		if !validName(f.Expression) {
			return nil, fmt.Errorf("cannot parse expression [%s]: a key is made of letters, digits and underscores", f.Expression)
		}
	}
	return st, nil
}

func (s *logfmtStage) parser() {}
func (s *logfmtStage) prepare(n *needs) {
	s.need = n.clone()
	n.line = true
}

func (s *logfmtStage) runner(*Worker) runner {
	r := &logfmtRunner{logfmtStage: s, limit: limitOf(s.need)}
	if len(s.fields) == 0 {
		r.names = newNameTable(s.need)
		return r
	}
	if s.strict {
		r.limit = -1
	}
	// The keys are looked up like fields; targets lists the labels of each.
	all := newNeeds()
	all.all = true
	r.names = newNameTable(all)
	r.targets = map[string][]int{}
	for i, f := range s.fields {
		r.targets[f.Expression] = append(r.targets[f.Expression], i)
		if f.Name != f.Expression { // as in Loki: a key that is called like the label counts too
			r.targets[f.Name] = append(r.targets[f.Name], i)
		}
		label := newFieldName(f.Name, s.need)
		// As in Loki: if only a by clause names the label, it must name the key too.
		if !s.need.all && !s.need.used[f.Name] && !s.need.names[f.Expression] {
			label.wanted = false
		}
		r.labels = append(r.labels, label)
	}
	r.values = make([]string, len(s.fields))
	return r
}

type logfmtRunner struct {
	*logfmtStage
	names *nameTable
	limit int // as limitOf; of the run if seq is its number
	seq   uint64

	targets map[string][]int // of expressions
	labels  []*fieldName
	values  []string
}

func (r *logfmtRunner) run(w *Worker) bool {
	if r.targets != nil {
		return r.runFields(w)
	}
	defer func() { w.parsed = true }()
	d := logfmtDecoder{w: w, b: w.line}
	if r.seq != w.runSeq {
		r.seq, r.limit = w.runSeq, r.limitIn(w.stream.Labels)
	}
	left := r.limit
	var f *fieldName
	for d.next(r.names, f, r.strict) {
		if len(d.value) == 0 && !r.keepEmpty {
			continue
		}
		f = d.field(r.names, f)
		if !f.wanted {
			continue
		}
		n := len(w.labels.list)
		if w.found(f, text(d.value)) && left > 0 && r.need.names[w.labels.list[n].name] {
			if left--; left == 0 {
				return true
			}
		}
	}
	if d.fault != "" && r.strict {
		w.setError(errLogfmt, d.fault, true)
	}
	return true
}

// limitIn is limitOf for the rows of a stream: what is a label of the stream cannot come from a line. Where
// reading on can find a fault, the limit is the plain one.
func (r *logfmtRunner) limitIn(stream labels.Labels) int {
	limit := limitOf(r.need)
	if limit <= 0 || r.strict {
		return limit
	}
	left := 0
	for name := range r.need.names {
		if !stream.Has(name) {
			left++
		}
	}
	if left == 0 {
		return limit
	}
	return left
}

// runFields sets the labels of expressions; of duplicate keys the last one counts.
func (r *logfmtRunner) runFields(w *Worker) bool {
	clear(r.values)
	d := logfmtDecoder{w: w, b: w.line}
	var f *fieldName
	for d.next(r.names, f, r.strict) {
		f = d.field(r.names, f)
		for _, i := range r.targets[f.name] {
			r.values[i] = text(d.value)
		}
	}
	if d.fault != "" && r.strict {
		w.setError(errLogfmt, d.fault, true)
	}
	for i, f := range r.labels {
		if f.wanted {
			w.assign(f, r.values[i])
		}
	}
	w.parsed = true
	return true
}

// logfmtDecoder reads the pairs of a line.
type logfmtDecoder struct {
	w *Worker
	b []byte
	i int

	known      *fieldName // of the key, if it is the expected one
	key, value []byte
	fault      string // what is wrong with the pair that ended the reading
}

const (
	unterminated = -1 // a quoted value has no end
	badEscape    = -2 // in a quoted value
)

// field returns the name of the key, which stands behind that of prev.
func (d *logfmtDecoder) field(names *nameTable, prev *fieldName) *fieldName {
	if d.known != nil {
		return d.known
	}
	return names.follow(names.root, prev, d.key)
}

// next reads the next pair; a key without a value has an empty one. Faulty pairs are skipped up to the
// next blank, or with strict end the reading. prev is the field before in names, nil for none.
func (d *logfmtDecoder) next(names *nameTable, prev *fieldName, strict bool) bool {
	b := d.b
	for {
		i := d.i
		for i < len(b) && b[i] <= ' ' {
			i++
		}
		if i == len(b) {
			return false
		}
		start := i
		if d.known = names.expected(names.root, prev, b[i:], '='); d.known != nil {
			i += len(d.known.raw)
		} else {
			i = wordEnd(b, i)
		}
		d.key, d.value = b[start:i], nil
		if i == len(b) || b[i] <= ' ' {
			d.i = i
			return true
		}
		if b[i] == '"' || i == start {
			if !d.skip(i, int(b[i]), strict) {
				return false
			}
			continue
		}
		i++ // =
		if i < len(b) && b[i] == '"' {
			end, escaped := stringEnd(b, i+1)
			if end < 0 {
				if !d.skip(len(b)-1, unterminated, strict) {
					return false
				}
				continue
			}
			d.i = end + 1
			d.value = b[i+1 : end]
			if escaped {
				s := jsonScanner{w: d.w, b: b}
				v, ok := s.unescape(d.value)
				if !ok {
					if !d.skip(end, badEscape, strict) {
						return false
					}
					continue
				}
				d.value = v
			}
			return true
		}
		start = i
		i = wordEnd(b, i)
		if i < len(b) && b[i] > ' ' {
			if !d.skip(i, int(b[i]), strict) {
				return false
			}
			continue
		}
		d.value = b[start:i]
		d.i = i
		return true
	}
}

// skip goes to the blank behind a fault at i: a byte that can't stand there, or one of the constants
// above. With strict it returns false.
func (d *logfmtDecoder) skip(i, what int, strict bool) bool {
	if strict {
		switch what {
		case unterminated:
			d.fault = fmt.Sprintf("logfmt syntax error at pos %d : unterminated quoted value", i+1)
		case badEscape:
			d.fault = fmt.Sprintf("logfmt syntax error at pos %d : invalid quoted value", i+1)
		default:
			d.fault = fmt.Sprintf("logfmt syntax error at pos %d : unexpected '%c'", i+1, what)
		}
		return false
	}
	for i < len(d.b) && d.b[i] > ' ' {
		i++
	}
	d.i = i
	return true
}
