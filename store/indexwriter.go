package store

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
)

// indexWriter makes the index of a segment: docs/format/segment.md. Streams come in the order of their
// labels, so most values of most names are those of the stream before or greater than all so far, and
// are not looked up.
type indexWriter struct {
	streams int
	columns map[string]*columnWriter
	recent  []*columnWriter // those of the last stream, in its order
}

// columnWriter holds the values of one name.
type columnWriter struct {
	name   string
	values []string          // in the order of first use
	max    string            // the greatest of them
	sorted bool              // values ascend
	number map[string]uint32 // of each value, made when values come that are neither the last nor new for sure
	last   uint32            // the value used last
	at     []uint32          // the streams that have the name
	uses   []uint32          // and the number of the value that each has
}

func newIndexWriter() *indexWriter { return &indexWriter{columns: make(map[string]*columnWriter)} }

// add appends the next stream.
func (w *indexWriter) add(ls labels.Labels) {
	n := 0
	ls.Range(func(l labels.Label) {
		// Streams mostly have the names of the one before.
		if n == len(w.recent) {
			w.recent = append(w.recent, w.column(l.Name))
		} else if w.recent[n].name != l.Name {
			w.recent[n] = w.column(l.Name)
		}
		c := w.recent[n]
		c.at = append(c.at, uint32(w.streams))
		c.uses = append(c.uses, c.value(l.Value))
		n++
	})
	w.recent = w.recent[:n]
	w.streams++
}

func (w *indexWriter) column(name string) *columnWriter {
	c := w.columns[name]
	if c == nil {
		c = &columnWriter{name: strings.Clone(name), sorted: true}
		w.columns[c.name] = c
	}
	return c
}

// value returns the number of a value.
func (c *columnWriter) value(v string) uint32 {
	switch {
	case len(c.values) > 0 && c.values[c.last] == v:
		return c.last
	case len(c.values) == 0 || v > c.max:
	default:
		if c.number == nil {
			c.number = make(map[string]uint32, len(c.values))
			for n, v := range c.values {
				c.number[v] = uint32(n)
			}
		}
		if n, ok := c.number[v]; ok {
			c.last = n
			return n
		}
		c.sorted = false
	}
	v = strings.Clone(v)
	c.last = uint32(len(c.values))
	c.values = append(c.values, v)
	c.max = max(c.max, v)
	if c.number != nil {
		c.number[v] = c.last
	}
	return c.last
}

// finish returns the raw bytes of the index.
func (w *indexWriter) finish() []byte {
	cols := make([]*columnWriter, 0, len(w.columns))
	for _, c := range w.columns {
		cols = append(cols, c)
	}
	slices.SortFunc(cols, func(a, b *columnWriter) int { return strings.Compare(a.name, b.name) })
	buf := binary.AppendUvarint(nil, uint64(len(cols)))
	for _, c := range cols {
		buf = appendString(buf, c.name)
	}
	for _, c := range cols {
		buf = appendValues(buf, c.sort())
		buf = appendLabelRuns(buf, c.at, c.uses, w.streams)
	}
	return buf
}

// sort returns the values in order and renumbers their uses.
func (c *columnWriter) sort() []string {
	if c.sorted {
		return c.values
	}
	order := make([]uint32, len(c.values))
	for n := range order {
		order[n] = uint32(n)
	}
	slices.SortFunc(order, func(a, b uint32) int { return strings.Compare(c.values[a], c.values[b]) })
	rank := make([]uint32, len(order))
	sorted := make([]string, len(order))
	for n, o := range order {
		rank[o] = uint32(n)
		sorted[n] = c.values[o]
	}
	for n, u := range c.uses {
		c.uses[n] = rank[u]
	}
	return sorted
}

// maxShared is how many bytes a value leaves out because the one before begins with them. It bounds what can
// become of an index that lies.
const maxShared = 255

// appendValues appends a list of ascending strings.
func appendValues(dst []byte, values []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	for _, v := range values {
		dst = binary.AppendUvarint(dst, uint64(len(v)))
	}
	shared := make([]byte, len(values))
	for n := range values {
		if n > 0 {
			shared[n] = byte(sharedPrefix(values[n-1], values[n]))
		}
	}
	dst = append(dst, shared...)
	for n, v := range values {
		dst = append(dst, v[shared[n]:]...)
	}
	return dst
}

func sharedPrefix(a, b string) int {
	n := min(len(a), len(b), maxShared)
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// appendLabelRuns appends which of the streams has which value: at are the streams that have one, uses the values.
func appendLabelRuns(dst []byte, at, uses []uint32, streams int) []byte {
	var runs []labelRun
	add := func(stream int, value uint32) {
		if n := len(runs) - 1; n >= 0 {
			r := &runs[n]
			k := uint32(stream) - r.first
			if k == 1 && value == r.value+1 {
				r.step = 1
			}
			if value == r.value+k*r.step {
				return
			}
		}
		runs = append(runs, labelRun{first: uint32(stream), value: value})
	}
	next := 0
	for n, s := range at {
		if next < int(s) {
			runs = append(runs, labelRun{first: uint32(next)}) // streams without a value
		}
		add(int(s), uses[n]+1)
		next = int(s) + 1
	}
	if next < streams {
		runs = append(runs, labelRun{first: uint32(next)})
	}
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	for n, r := range runs {
		end := streams
		if n+1 < len(runs) {
			end = int(runs[n+1].first)
		}
		dst = binary.AppendUvarint(dst, uint64(end-int(r.first))<<1|uint64(r.step))
	}
	last := uint32(0)
	for _, r := range runs {
		dst = binary.AppendVarint(dst, int64(r.value)-int64(last))
		last = r.value
	}
	return dst
}
