package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// segIndex answers which streams match. It is safe for concurrent use.
type segIndex struct {
	streams int
	columns []labelColumn // ascending by name

	// made are the streams that were asked for, unless there are very many: making one takes a third of a microsecond,
	// keeping it some 150 bytes.
	made []atomic.Pointer[column.Stream]

	// hashes of streams (see column.Stream), 0 where not known yet.
	hashOnce sync.Once
	hashes   []atomic.Uint64

	// Which columns have something of each stream, where there are many columns.
	rowsOnce sync.Once
	rowEnds  []uint32 // of each stream, in rowCols
	rowCols  []uint32
}

const (
	maxKeptStreams = 16 << 10
	keptStream     = 150
	manyColumns    = 48
	maxLabelUses   = 256 << 20 // of all streams of a segment; a bound for what is made of an index that lies
)

func openIndex(raw []byte, streams int) (*segIndex, error) {
	d := decbuf{b: raw}
	x := &segIndex{streams: streams}
	names := make([]string, 0, d.count())
	for n := range cap(names) {
		name := string(d.bytes(d.size(len(d.b))))
		if n > 0 && name <= names[n-1] {
			d.fail(fmt.Errorf("label names are out of order at %q", name))
		}
		if d.err != nil {
			return nil, d.err
		}
		names = append(names, name)
	}
	uses := int64(0)
	for _, name := range names {
		c, err := parseColumn(&d, name, streams)
		if err != nil {
			return nil, fmt.Errorf("label %q: %w", name, err)
		}
		c.each(streamRange{0, uint32(streams)}, func(from, to, value, step uint32) {
			if value+step > 0 {
				uses += int64(to - from)
			}
		})
		if uses > maxLabelUses {
			return nil, fmt.Errorf("%d labels of %d streams", uses, streams)
		}
		x.columns = append(x.columns, c)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	if streams <= maxKeptStreams {
		x.made = make([]atomic.Pointer[column.Stream], streams)
	}
	return x, nil
}

// memory is what the index takes when all is made that may be kept.
func (x *segIndex) memory() (n int64) {
	for i := range x.columns {
		n += x.columns[i].memory()
	}
	if len(x.columns) > manyColumns {
		n *= 2
	}
	return n + int64(keptStream*len(x.made)) + int64(8*x.streams)
}

// column returns the column of a name, nil if there is none.
func (x *segIndex) column(name string) *labelColumn {
	n, ok := sort.Find(len(x.columns), func(i int) int { return strings.Compare(name, x.columns[i].name) })
	if !ok {
		return nil
	}
	return &x.columns[n]
}

// stream returns a stream by number.
func (x *segIndex) stream(n int) (*column.Stream, error) {
	if x.made == nil {
		return x.make(n)
	}
	if s := x.made[n].Load(); s != nil {
		return s, nil
	}
	s, err := x.make(n)
	if err != nil {
		return nil, err
	}
	return x.keep(n, s), nil
}

// keep keeps a stream for those who ask for it later, unless somebody else has.
func (x *segIndex) keep(n int, s *column.Stream) *column.Stream {
	if !x.made[n].CompareAndSwap(nil, s) {
		return x.made[n].Load()
	}
	return s
}

// streamMaker returns streams, of which some that are expected are asked for together.
type streamMaker struct {
	index  *segIndex
	expect int
	spare  []column.Stream
	labels labels.ScratchBuilder
}

// stream is segIndex.stream.
func (m *streamMaker) stream(n int) (*column.Stream, error) {
	x := m.index
	if x.made != nil {
		return x.stream(n)
	}
	m.labels.Reset()
	if err := x.add(&m.labels, n); err != nil {
		return nil, err
	}
	if len(m.spare) == 0 {
		m.spare = make([]column.Stream, min(max(m.expect, 1), 512))
		m.expect -= len(m.spare)
	}
	s := &m.spare[0]
	m.spare = m.spare[1:]
	s.Labels = m.labels.Labels()
	s.Hash = labels.StableHash(s.Labels)
	return s, nil
}

func (x *segIndex) make(n int) (*column.Stream, error) {
	var b labels.ScratchBuilder
	if err := x.add(&b, n); err != nil {
		return nil, err
	}
	return column.NewStream(b.Labels()), nil
}

// hash returns the hash of a stream's labels: what labels.StableHash makes of them.
func (x *segIndex) hash(n int) (uint64, error) {
	x.hashOnce.Do(func() { x.hashes = make([]atomic.Uint64, x.streams) })
	if h := x.hashes[n].Load(); h != 0 {
		return h, nil
	}
	const sep = 0xff
	room := [512]byte{}
	b := room[:0]
	err := x.eachLabel(n, func(name, value string) {
		b = append(append(b, name...), sep)
		b = append(append(b, value...), sep)
	})
	if err != nil {
		return 0, err
	}
	h := xxhash.Sum64(b)
	x.hashes[n].Store(h)
	return h, nil
}

// add adds the labels of a stream.
func (x *segIndex) add(b *labels.ScratchBuilder, n int) error {
	return x.eachLabel(n, b.Add)
}

// eachLabel calls f with the labels of a stream, ascending by name.
func (x *segIndex) eachLabel(n int, f func(name, value string)) error {
	none := true
	add := func(c *labelColumn) {
		if v := c.of(n); v > 0 {
			f(c.name, c.value(v))
			none = false
		}
	}
	if len(x.columns) <= manyColumns {
		for i := range x.columns {
			add(&x.columns[i])
		}
	} else {
		x.rowsOnce.Do(x.findRows)
		from := uint32(0)
		if n > 0 {
			from = x.rowEnds[n-1]
		}
		for _, c := range x.rowCols[from:x.rowEnds[n]] {
			add(&x.columns[c])
		}
	}
	if none {
		return errors.New("it has no labels")
	}
	return nil
}

// findRows finds the columns of each stream.
func (x *segIndex) findRows() {
	each := func(f func(stream int, column uint32)) {
		for i := range x.columns {
			x.columns[i].each(streamRange{0, uint32(x.streams)}, func(from, to, value, step uint32) {
				for s := from; s < to; s++ {
					if value > 0 || step > 0 {
						f(int(s), uint32(i))
					}
				}
			})
		}
	}
	x.rowEnds = make([]uint32, x.streams)
	each(func(s int, _ uint32) { x.rowEnds[s]++ })
	total := uint32(0)
	for s, n := range x.rowEnds {
		x.rowEnds[s] = total // where the stream's columns begin, for now
		total += n
	}
	x.rowCols = make([]uint32, total)
	each(func(s int, c uint32) {
		x.rowCols[x.rowEnds[s]] = c
		x.rowEnds[s]++
	})
}

// match returns the streams that match all matchers; with no matchers, all.
func (x *segIndex) match(ctx context.Context, ms []*labels.Matcher) (streamSet, error) {
	out := x.all()
	// Those that leave little come first.
	ms = slices.Clone(ms)
	slices.SortStableFunc(ms, func(a, b *labels.Matcher) int { return cmp.Compare(a.Type, b.Type) })
	for _, m := range ms {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		c := x.column(m.Name)
		switch {
		case c != nil:
			out = c.filter(m, out)
		case !m.Matches(""):
			return nil, nil
		}
		if len(out) == 0 {
			return nil, nil
		}
	}
	return out, nil
}

// all is the set of all streams.
func (x *segIndex) all() streamSet {
	if x.streams == 0 {
		return nil
	}
	return streamSet{{0, uint32(x.streams)}}
}

// labelNames returns the names that some of the streams have.
func (x *segIndex) labelNames(streams streamSet) []string {
	var names []string
	for i := range x.columns {
		if x.columns[i].any(streams) {
			names = append(names, x.columns[i].name)
		}
	}
	return names
}

// labelValues returns the values of a name that some of the streams have. They share memory with the index.
func (x *segIndex) labelValues(name string, streams streamSet) []string {
	c := x.column(name)
	if c == nil {
		return nil
	}
	has := make([]bool, c.count()+1)
	if streams.count() == x.streams {
		for n := range has {
			has[n] = true
		}
	} else {
		for _, r := range streams {
			c.each(r, func(from, to, value, step uint32) {
				for n := range (to-from-1)*step + 1 {
					has[value+n] = true
				}
			})
		}
	}
	var values []string
	for n := 1; n < len(has); n++ {
		if has[n] {
			values = append(values, c.value(uint32(n)))
		}
	}
	return values
}

// labelValue asks for streams that have a label with some value.
type labelValue struct {
	column *labelColumn
	number uint32 // of the value; 0: no stream has it
}

func (x *segIndex) labelValue(name, value string) labelValue {
	c := x.column(name)
	if c == nil {
		return labelValue{}
	}
	return labelValue{c, c.find(value)}
}

func (v labelValue) of(stream int) bool { return v.number > 0 && v.column.of(stream) == v.number }
