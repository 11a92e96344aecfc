package logql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/prometheus/prometheus/model/labels"
)

// ErrEncoding means that bytes are no partial, or one of another version of this package.
var ErrEncoding = errors.New("logql: malformed partial")

// A partial travels as
//
//	version <1b> | stats <uvarints, as many as first says> | source | strings | label sets | entries | series
//
// where source is a string and each of the lists begins with its length. Strings of labels are written once and referred to
// by number. Numbers are uvarints, signed ones zigzag, floats 8 bytes little-endian.
const partialVersion = 1

// MarshalBinary encodes a partial so that it can travel to where the query is finished.
func (p *Partial) MarshalBinary() ([]byte, error) {
	w := encoder{strings: map[string]uint64{}, sets: newLabelSet()}
	body := encoder{strings: w.strings, sets: w.sets}
	body.uvarint(uint64(len(p.entries)))
	var last int64
	for i := range p.entries {
		e := &p.entries[i]
		body.varint(e.time - last)
		last = e.time
		body.set(e.labels)
		body.set(e.metadata)
		body.set(e.parsed)
		body.string(e.line)
	}
	body.uvarint(uint64(len(p.series)))
	for i := range p.series {
		body.series(&p.series[i])
	}

	for _, ls := range w.sets.all {
		ls.Range(func(l labels.Label) {
			w.ref(l.Name)
			w.ref(l.Value)
		})
	}
	head := encoder{buf: make([]byte, 0, len(body.buf)+1024)}
	head.buf = append(head.buf, partialVersion)
	stats, tasks := p.Stats, int64(p.Stats.Tasks)
	numbers := stats.numbers(&tasks)
	head.uvarint(uint64(len(numbers)))
	for _, n := range numbers {
		head.varint(*n)
	}
	head.string(p.Source)
	head.uvarint(uint64(len(w.order)))
	for _, s := range w.order {
		head.string(s)
	}
	head.uvarint(uint64(len(w.sets.all)))
	for _, ls := range w.sets.all {
		head.uvarint(uint64(ls.Len()))
		ls.Range(func(l labels.Label) {
			head.uvarint(w.strings[l.Name])
			head.uvarint(w.strings[l.Value])
		})
	}
	return append(head.buf, body.buf...), nil
}

// numbers returns the fields of s in the order in which they travel. New ones are added at the end.
// The number of tasks is not of their type and stands in tasks.
func (s *Stats) numbers(tasks *int64) []*int64 {
	return []*int64{
		tasks, (*int64)(&s.QueueTime), (*int64)(&s.ExecTime), &s.Streams, &s.PagesTotal, &s.PagesRead,
		&s.Rows, &s.RowsKept, &s.LineBytes, &s.MetadataBytes, &s.HeadRows, &s.HeadBytes, &s.ReadBytes, &s.Returned,
	}
}

// encoder appends to buf.
type encoder struct {
	buf     []byte
	strings map[string]uint64 // numbers of strings of labels
	order   []string
	sets    *labelSet
}

func (w *encoder) uvarint(n uint64) { w.buf = binary.AppendUvarint(w.buf, n) }
func (w *encoder) varint(n int64)   { w.buf = binary.AppendVarint(w.buf, n) }
func (w *encoder) string(s string) {
	w.uvarint(uint64(len(s)))
	w.buf = append(w.buf, s...)
}
func (w *encoder) float(v float64) {
	w.buf = binary.LittleEndian.AppendUint64(w.buf, math.Float64bits(v))
}
func (w *encoder) set(ls labels.Labels) {
	id, _ := w.sets.id(ls)
	w.uvarint(uint64(id))
}
func (w *encoder) ref(s string) {
	if _, ok := w.strings[s]; !ok {
		w.strings[s] = uint64(len(w.order))
		w.order = append(w.order, s)
	}
}

// Which numbers of a series' cells are not all zero.
const (
	cellsHaveA = 1 << iota
	cellsHaveB
)

func (w *encoder) series(s *partialSeries) {
	w.set(s.labels)
	have := byte(0)
	for _, c := range s.cells {
		if math.Float64bits(c.a) != 0 {
			have |= cellsHaveA
		}
		if math.Float64bits(c.b) != 0 {
			have |= cellsHaveB
		}
	}
	w.buf = append(w.buf, have)
	w.uvarint(uint64(len(s.cells)))
	last := int32(-1)
	for _, c := range s.cells {
		w.uvarint(uint64(c.index - last - 1))
		last = c.index
		w.uvarint(uint64(c.n))
		if have&cellsHaveA != 0 {
			w.float(c.a)
		}
		if have&cellsHaveB != 0 {
			w.float(c.b)
		}
	}
	w.uvarint(uint64(len(s.samples)))
	var time int64
	for _, x := range s.samples {
		w.varint(x.time - time)
		time = x.time
		w.float(x.value)
	}
}

// UnmarshalBinary decodes a partial. Errors are ErrEncoding. It keeps nothing of data, and what it
// allocates is bounded by the length of data, whatever is in it.
func (p *Partial) UnmarshalBinary(data []byte) error {
	r := decoder{data: data}
	if v := r.byte(); v != partialVersion && r.err == nil {
		return fmt.Errorf("%w: version %d, this is version %d", ErrEncoding, v, partialVersion)
	}
	var out Partial
	var tasks int64
	stats := out.Stats.numbers(&tasks)
	for i := range r.count(1) {
		n := r.varint()
		if i < len(stats) {
			*stats[i] = n
		}
	}
	out.Stats.Tasks = int(tasks)
	out.Source = r.string()
	names := make([]string, r.count(1))
	for i := range names {
		names[i] = r.string()
	}
	sets := make([]labels.Labels, r.count(1))
	b := labels.NewScratchBuilder(8)
	size, most := 0, labelBytes+64*len(data)
	for i := range sets {
		b.Reset()
		for range r.count(2) {
			name, value := pick(&r, names), pick(&r, names)
			// Few references could make very much of a long string.
			if size += len(name) + len(value); size > most {
				r.fail("label sets of more than %d bytes", most)
			}
			if r.err != nil {
				return r.err
			}
			b.Add(name, value)
		}
		sets[i] = b.Labels()
	}
	out.entries = make([]entry, r.count(5))
	var last int64
	for i := range out.entries {
		last += r.varint()
		out.entries[i] = entry{
			time: last, labels: pick(&r, sets), metadata: pick(&r, sets), parsed: pick(&r, sets), line: r.string(),
		}
	}
	out.series = make([]partialSeries, r.count(4))
	for i := range out.series {
		out.series[i] = r.series(sets)
	}
	if r.err == nil && len(r.data) > 0 {
		r.fail("%d bytes too many", len(r.data))
	}
	if r.err != nil {
		return r.err
	}
	if len(out.entries) == 0 {
		out.entries = nil
	}
	if len(out.series) == 0 {
		out.series = nil
	}
	*p = out
	return nil
}

// labelBytes is the size of all decoded label sets together that any partial may have, however short
// it is.
const labelBytes = 16 << 20

// decoder reads from data. After an error it returns zeros.
type decoder struct {
	data []byte
	err  error
}

func (r *decoder) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrEncoding, fmt.Sprintf(format, args...))
	}
	r.data = nil
}

func (r *decoder) byte() byte {
	if len(r.data) == 0 {
		r.fail("it ends too early")
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail("it ends within a number")
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *decoder) varint() int64 {
	v, n := binary.Varint(r.data)
	if n <= 0 {
		r.fail("it ends within a number")
		return 0
	}
	r.data = r.data[n:]
	return v
}

// count reads the length of a list whose elements take at least size bytes each.
func (r *decoder) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.data)/size) {
		r.fail("a list of %d in %d bytes", n, len(r.data))
		return 0
	}
	return int(n)
}

func (r *decoder) string() string {
	n := r.count(1)
	s := string(r.data[:n])
	r.data = r.data[n:]
	return s
}

func (r *decoder) float() float64 {
	if len(r.data) < 8 {
		r.fail("it ends within a number")
		return 0
	}
	v := math.Float64frombits(binary.LittleEndian.Uint64(r.data))
	r.data = r.data[8:]
	return v
}

// pick reads a number and returns that element of list.
func pick[T any](r *decoder, list []T) (v T) {
	n := r.uvarint()
	if n >= uint64(len(list)) {
		r.fail("number %d of %d", n, len(list))
		return v
	}
	return list[n]
}

func (r *decoder) series(sets []labels.Labels) partialSeries {
	s := partialSeries{labels: pick(r, sets)}
	have := r.byte()
	if n := r.count(2); n > 0 {
		s.cells = make([]cellAt, n)
	}
	last := int64(-1)
	for i := range s.cells {
		c := &s.cells[i]
		last += int64(r.uvarint()&math.MaxInt32) + 1
		if last > math.MaxInt32 {
			r.fail("cell %d", last)
			break
		}
		c.index = int32(last)
		c.n = int64(r.uvarint() & math.MaxInt64)
		if have&cellsHaveA != 0 {
			c.a = r.float()
		}
		if have&cellsHaveB != 0 {
			c.b = r.float()
		}
	}
	if n := r.count(9); n > 0 {
		s.samples = make([]sample, n)
	}
	var time int64
	for i := range s.samples {
		time += r.varint()
		s.samples[i] = sample{time, r.float()}
	}
	return s
}
