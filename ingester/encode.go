package ingester

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
)

// encoder turns pushes into payloads. Its buffers are reused; what it returns is not one of them.
type encoder struct {
	spans []span

	defs, streams, times, lengths, sets, numbers []byte
	section                                      []byte
	fields                                       []fieldRef
	last                                         []*metaName // names of the last entry's metadata, by position
	recent                                       [8]setPlace // metadata sets that were written last
	recentNext                                   int
	used                                         map[*metaName]struct{}
}

type setPlace struct{ from, to, number int }

// fieldRef is a field of metadata whose name has its number.
type fieldRef struct {
	name  *metaName
	value []byte
}

// putEncoder returns an encoder for later use.
func (i *Ingester) putEncoder(e *encoder) {
	clear(e.spans[:cap(e.spans)])
	clear(e.fields[:cap(e.fields)]) // they refer to the request
	clear(e.last[:cap(e.last)])
	clear(e.used)
	if cap(e.times)+cap(e.sets)+cap(e.defs) < 4<<20 {
		i.encoders.Put(e)
	}
}

// chunk encodes entries from the place on and returns where the next chunk begins. The payload is
// written once, with its exact size, so that it can become a block of the head.
func (e *encoder) chunk(file int64, push *pendingPush, req *PushRequest, spans []span, at place) (*chunk, place) {
	e.reset()
	c := &chunk{}
	lineBytes, prev, nsets := 0, int64(0), 0
	begin := at
	for at.span < len(spans) {
		sp := spans[at.span]
		rs := &req.Streams[sp.ref]
		from, to := at.entry, at.entry
		for to < len(rs.Entries) && (len(c.entries.rows) == 0 || lineBytes+len(e.sets) < chunkBytes) {
			en := &rs.Entries[to]
			e.times = binary.AppendVarint(e.times, en.Time-prev)
			prev = en.Time
			e.lengths = binary.AppendUvarint(e.lengths, uint64(len(en.Line)))
			r := row{time: en.Time, off: uint32(lineBytes), len: uint32(len(en.Line))}
			number := 0
			if len(en.Metadata) > 0 {
				r.meta, number, nsets = e.set(push, en.Metadata, nsets)
			}
			e.numbers = binary.AppendUvarint(e.numbers, uint64(number))
			if c.entries.rows == nil {
				c.entries.rows = make([]row, 0, min(remaining(req, spans, begin), 1<<16))
			}
			c.entries.rows = append(c.entries.rows, r)
			lineBytes += len(en.Line)
			to++
		}
		if to == from {
			break // full
		}
		c.entries.spans = append(c.entries.spans, span{ref: sp.stream.ref, n: to - from, stream: sp.stream, define: sp.define})
		if sp.define {
			e.define(sp.stream)
		}
		if at.entry = to; to == len(rs.Entries) {
			at = place{span: at.span + 1}
		}
	}
	for m := range e.used {
		if m.file.Load() <= file {
			c.names = append(c.names, m)
			e.section = binary.AppendUvarint(e.section[:0], uint64(m.id))
			e.section = appendString(e.section, m.name)
			e.defs = appendSection(e.defs, sectionName, e.section)
		}
	}
	e.streams = binary.AppendUvarint(e.streams[:0], uint64(len(c.entries.spans)))
	for _, sp := range c.entries.spans {
		e.streams = binary.AppendUvarint(e.streams, uint64(sp.ref))
		e.streams = binary.AppendUvarint(e.streams, uint64(sp.n))
	}
	if nsets == 0 {
		e.numbers = e.numbers[:0]
	}
	var n [2 * binary.MaxVarintLen64]byte
	counts := binary.AppendUvarint(binary.AppendUvarint(n[:0], uint64(nsets)), uint64(len(e.sets)))
	body := len(e.streams) + len(e.times) + len(e.lengths) + len(counts) + len(e.sets) + len(e.numbers) + lineBytes
	var h [binary.MaxVarintLen64]byte
	bodyLen := binary.AppendUvarint(h[:0], uint64(body))

	p := make([]byte, 0, partSectionSize+len(e.defs)+1+len(bodyLen)+body)
	p = appendPartSection(p, 0)
	p = append(p, e.defs...)
	p = append(p, sectionEntries)
	p = append(p, bodyLen...)
	p = append(p, e.streams...)
	p = append(p, e.times...)
	p = append(p, e.lengths...)
	p = append(p, counts...)
	c.entries.setsLo = len(p)
	p = append(p, e.sets...)
	c.entries.setsHi = len(p)
	p = append(p, e.numbers...)
	c.entries.linesLo = len(p)
	p = appendLines(p, req, spans, begin, len(c.entries.rows))
	c.entries.linesHi = len(p)
	for k := range c.entries.rows {
		r := &c.entries.rows[k]
		r.off += uint32(c.entries.linesLo)
		if r.meta != 0 {
			r.meta += uint32(c.entries.setsLo) - 1
		}
	}
	c.payload = p
	return c, at
}

// partSectionSize is the size of the section that selects part 0.
const partSectionSize = 3

func (e *encoder) reset() {
	e.defs, e.streams, e.times, e.lengths = e.defs[:0], e.streams[:0], e.times[:0], e.lengths[:0]
	e.sets, e.numbers = e.sets[:0], e.numbers[:0]
	clear(e.recent[:])
	e.recentNext = 0
	e.last = e.last[:0]
	if e.used == nil {
		e.used = make(map[*metaName]struct{})
	}
	clear(e.used)
}

// remaining counts the entries from a place on.
func remaining(req *PushRequest, spans []span, at place) int {
	n := -at.entry
	for _, sp := range spans[at.span:] {
		n += len(req.Streams[sp.ref].Entries)
	}
	return n
}

// appendLines appends the lines of n entries from a place on.
func appendLines(dst []byte, req *PushRequest, spans []span, at place, n int) []byte {
	for ; n > 0; at = (place{span: at.span + 1}) {
		es := req.Streams[spans[at.span].ref].Entries[at.entry:]
		es = es[:min(n, len(es))]
		for k := range es {
			dst = append(dst, es[k].Line...)
		}
		n -= len(es)
	}
	return dst
}

// define appends the section that names a stream.
func (e *encoder) define(s *stream) {
	b := binary.AppendUvarint(e.section[:0], uint64(s.ref))
	b = binary.AppendUvarint(b, uint64(s.Labels.Len()))
	s.Labels.Range(func(l labels.Label) {
		b = appendString(b, l.Name)
		b = appendString(b, l.Value)
	})
	e.defs = appendSection(e.defs, sectionStream, b)
	e.section = b
}

// set writes a metadata set unless one of the last few is the same. It returns 1 + its offset in the sets,
// its number from 1, and how many sets there are now.
func (e *encoder) set(push *pendingPush, md []Field, nsets int) (uint32, int, int) {
	e.fields = e.fields[:0]
	sorted := true
	for k := range md {
		f := &md[k]
		var m *metaName
		// Entries mostly have the same names in the same order.
		if k < len(e.last) && e.last[k].name == f.Name {
			m = e.last[k]
		} else {
			m = nameFor(push.tenant, push.part, f.Name)
			e.used[m] = struct{}{}
			e.last = append(e.last[:k], m)
		}
		if n := len(e.fields); n > 0 && e.fields[n-1].name.id >= m.id {
			sorted = false
		}
		e.fields = append(e.fields, fieldRef{m, f.Value})
	}
	if !sorted {
		byID := func(a, b fieldRef) int { return cmp.Compare(a.name.id, b.name.id) }
		slices.SortStableFunc(e.fields, byID)
		// Names are unique by contract; a set that breaks it must not make the record unreadable.
		e.fields = slices.CompactFunc(e.fields, func(a, b fieldRef) bool { return a.name == b.name })
	}
	from := len(e.sets)
	e.sets = binary.AppendUvarint(e.sets, uint64(len(e.fields)))
	for _, f := range e.fields {
		e.sets = binary.AppendUvarint(e.sets, uint64(f.name.id))
		e.sets = appendString(e.sets, f.value)
	}
	for _, r := range e.recent {
		if r.number > 0 && bytes.Equal(e.sets[r.from:r.to], e.sets[from:]) {
			e.sets = e.sets[:from]
			return uint32(r.from) + 1, r.number, nsets
		}
	}
	nsets++
	e.recent[e.recentNext%len(e.recent)] = setPlace{from, len(e.sets), nsets}
	e.recentNext++
	return uint32(from) + 1, nsets, nsets
}
