package pipeline

import (
	"encoding/binary"
	"maps"
	"strings"
	"unicode/utf8"
)

const (
	labelError        = "__error__"
	labelErrorDetails = "__error_details__"

	clashSuffix = "_extracted"

	// maxNames bounds a nameTable: lines may bring any number of different keys.
	maxNames = 1 << 14
)

// needs says which labels the stages behind some point, and the consumer, look at.
type needs struct {
	all    bool
	names  map[string]bool
	used   map[string]bool // those of names that not only a by clause names
	errors bool            // __error__ is looked at, so that a parser must find every fault of a line
	line   bool            // the line is looked at
	length bool            // the length of the line is looked at
}

func newNeeds() *needs { return &needs{names: map[string]bool{}, used: map[string]bool{}} }

func (n *needs) clone() *needs {
	c := &needs{all: n.all, errors: n.errors, line: n.line, length: n.length, names: map[string]bool{}, used: map[string]bool{}}
	maps.Copy(c.names, n.names)
	maps.Copy(c.used, n.used)
	return c
}

// add notes that a stage looks at a label.
func (n *needs) add(name string) {
	n.group(name)
	if name != labelError {
		n.used[name] = true
	}
}

// group notes that a by clause names a label.
func (n *needs) group(name string) {
	if name == labelError {
		n.errors = true
		return
	}
	n.names[name] = true
}

// nothing tells that no label and no error is of interest: parsers needn't run.
func (n *needs) nothing() bool { return !n.all && !n.errors && len(n.names) == 0 }

// wants tells whether a field found under this name may be looked at, there or with the suffix it
// gets when the name is taken.
func (n *needs) wants(name string) bool {
	return n.all || n.names[name] || n.names[name+clashSuffix]
}

// wantsBelow tells whether a field whose name begins with prefix and "_" may be looked at.
func (n *needs) wantsBelow(prefix string) bool {
	if n.all {
		return true
	}
	for name := range n.names {
		if len(name) > len(prefix) && name[len(prefix)] == '_' && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// fieldName is a label name that a parser found, with what is known about it.
type fieldName struct {
	name      string // "" for the root and for keys that give no label
	clash     string // name with clashSuffix
	wanted    bool
	wantBelow bool // of a JSON object: some member may be wanted
	slot      *fieldSlot

	run      uint64 // number of the run that the next two are about
	inStream bool   // the stream has a label of that name
	plain    bool   // no label of the stream or the metadata can stand in the way

	raw      string // as it stands in lines
	simple   bool   // raw needs no escapes, so it ends where a quote stands behind it
	lead     lead   // raw as JSON has it before a value, if it is simple: "raw":
	children map[string]*fieldName

	// Keys mostly come in the order of the line before: first is the child that an object began with,
	// next the one that followed this.
	first, next *fieldName
}

// fieldSlot belongs to all fields of a table that give the same label name.
type fieldSlot struct{ row uint64 } // number of the row that it was found in last

// nameTable maps the keys of lines to label names, so that each is cleaned and looked up in the
// needs once and not on every line.
type nameTable struct {
	needs *needs
	below *needs // decides which objects are looked into
	root  *fieldName
	slots map[string]*fieldSlot
	size  int
}

func newNameTable(n *needs) *nameTable {
	return &nameTable{needs: n, below: n, root: &fieldName{wantBelow: true}, slots: map[string]*fieldSlot{}}
}

// expected returns the name of the field that stood behind prev (nil: that was the first) within parent
// on the line before, if it is also what b begins with, up to the byte end. So keys that come in the
// same order on all lines need not be taken apart.
func (t *nameTable) expected(parent, prev *fieldName, b []byte, end byte) *fieldName {
	f := parent.first
	if prev != nil {
		f = prev.next
	}
	if f == nil || !f.simple || len(b) <= len(f.raw) || b[len(f.raw)] != end || string(b[:len(f.raw)]) != f.raw {
		return nil
	}
	return f
}

// lead is a text that is compared with what many lines have at some place.
type lead struct {
	text        string
	first, last uint64 // its first and last eight bytes, unless it is shorter
}

func newLead(text string) lead {
	l := lead{text: text}
	if n := len(text); n >= 8 {
		l.first = binary.LittleEndian.Uint64([]byte(text[:8]))
		l.last = binary.LittleEndian.Uint64([]byte(text[n-8:]))
	}
	return l
}

// begins tells whether b has the text, which is not empty, at i. An empty one is nowhere.
func (l *lead) begins(b []byte, i int) bool {
	n := len(l.text)
	if len(b)-i < n {
		return false
	}
	b = b[i : i+n]
	if n < 8 || n > 16 {
		return n > 0 && string(b) == l.text
	}
	return binary.LittleEndian.Uint64(b) == l.first && binary.LittleEndian.Uint64(b[n-8:]) == l.last
}

// follow returns the name of the field raw within parent, which stands behind prev (nil: is the first).
func (t *nameTable) follow(parent, prev *fieldName, raw []byte) *fieldName {
	guess := &parent.first
	if prev != nil {
		guess = &prev.next
	}
	if f := *guess; f != nil && f.raw == string(raw) {
		return f
	}
	f := t.child(parent, raw)
	*guess = f
	return f
}

// child returns the name of the field raw within parent.
func (t *nameTable) child(parent *fieldName, raw []byte) *fieldName {
	if c := parent.children[string(raw)]; c != nil {
		return c
	}
	c := t.make(parent, string(raw))
	if t.size < maxNames {
		if parent.children == nil {
			parent.children = map[string]*fieldName{}
		}
		parent.children[c.raw] = c
		t.size++
	}
	return c
}

func (t *nameTable) make(parent *fieldName, raw string) *fieldName {
	name := cleanName(raw, parent.name == "")
	simple := raw != "" && !strings.ContainsAny(raw, `"\\`)
	if name == "" {
		return &fieldName{raw: raw, simple: simple}
	}
	if parent.name != "" {
		name = parent.name + "_" + name
	}
	f := newFieldName(name, t.needs)
	f.raw, f.simple = raw, simple
	f.wantBelow = t.below.wantsBelow(name)
	if simple {
		f.lead = newLead(`"` + raw + `":`)
	}
	if slot := t.slots[name]; slot != nil {
		f.slot = slot
	} else if len(t.slots) < maxNames {
		t.slots[name] = f.slot
	} else {
		f.slot = nil // found has to look at the row's labels
	}
	return f
}

func newFieldName(name string, n *needs) *fieldName {
	return &fieldName{
		name: name, clash: name + clashSuffix, slot: &fieldSlot{},
		wanted: n.wants(name), wantBelow: n.wantsBelow(name),
	}
}

// bind finds out what stands in the way of a field in the worker's run.
func (f *fieldName) bind(w *Worker) {
	f.run = w.runSeq
	f.inStream = w.stream.Labels.Has(f.name)
	f.plain = !f.inStream && f.slot != nil && !hasClashSuffix(f.name)
	for i := range w.metas {
		f.plain = f.plain && w.metas[i].runName != f.name
	}
}

// cleanName makes a label name of a key: each character that isn't allowed becomes an underscore, and
// a digit at the start of a name gets one in front.
func cleanName(raw string, start bool) string {
	if raw == "" {
		return ""
	}
	clean := !(start && isDigit(raw[0]))
	for i := 0; clean && i < len(raw); i++ {
		clean = isNameByte(raw[i])
	}
	if clean {
		return strings.Clone(raw)
	}
	var b strings.Builder
	b.Grow(len(raw) + 1)
	if start && isDigit(raw[0]) {
		b.WriteByte('_')
	}
	for i := 0; i < len(raw); {
		if c := raw[i]; c < utf8.RuneSelf {
			if isNameByte(c) {
				b.WriteByte(c)
			} else {
				b.WriteByte('_')
			}
			i++
			continue
		}
		_, n := utf8.DecodeRuneInString(raw[i:])
		b.WriteByte('_')
		i += n
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || isDigit(c)
}

// validName tells whether name can be a label name.
func validName(name string) bool {
	if name == "" || isDigit(name[0]) {
		return false
	}
	for i := 0; i < len(name); i++ {
		if !isNameByte(name[i]) {
			return false
		}
	}
	return true
}
