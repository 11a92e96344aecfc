package push

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"example.com/loki/ingester"
	"example.com/loki/internal/alias"
)

// Push decodes a body of Loki's push API, JSON or protobuf by its content type.
//
// Protobuf is a snappy block, whatever the encoding says. Lines are taken byte for byte; label texts
// and metadata names with invalid UTF-8 are refused, metadata values with it are stored as they are
// until the distributor replaces the bad bytes.
func (d *Decoder) Push(b Body) (*Request, error) { return d.push(b, false) }

// PromPush decodes a body of the older endpoint, /api/prom/push: the same protobuf, or JSON in its older
// form.
func (d *Decoder) PromPush(b Body) (*Request, error) { return d.push(b, true) }

func (d *Decoder) push(b Body, old bool) (*Request, error) {
	media, err := mediaType(b.ContentType)
	if err != nil {
		return nil, err
	}
	r := d.newRequest()
	isJSON := media == "application/json"
	if err := r.read(b, encodingsPush, !isJSON); err != nil {
		r.Release()
		if known, ok := err.(*Error); ok && known.Kind == ErrInvalid && !isJSON && media != "application/x-protobuf" {
			err = invalidf("Content-Type is %.100q, so the body was taken for protobuf; JSON needs application/json: %s", media, known.Text)
		}
		return nil, err
	}
	if isJSON {
		err = r.decodeJSON(old)
	} else {
		err = r.decodeProto()
	}
	if err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

// Field numbers of the messages.
const (
	pushStreams = 1

	streamLabels  = 1
	streamEntries = 2

	entryTimestamp = 1
	entryLine      = 2
	entryMetadata  = 3

	timestampSeconds = 1
	timestampNanos   = 2

	pairName  = 1
	pairValue = 2
)

// wireField is one field of a message.
type wireField struct {
	num   protowire.Number
	typ   protowire.Type
	bytes []byte // for BytesType, a slice of the message
	value uint64 // for the number types
}

// nextField takes the first field of b, and says how long it is; negative means that b is broken.
func nextField(b []byte) (f wireField, n int) {
	// One byte for the tag and one for the length is what nearly all fields have.
	if len(b) >= 2 && b[0] < 0x80 && b[0]&7 == byte(protowire.BytesType) && b[0] >= 8 && b[1] < 0x80 {
		end := 2 + int(b[1])
		if end > len(b) {
			return f, -1
		}
		return wireField{num: protowire.Number(b[0] >> 3), typ: protowire.BytesType, bytes: b[2:end]}, end
	}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 {
		return f, n
	}
	f.num, f.typ = num, typ
	var m int
	switch typ {
	case protowire.BytesType:
		f.bytes, m = protowire.ConsumeBytes(b[n:])
	case protowire.VarintType:
		f.value, m = protowire.ConsumeVarint(b[n:])
	case protowire.Fixed64Type:
		f.value, m = protowire.ConsumeFixed64(b[n:])
	case protowire.Fixed32Type:
		var v uint32
		v, m = protowire.ConsumeFixed32(b[n:])
		f.value = uint64(v)
	default:
		m = protowire.ConsumeFieldValue(num, typ, b[n:])
	}
	if m < 0 {
		return f, m
	}
	return f, n + m
}

// bytesField returns where the content of the first field of b lies, if it is of BytesType, has a number below 16 and less
// than 16 KiB, as nearly all have; else 0, 0.
func bytesField(b []byte) (from, to int) {
	if len(b) < 3 || b[0]&0x87 != byte(protowire.BytesType) || b[0] < 8 {
		return 0, 0
	}
	from, to = 2, 2+int(b[1])
	if b[1] >= 0x80 {
		from, to = 3, 3+int(b[1]&0x7f)+int(b[2])<<7
		if b[2] >= 0x80 {
			return 0, 0
		}
	}
	if to > len(b) {
		return 0, 0
	}
	return from, to
}

// is reports whether f is field num of type typ.
func (f *wireField) is(num protowire.Number, typ protowire.Type) bool {
	return f.num == num && f.typ == typ
}

// decodeProto decodes a PushRequest.
func (r *Request) decodeProto() error {
	for b := r.plain; len(b) > 0; {
		f, n := nextField(b)
		if n < 0 {
			return invalidf("the body is not a protobuf PushRequest: damaged at byte %d, after %d streams", len(r.plain)-len(b), len(r.Streams))
		}
		if f.is(pushStreams, protowire.BytesType) {
			if err := r.protoStream(f.bytes); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}

func (r *Request) protoStream(b []byte) error {
	var s Stream
	first := len(r.entries)
	for len(b) > 0 {
		f, n := nextField(b)
		switch {
		case n < 0:
			return r.damaged(first, "")
		case f.is(streamLabels, protowire.BytesType):
			if !utf8.Valid(f.bytes) {
				return r.damaged(first, "its labels are not valid UTF-8")
			}
			s.Text = alias.String(f.bytes)
		case f.is(streamEntries, protowire.BytesType):
			if err := r.protoEntry(f.bytes, first); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	s.Entries = r.entriesFrom(first)
	return r.addStream(s)
}

// damaged is the error for a stream that starts with entry number first of all.
func (r *Request) damaged(first int, why string) error {
	if why == "" {
		why = "the message is damaged"
	}
	return invalidf("stream %d of the protobuf PushRequest cannot be read after %d entries: %s", len(r.Streams)+1, len(r.entries)-first, why)
}

func (r *Request) protoEntry(b []byte, first int) error {
	var e ingester.Entry
	fields := len(r.fields)
	for len(b) > 0 {
		if from, to := bytesField(b); to > 0 {
			switch body := b[from:to]; b[0] >> 3 {
			case entryTimestamp:
				ns, ok := protoTime(body)
				if !ok {
					return r.damaged(first, "the timestamp is damaged or out of range")
				}
				e.Time = ns
			case entryLine:
				e.Line = body
			case entryMetadata:
				if err := r.protoPair(body, first); err != nil {
					return err
				}
			}
			b = b[to:]
			continue
		}
		f, n := nextField(b)
		switch {
		case n < 0:
			return r.damaged(first, "")
		case f.is(entryTimestamp, protowire.BytesType):
			ns, ok := protoTime(f.bytes)
			if !ok {
				return r.damaged(first, "the timestamp is damaged or out of range")
			}
			e.Time = ns
		case f.is(entryLine, protowire.BytesType):
			e.Line = f.bytes
		case f.is(entryMetadata, protowire.BytesType):
			if err := r.protoPair(f.bytes, first); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	e.Metadata = r.fieldsFrom(fields)
	return r.addEntry(e)
}

func protoTime(b []byte) (int64, bool) {
	var seconds, nanos int64
	// Both fields, in their order, is what nearly all have.
	if len(b) > 0 && b[0] == timestampSeconds<<3 {
		s, n := binary.Uvarint(b[1:])
		if rest := b[1+max(n, 0):]; n > 0 && len(rest) > 0 && rest[0] == timestampNanos<<3 {
			if ns, m := binary.Uvarint(rest[1:]); m > 0 && 1+m == len(rest) {
				return unixNano(int64(s), int64(int32(ns)))
			}
		}
	}
	for len(b) > 0 {
		f, n := nextField(b)
		switch {
		case n < 0:
			return 0, false
		case f.is(timestampSeconds, protowire.VarintType):
			seconds = int64(f.value)
		case f.is(timestampNanos, protowire.VarintType):
			nanos = int64(int32(f.value))
		}
		b = b[n:]
	}
	return unixNano(seconds, nanos)
}

func (r *Request) protoPair(b []byte, first int) error {
	var name, value []byte
	for len(b) > 0 {
		f, n := nextField(b)
		switch {
		case n < 0:
			return r.damaged(first, "")
		case f.is(pairName, protowire.BytesType):
			name = f.bytes
		case f.is(pairValue, protowire.BytesType):
			value = f.bytes
		}
		b = b[n:]
	}
	return r.addField(r.intern(name), value)
}
