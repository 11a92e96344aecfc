package ingester

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// The records of the write-ahead log: docs/format/wal.md.
const (
	recordVersion = 1

	sectionPart    = 0
	sectionStream  = 1
	sectionName    = 2
	sectionEntries = 3

	maxPayload = 256 << 20 // of a record, without compression
	maxEntry   = 128 << 20
)

// partName names a part in a record.
type partName struct {
	id     ulid.ULID
	tenant string
}

// record is a record whose payload is still compressed.
type record struct {
	parts []partName
	codec byte
	raw   int
	data  []byte
}

// parseRecord reads what stands outside of the payload. data refers to b.
func parseRecord(b []byte) (record, error) {
	r := reader{b: b}
	if v := r.byte(); r.err == nil && v != recordVersion {
		return record{}, fmt.Errorf("record of unknown version %d", v)
	}
	var rec record
	rec.codec = r.byte()
	n := r.uvarint(uint64(len(b) / (len(ulid.ULID{}) + 1)))
	for range n {
		var p partName
		copy(p.id[:], r.bytes(uint64(len(p.id))))
		p.tenant = string(r.string())
		rec.parts = append(rec.parts, p)
	}
	rec.raw = int(r.uvarint(maxPayload))
	rec.data = r.b
	return rec, r.err
}

// sectionHandler gets the sections of a payload.
type sectionHandler interface {
	// part says which part the following sections are about, and gets false back to skip them.
	part(number int) (bool, error)
	stream(ref uint32, ls labels.Labels) error
	name(id uint32, name string) error
	// entries gets rows that refer to payload; they and the spans are valid until it returns.
	entries(payload []byte, e *entries) error
}

// parsePayload calls h for each section.
func parsePayload(payload []byte, e *entries, h sectionHandler) error {
	r := reader{b: payload}
	take := false
	for len(r.b) > 0 {
		kind := r.byte()
		body := r.bytes(r.uvarint(maxPayload))
		if r.err != nil {
			return r.err
		}
		at := len(payload) - len(r.b) - len(body)
		s := reader{b: body}
		if kind == sectionPart {
			n := s.uvarint(maxPayload)
			if s.err != nil {
				return s.err
			}
			var err error
			if take, err = h.part(int(n)); err != nil {
				return err
			}
			continue
		}
		if !take {
			continue
		}
		var err error
		switch kind {
		case sectionStream:
			ref := uint32(s.uvarint(maxRef))
			var ls labels.Labels
			if ls, err = s.labels(); err == nil {
				err = h.stream(ref, ls)
			}
		case sectionName:
			id := uint32(s.uvarint(maxRef))
			name := string(s.string())
			if err = s.err; err == nil {
				err = h.name(id, name)
			}
		case sectionEntries:
			if err = e.parse(payload, at, at+len(body)); err == nil {
				err = h.entries(payload, e)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const maxRef = 1<<32 - 2

// entries is the content of an entries section.
type entries struct {
	spans []span
	rows  []row // in the order of spans; block is not set

	// Where metadata sets and lines lie in the payload.
	setsLo, setsHi, linesLo, linesHi int

	sets []uint32 // offsets of the sets; scratch of parse
}

// span says that the next rows are of one stream.
type span struct {
	ref    uint32
	n      int
	stream *stream // not set by parse
	define bool    // the record has to name the stream
}

// parse reads the section at payload[lo:hi].
func (e *entries) parse(payload []byte, lo, hi int) error {
	e.spans, e.rows, e.sets = e.spans[:0], e.rows[:0], e.sets[:0]
	r := reader{b: payload[lo:hi]}
	pos := func() int { return hi - len(r.b) }
	limit := uint64(hi - lo)

	total := uint64(0)
	for range r.uvarint(limit) {
		ref, n := r.uvarint(maxRef), r.uvarint(limit)
		if total += n; r.err == nil && total > limit {
			r.err = errors.New("more rows than bytes")
		}
		if r.err != nil {
			return r.err
		}
		e.spans = append(e.spans, span{ref: uint32(ref), n: int(n)})
	}
	t := int64(0)
	for range total {
		t += r.varint()
		if r.err != nil {
			return r.err
		}
		e.rows = append(e.rows, row{time: t})
	}
	for i := range e.rows {
		e.rows[i].len = uint32(r.uvarint(limit))
	}
	m := r.uvarint(limit)
	size := r.uvarint(limit)
	e.setsLo = pos()
	sets := reader{b: r.bytes(size)}
	e.setsHi = pos()
	if r.err != nil {
		return r.err
	}
	for range m {
		e.sets = append(e.sets, uint32(e.setsHi-len(sets.b)))
		last := -1
		for range sets.uvarint(limit) {
			id := int(sets.uvarint(maxRef))
			sets.string()
			if sets.err == nil && id <= last {
				sets.err = errors.New("metadata names out of order")
			}
			if sets.err != nil {
				return sets.err
			}
			last = id
		}
		if sets.err != nil {
			return sets.err
		}
	}
	if len(sets.b) > 0 {
		return errors.New("bytes behind the last metadata set")
	}
	if m > 0 {
		for i := range e.rows {
			n := r.uvarint(m)
			if r.err != nil {
				return r.err
			}
			if n > 0 {
				e.rows[i].meta = e.sets[n-1]
			}
		}
	}
	e.linesLo, e.linesHi = pos(), hi
	at := uint64(e.linesLo)
	for i := range e.rows {
		e.rows[i].off = uint32(at)
		if at += uint64(e.rows[i].len); at > uint64(hi) {
			return errors.New("lines reach beyond the section")
		}
	}
	if at != uint64(hi) {
		return errors.New("bytes behind the last line")
	}
	return r.err
}

// reader takes a byte slice apart. After the first error all results are zero.
type reader struct {
	b   []byte
	err error
}

var errShort = errors.New("record ends too early")

func (r *reader) byte() byte {
	b := r.bytes(1)
	if b == nil {
		return 0
	}
	return b[0]
}

func (r *reader) bytes(n uint64) []byte {
	if r.err != nil {
		return nil
	}
	if n > uint64(len(r.b)) {
		r.err = errShort
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) uvarint(limit uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.err = errShort
		return 0
	}
	if v > limit {
		r.err = fmt.Errorf("number %d where at most %d makes sense", v, limit)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.err = errShort
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) string() []byte { return r.bytes(r.uvarint(maxPayload)) }

func (r *reader) labels() (labels.Labels, error) {
	n := r.uvarint(uint64(len(r.b)))
	b := labels.NewScratchBuilder(int(min(n, 64)))
	last := ""
	for i := range n {
		name, value := string(r.string()), string(r.string())
		if r.err == nil && i > 0 && name <= last {
			r.err = errors.New("labels out of order")
		}
		if r.err != nil {
			return labels.EmptyLabels(), r.err
		}
		b.Add(name, value)
		last = name
	}
	return b.Labels(), r.err
}

func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendSection(dst []byte, kind byte, body []byte) []byte {
	dst = append(dst, kind)
	return appendString(dst, body)
}

// appendPartSection appends the section that selects one of a record's parts.
func appendPartSection(dst []byte, number int) []byte {
	var b [binary.MaxVarintLen64]byte
	return appendSection(dst, sectionPart, binary.AppendUvarint(b[:0], uint64(number)))
}

// setEnd returns where the metadata set at b[at:] ends. The set was checked when it was read or written.
func setEnd(b []byte, at uint32) uint32 {
	p := int(at)
	k, n := binary.Uvarint(b[p:])
	p += n
	for range k {
		_, n := binary.Uvarint(b[p:])
		p += n
		l, n := binary.Uvarint(b[p:])
		p += n + int(l)
	}
	return uint32(p)
}
