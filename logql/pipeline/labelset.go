package pipeline

import (
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/alias"
)

// origin tells where a label comes from.
type origin uint8

const (
	fromStream origin = iota
	fromMetadata
	fromParsed
)

// label is one label of a row. Values may alias the batch or the worker's scratch.
type label struct {
	name, value string
	origin      origin
	gone        bool
}

// indexFrom is the number of labels from which on a labelSet finds them by a map.
const indexFrom = 48

// labelSet holds the labels of one row at one point of the pipeline: those of the stream first, then
// structured metadata, then what stages added. A name occurs once, gone entries apart.
type labelSet struct {
	list    []label
	streams int  // the first entries belong to the stream
	dirty   bool // a stage changed one of them

	base  labels.Labels
	index map[string]int // valid for the first indexed entries
	inUse int
}

// useStream starts a run.
func (s *labelSet) useStream(ls labels.Labels) {
	s.base = ls
	s.dirty = true
	s.reset()
}

// reset starts a row.
func (s *labelSet) reset() {
	if s.dirty {
		s.list = s.list[:0]
		s.base.Range(func(l labels.Label) {
			s.list = append(s.list, label{name: l.Name, value: l.Value})
		})
		s.streams = len(s.list)
		s.dirty = false
	} else {
		s.list = s.list[:s.streams]
	}
	if s.inUse > 0 {
		clear(s.index)
		s.inUse = 0
	}
}

// find returns the place of a label, or -1.
func (s *labelSet) find(name string) int {
	if len(s.list) >= indexFrom {
		return s.findIndexed(name)
	}
	for i := len(s.list) - 1; i >= 0; i-- { // who asks for a label often asks for one that a stage has just made
		if l := &s.list[i]; l.name == name && !l.gone {
			return i
		}
	}
	return -1
}

func (s *labelSet) findIndexed(name string) int {
	if s.index == nil {
		s.index = map[string]int{}
	}
	for ; s.inUse < len(s.list); s.inUse++ {
		if l := &s.list[s.inUse]; !l.gone {
			s.index[l.name] = s.inUse
		}
	}
	if i, ok := s.index[name]; ok && !s.list[i].gone && s.list[i].name == name {
		return i
	}
	return -1
}

// get returns the value of a label, "" if it isn't there.
func (s *labelSet) get(name string) (string, bool) {
	if i := s.find(name); i >= 0 {
		return s.list[i].value, true
	}
	return "", false
}

// set gives a label a value, whether it is there or not.
func (s *labelSet) set(name, value string, o origin) {
	if i := s.find(name); i >= 0 {
		s.touch(i)
		s.list[i].value, s.list[i].origin = value, o
		return
	}
	s.list = append(s.list, label{name: name, value: value, origin: o})
}

// remove takes a label away.
func (s *labelSet) remove(i int) {
	s.touch(i)
	s.list[i].gone = true
}

func (s *labelSet) touch(i int) {
	if i < s.streams {
		s.dirty = true
	}
}

// truncate undoes all that was appended behind the first n entries.
func (s *labelSet) truncate(n int) {
	s.list = s.list[:n]
	if s.inUse > n {
		clear(s.index)
		s.inUse = 0
	}
}

// text returns b as a string that shares its bytes.
func text(b []byte) string { return alias.String(b) }
