package pipeline

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/grafana/regexp"

	"example.com/loki/logql/syntax"
)

// regexpStage is "| regexp": the named groups of the first match become labels.
type regexpStage struct {
	re   *regexp.Regexp
	seq  *sequence // the same, or nil
	need *needs
}

func newRegexpStage(s *syntax.RegexpStage) (prepared, error) {
	re, err := regexp.Compile(s.Regexp)
	if err != nil {
		return nil, fmt.Errorf("invalid regexp parser: %w", err)
	}
	seen := map[string]bool{}
	for _, name := range re.SubexpNames() {
		if name == "" {
			continue
		}
		if !validName(name) {
			return nil, fmt.Errorf("invalid regexp parser: invalid extracted label name '%s'", name)
		}
		if seen[name] {
			return nil, fmt.Errorf("invalid regexp parser: duplicate extracted label name '%s'", name)
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return nil, errors.New("invalid regexp parser: at least one named capture must be supplied, such as (?P<name>...)")
	}
	return &regexpStage{re: re, seq: newSequence(s.Regexp)}, nil
}

func (s *regexpStage) parser() {}
func (s *regexpStage) prepare(n *needs) {
	s.need = n.clone()
	n.line = true
}

func (s *regexpStage) runner(*Worker) runner {
	r := &regexpRunner{re: s.re, seq: s.seq}
	if r.seq != nil {
		r.caps = make([]int, 2*r.seq.caps)
	}
	for i, name := range s.re.SubexpNames() {
		if name == "" {
			continue
		}
		if f := newFieldName(name, s.need); f.wanted {
			r.fields = append(r.fields, f)
			r.groups = append(r.groups, i)
		}
	}
	if l, err := literalsOf(s.re.String()); err == nil {
		r.first = worthLooking(l.all)
	}
	return r
}

type regexpRunner struct {
	re     *regexp.Regexp
	seq    *sequence
	caps   []int    // of seq
	first  [][]byte // each match contains these
	fields []*fieldName
	groups []int
}

func (r *regexpRunner) run(w *Worker) bool {
	if len(r.fields) == 0 {
		return true
	}
	m := r.find(w.line)
	if m == nil {
		return true
	}
	for i, f := range r.fields {
		value := ""
		if lo, hi := m[2*r.groups[i]], m[2*r.groups[i]+1]; lo >= 0 {
			value = text(w.line[lo:hi])
		}
		w.found(f, value)
	}
	w.parsed = true
	return true
}

// find returns the submatches of the first match, nil if there is none.
func (r *regexpRunner) find(line []byte) []int {
	if r.seq != nil {
		if !r.seq.match(line, r.caps) {
			return nil
		}
		return r.caps
	}
	for _, n := range r.first {
		if !bytes.Contains(line, n) {
			return nil
		}
	}
	return r.re.FindSubmatchIndex(line)
}
