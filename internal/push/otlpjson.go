package push

import (
	"encoding/base64"
	"encoding/hex"
	"math"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"example.com/loki/internal/alias"
)

// JSON exports are rewritten as protobuf first, so that there is one mapping to streams. The result is
// never much larger than the JSON.

// kind is how a field of a message is written in JSON.
type kind uint8

const (
	kindMessage kind = iota
	kindString
	kindBytes    // base64
	kindHex      // ids: OTLP departs from protobuf's JSON here
	kindVarint   // a number, or a string that holds one
	kindFixed64  // the same
	kindFixed32  // the same
	kindDouble   // also "NaN", "Infinity", "-Infinity"
	kindBool     //
	kindSeverity // a number or a name
)

// jsonField is a field of a message.
type jsonField struct {
	name     string // in lowerCamelCase; snake_case is known too
	num      protowire.Number
	kind     kind
	repeated bool
	message  int // for kindMessage: one of the messages below
}

const (
	msgExport = iota
	msgResourceLogs
	msgResource
	msgScopeLogs
	msgScope
	msgRecord
	msgPair
	msgAny
	msgArray
	msgPairs
)

// fieldsOf lists the fields of a message that the mapping uses.
func fieldsOf(message int) []jsonField {
	switch message {
	case msgExport:
		return []jsonField{{"resourceLogs", exportResourceLogs, kindMessage, true, msgResourceLogs}}
	case msgResourceLogs:
		return []jsonField{{"resource", resourceLogsResource, kindMessage, false, msgResource}, {"scopeLogs", resourceLogsScopes, kindMessage, true, msgScopeLogs}}
	case msgResource:
		return []jsonField{{"attributes", resourceAttributes, kindMessage, true, msgPair}}
	case msgScopeLogs:
		return []jsonField{{"scope", scopeLogsScope, kindMessage, false, msgScope}, {"logRecords", scopeLogsRecords, kindMessage, true, msgRecord}}
	case msgScope:
		return []jsonField{
			{"name", scopeName, kindString, false, 0}, {"version", scopeVersion, kindString, false, 0},
			{"attributes", scopeAttributes, kindMessage, true, msgPair}, {"droppedAttributesCount", scopeDropped, kindVarint, false, 0},
		}
	case msgRecord:
		return []jsonField{
			{"timeUnixNano", recordTime, kindFixed64, false, 0}, {"observedTimeUnixNano", recordObserved, kindFixed64, false, 0},
			{"severityNumber", recordSeverity, kindSeverity, false, 0}, {"severityText", recordSevText, kindString, false, 0},
			{"body", recordBody, kindMessage, false, msgAny}, {"attributes", recordAttributes, kindMessage, true, msgPair},
			{"droppedAttributesCount", recordDropped, kindVarint, false, 0}, {"flags", recordFlags, kindFixed32, false, 0},
			{"traceId", recordTraceID, kindHex, false, 0}, {"spanId", recordSpanID, kindHex, false, 0},
			{"eventName", recordEventName, kindString, false, 0},
		}
	case msgPair:
		return []jsonField{{"key", pairKey, kindString, false, 0}, {"value", pairValue, kindMessage, false, msgAny}}
	case msgAny:
		return []jsonField{
			{"stringValue", anyString, kindString, false, 0}, {"boolValue", anyBool, kindBool, false, 0},
			{"intValue", anyInt, kindVarint, false, 0}, {"doubleValue", anyDouble, kindDouble, false, 0},
			{"arrayValue", anyArray, kindMessage, false, msgArray}, {"kvlistValue", anyPairs, kindMessage, false, msgPairs},
			{"bytesValue", anyBytes, kindBytes, false, 0},
		}
	case msgArray:
		return []jsonField{{"values", listValues, kindMessage, true, msgAny}}
	default:
		return []jsonField{{"values", listValues, kindMessage, true, msgPair}}
	}
}

// transcoder writes JSON as protobuf.
type transcoder struct {
	scanner
	out    []byte
	fields [msgPairs + 1][]jsonField
	depth  int
}

// transcodeOTLP replaces the JSON in r.plain by protobuf.
func (r *Request) transcodeOTLP() error {
	t := transcoder{scanner: scanner{buf: r.plain}}
	for m := range t.fields {
		t.fields[m] = fieldsOf(m)
	}
	if n := len(r.plain) - cap(r.raw); n > 0 {
		if err := r.reserve(int64(n)); err != nil {
			return err
		}
		r.raw = make([]byte, 0, len(r.plain))
	}
	t.out = r.raw[:0]
	if err := t.message(msgExport); err != nil {
		return err
	}
	if t.space() != 0 || t.pos < len(t.buf) {
		return t.expected("the end of the body")
	}
	r.plain, r.raw = t.out, r.plain
	return nil
}

func (t *transcoder) message(m int) error {
	// Attributes nest by five messages a level.
	if t.depth++; t.depth > 5*maxDepth {
		return invalidf("values nest deeper than %d at byte %d", maxDepth, t.pos)
	}
	defer func() { t.depth-- }()
	more, err := t.enter('{', "an object")
	for more && err == nil {
		if err = t.member(m); err == nil {
			more, err = t.next('{')
		}
	}
	return err
}

// member writes one field of a message. There are no closures on this path: they would be the most of
// its cost.
func (t *transcoder) member(m int) error {
	key, err := t.key()
	if err != nil {
		return err
	}
	for i := range t.fields[m] {
		if f := &t.fields[m][i]; sameName(f.name, key) {
			return t.field(f)
		}
	}
	_, err = t.skip()
	return err
}

// sameName reports whether key is the name in lowerCamelCase or in snake_case.
func sameName(name string, key []byte) bool {
	if len(key) < len(name) {
		return false
	}
	if name == string(key) {
		return true
	}
	i := 0
	for _, c := range []byte(name) {
		if c >= 'A' && c <= 'Z' {
			if i >= len(key) || key[i] != '_' {
				return false
			}
			i++
			c |= 0x20
		}
		if i >= len(key) || key[i] != c {
			return false
		}
		i++
	}
	return i == len(key)
}

func (t *transcoder) field(f *jsonField) error {
	if t.space() == 'n' && t.word("null") {
		return nil
	}
	if f.repeated {
		if t.space() != '[' {
			return t.expected("an array for " + f.name)
		}
		more, err := t.enter('[', "")
		for more && err == nil {
			if err = t.submessage(f); err == nil {
				more, err = t.next('[')
			}
		}
		return err
	}
	if f.kind == kindMessage {
		return t.submessage(f)
	}
	return t.value(f)
}

// submessage writes a message with its length in front, which is known only afterwards.
func (t *transcoder) submessage(f *jsonField) error {
	t.out = protowire.AppendTag(t.out, f.num, protowire.BytesType)
	at := len(t.out)
	t.out = append(t.out, 0)
	if err := t.message(f.message); err != nil {
		return err
	}
	n := len(t.out) - at - 1
	if n < 0x80 {
		t.out[at] = byte(n)
		return nil
	}
	extra := protowire.SizeVarint(uint64(n)) - 1
	for range extra {
		t.out = append(t.out, 0)
	}
	copy(t.out[at+1+extra:], t.out[at+1:at+1+n])
	protowire.AppendVarint(t.out[:at], uint64(n))
	return nil
}

func (t *transcoder) value(f *jsonField) error {
	t.space()
	start := t.pos
	want := ""
	switch f.kind {
	case kindString, kindBytes, kindHex:
		want = t.text(f)
	case kindBool:
		want = t.boolean(f)
	default:
		want = t.number(f)
	}
	if want == "" {
		return nil
	}
	t.pos = start // the error quotes what stands there
	return t.expected(want + " for " + f.name)
}

// text writes a field that JSON has as a string, or returns what was expected.
func (t *transcoder) text(f *jsonField) (want string) {
	b, err := t.str("")
	if err != nil {
		return "a string"
	}
	switch f.kind {
	case kindHex: // decoding in place: the text is longer
		n, err := hex.Decode(b, b)
		if err != nil {
			return "hexadecimal digits"
		}
		b = b[:n]
	case kindBytes:
		n, err := base64.StdEncoding.Decode(b, b)
		if err != nil {
			return "base64"
		}
		b = b[:n]
	}
	t.out = protowire.AppendTag(t.out, f.num, protowire.BytesType)
	t.out = protowire.AppendBytes(t.out, b)
	return ""
}

func (t *transcoder) boolean(f *jsonField) (want string) {
	b, err := t.scalar("")
	if err != nil || b[0] != 't' && b[0] != 'f' {
		return "true or false"
	}
	t.out = protowire.AppendTag(t.out, f.num, protowire.VarintType)
	t.out = protowire.AppendVarint(t.out, protowire.EncodeBool(b[0] == 't'))
	return ""
}

func (t *transcoder) number(f *jsonField) (want string) {
	var b []byte
	var err error
	if t.space() == '"' { // 64 bits do not fit a number of JSON
		b, err = t.str("")
	} else {
		b, err = t.scalar("")
	}
	if err != nil {
		return "a number"
	}
	if f.kind == kindDouble {
		v, err := strconv.ParseFloat(alias.String(b), 64)
		if err != nil {
			return "a number"
		}
		t.out = protowire.AppendTag(t.out, f.num, protowire.Fixed64Type)
		t.out = protowire.AppendFixed64(t.out, math.Float64bits(v))
		return ""
	}
	n, ok := uint64(0), false
	if f.kind == kindSeverity {
		n, ok = severityNumber(alias.String(b))
	}
	if !ok {
		n, ok = integer(alias.String(b))
	}
	if !ok {
		return "an integer"
	}
	switch f.kind {
	case kindFixed64:
		t.out = protowire.AppendTag(t.out, f.num, protowire.Fixed64Type)
		t.out = protowire.AppendFixed64(t.out, n)
	case kindFixed32:
		t.out = protowire.AppendTag(t.out, f.num, protowire.Fixed32Type)
		t.out = protowire.AppendFixed32(t.out, uint32(n))
	default:
		t.out = protowire.AppendTag(t.out, f.num, protowire.VarintType)
		t.out = protowire.AppendVarint(t.out, n)
	}
	return ""
}

// integer reads an integer of up to 64 bits, signed or not; 1e3 and 5.0 are integers too.
func integer(s string) (uint64, bool) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return uint64(n), true
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, true
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v != math.Trunc(v) || math.Abs(v) >= 1<<63 {
		return 0, false
	}
	return uint64(int64(v)), true
}

// severityNumber returns the number of a name such as SEVERITY_NUMBER_INFO2.
func severityNumber(name string) (uint64, bool) {
	name, ok := strings.CutPrefix(name, "SEVERITY_NUMBER_")
	if !ok {
		return 0, false
	}
	if name == "UNSPECIFIED" {
		return 0, true
	}
	n := uint64(1)
	for _, group := range [...]string{"TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"} {
		switch digit, ok := strings.CutPrefix(name, group); {
		case !ok:
		case digit == "":
			return n, true
		case len(digit) == 1 && digit[0] >= '2' && digit[0] <= '4':
			return n + uint64(digit[0]-'1'), true
		}
		n += 4
	}
	return 0, false
}
