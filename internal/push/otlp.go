package push

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"example.com/loki/ingester"
	"example.com/loki/internal/alias"
	"example.com/loki/limits"
)

// OTLP decodes an export of OpenTelemetry logs, protobuf or JSON by its content type.
//
// Each resource becomes a stream. What rules say becomes of attributes of resource, scope and record: by default those that name
// a service or a place are labels, and everything else is structured metadata of the entries, as are the fields of scope and record. Nested attributes are flattened, with "_" between the
// names; arrays are kept as JSON. The line is the body, as JSON if it is no string. The time is
// that of the record, else when it was observed, else now.
//
// A body without records gives a request without streams.
func (d *Decoder) OTLP(b Body, rules *limits.OTLP, now time.Time) (*Request, error) {
	media, err := mediaType(b.ContentType)
	if err != nil {
		return nil, err
	}
	isJSON := media == "application/json"
	if !isJSON && media != "application/x-protobuf" {
		return nil, invalidf("Content-Type %q not supported: send application/x-protobuf or application/json", media)
	}
	r := d.newRequest()
	err = r.read(b, encodingsOTLP, false)
	if err == nil && isJSON {
		err = r.transcodeOTLP()
	}
	if err == nil {
		o := otlp{r: r, rules: rules, now: now.UnixNano()}
		err = o.export(r.plain)
	}
	if err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

// Field numbers of the messages of OTLP.
const (
	exportResourceLogs = 1

	resourceLogsResource = 1
	resourceLogsScopes   = 2

	resourceAttributes = 1

	scopeLogsScope   = 1
	scopeLogsRecords = 2

	scopeName       = 1
	scopeVersion    = 2
	scopeAttributes = 3
	scopeDropped    = 4

	recordTime       = 1
	recordSeverity   = 2
	recordSevText    = 3
	recordBody       = 5
	recordAttributes = 6
	recordDropped    = 7
	recordFlags      = 8
	recordTraceID    = 9
	recordSpanID     = 10
	recordObserved   = 11
	recordEventName  = 12

	pairKey = 1

	anyString = 1
	anyBool   = 2
	anyInt    = 3
	anyDouble = 4
	anyArray  = 5
	anyPairs  = 6
	anyBytes  = 7

	listValues = 1
)

// otlp decodes one export.
type otlp struct {
	r     *Request
	rules *limits.OTLP
	now   int64

	shared     []ingester.Field // metadata of the resource and the scope, which all their records get
	severity   string           // of the record that is being read, where it is a label
	severities []string         // of the records of the resource, where they are labels

	name []byte // scratch
	json []byte // scratch
}

// errDamaged returns the error for a message that cannot be read.
func errDamaged() error {
	return invalidf("the body is not a protobuf ExportLogsServiceRequest: a message in it is damaged")
}

// eachField calls f for the fields of a message.
func eachField(b []byte, f func(wireField) error) error {
	for len(b) > 0 {
		field, n := nextField(b)
		if n < 0 {
			return errDamaged()
		}
		if err := f(field); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (o *otlp) export(b []byte) error {
	return eachField(b, func(f wireField) error {
		if f.is(exportResourceLogs, protowire.BytesType) {
			return o.resourceLogs(f.bytes)
		}
		return nil
	})
}

func (o *otlp) resourceLogs(b []byte) error {
	labels, entries := len(o.r.labels), len(o.r.entries)
	o.shared, o.severities = o.shared[:0], o.severities[:0]
	// A resource may stand behind its records.
	err := eachField(b, func(f wireField) error {
		if !f.is(resourceLogsResource, protowire.BytesType) {
			return nil
		}
		return eachField(f.bytes, func(f wireField) error {
			if f.is(resourceAttributes, protowire.BytesType) {
				return o.attribute(f.bytes, o.resourceAttribute)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	ofResource := len(o.shared)
	err = eachField(b, func(f wireField) error {
		if !f.is(resourceLogsScopes, protowire.BytesType) {
			return nil
		}
		o.shared = o.shared[:ofResource]
		return o.scopeLogs(f.bytes)
	})
	if err != nil || len(o.r.entries) == entries {
		return err
	}
	set := o.r.labelsFrom(labels)
	if set == nil {
		set = LabelSet{}
	}
	if o.rules.SeverityTextAsLabel {
		return o.bySeverity(set, o.r.entriesFrom(entries))
	}
	return o.r.addStream(Stream{Labels: set, Entries: o.r.entriesFrom(entries)})
}

// bySeverity adds a stream for each severity of the entries of a resource.
func (o *otlp) bySeverity(set LabelSet, entries []ingester.Entry) error {
	done := map[string]bool{}
	for _, severity := range o.severities {
		if done[severity] {
			continue
		}
		done[severity] = true
		labels, own := len(o.r.labels), len(o.r.entries)
		for _, l := range set {
			if err := o.r.addLabel(l.Name, l.Value); err != nil {
				return err
			}
		}
		if severity != "" {
			if err := o.r.addLabel("severity_text", severity); err != nil {
				return err
			}
		}
		for i, e := range entries {
			if o.severities[i] != severity {
				continue
			}
			if err := o.r.addEntry(e); err != nil {
				return err
			}
		}
		stream := Stream{Labels: o.r.labelsFrom(labels), Entries: o.r.entriesFrom(own)}
		if stream.Labels == nil {
			stream.Labels = LabelSet{}
		}
		if err := o.r.addStream(stream); err != nil {
			return err
		}
	}
	return nil
}

// action returns what becomes of an attribute, otherwise where no rule names it.
func (o *otlp) action(rules []limits.OTLPRule, name, otherwise string) string {
	for i := range rules {
		r := &rules[i]
		if slices.Contains(r.Attributes, name) || r.Regex != "" && o.r.decoder.matches(r.Regex, name) {
			return r.Action
		}
	}
	return otherwise
}

// matches tells whether a regular expression matches all of a name.
func (d *Decoder) matches(pattern, name string) bool {
	v, ok := d.patterns.Load(pattern)
	if !ok {
		re, err := regexp.Compile("^(?s:" + pattern + ")$")
		if err != nil {
			re = nil // who has checked the configuration has said so
		}
		v, _ = d.patterns.LoadOrStore(pattern, re)
	}
	re := v.(*regexp.Regexp)
	return re != nil && re.MatchString(name)
}

func (o *otlp) scopeLogs(b []byte) error {
	err := eachField(b, func(f wireField) error {
		if f.is(scopeLogsScope, protowire.BytesType) {
			return o.scope(f.bytes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return eachField(b, func(f wireField) error {
		if f.is(scopeLogsRecords, protowire.BytesType) {
			return o.record(f.bytes)
		}
		return nil
	})
}

func (o *otlp) scope(b []byte) error {
	return eachField(b, func(f wireField) error {
		switch {
		case f.is(scopeName, protowire.BytesType):
			return o.share("scope_name", f.bytes)
		case f.is(scopeVersion, protowire.BytesType):
			return o.share("scope_version", f.bytes)
		case f.is(scopeAttributes, protowire.BytesType):
			return o.attribute(f.bytes, o.scopeAttribute)
		case f.is(scopeDropped, protowire.VarintType):
			return o.number(f.value, "scope_dropped_attributes_count", o.share)
		}
		return nil
	})
}

// share adds metadata for all records of the resource or scope.
func (o *otlp) share(name string, value []byte) error {
	if len(value) == 0 {
		return nil
	}
	if len(o.shared) == cap(o.shared) {
		if err := o.r.reserve(int64(len(o.shared)+8) * fieldSize); err != nil {
			return err
		}
	}
	o.shared = append(o.shared, ingester.Field{Name: name, Value: value})
	return nil
}

// resourceAttribute puts an attribute of a resource where it belongs. The values of labels must be
// valid UTF-8: the distributor refuses others.
func (o *otlp) resourceAttribute(name string, value []byte) error {
	otherwise := limits.OTLPMetadata
	if !o.rules.IgnoreLabels && slices.Contains(o.rules.Labels, name) {
		otherwise = limits.OTLPLabel
	}
	switch o.action(o.rules.Resource, name, otherwise) {
	case limits.OTLPLabel:
		return o.r.addLabel(CleanName(name), alias.String(value))
	case limits.OTLPDrop:
		return nil
	}
	return o.share(name, value)
}

func (o *otlp) scopeAttribute(name string, value []byte) error {
	if o.action(o.rules.Scope, name, limits.OTLPMetadata) == limits.OTLPDrop {
		return nil
	}
	return o.share(name, value)
}

func (o *otlp) recordAttribute(name string, value []byte) error {
	if o.action(o.rules.Log, name, limits.OTLPMetadata) == limits.OTLPDrop {
		return nil
	}
	return o.field(name, value)
}

func (o *otlp) record(b []byte) error {
	var e ingester.Entry
	var observed uint64
	var body []byte
	o.severity = ""
	from := len(o.r.fields)
	for _, f := range o.shared {
		if err := o.r.addField(f.Name, f.Value); err != nil {
			return err
		}
	}
	err := eachField(b, func(f wireField) error {
		switch {
		case f.is(recordTime, protowire.Fixed64Type):
			e.Time = int64(f.value)
		case f.is(recordObserved, protowire.Fixed64Type):
			observed = f.value
		case f.is(recordSeverity, protowire.VarintType):
			return o.number(f.value, "severity_number", o.field)
		case f.is(recordSevText, protowire.BytesType):
			if o.rules.SeverityTextAsLabel {
				o.severity = alias.String(f.bytes)
				return nil
			}
			return o.field("severity_text", f.bytes)
		case f.is(recordBody, protowire.BytesType):
			body = f.bytes
		case f.is(recordAttributes, protowire.BytesType):
			return o.attribute(f.bytes, o.recordAttribute)
		case f.is(recordDropped, protowire.VarintType):
			return o.number(f.value, "dropped_attributes_count", o.field)
		case f.is(recordFlags, protowire.Fixed32Type):
			return o.number(f.value, "flags", o.field)
		case f.is(recordTraceID, protowire.BytesType):
			return o.id(f.bytes, "trace_id")
		case f.is(recordSpanID, protowire.BytesType):
			return o.id(f.bytes, "span_id")
		case f.is(recordEventName, protowire.BytesType):
			return o.field("event_name", f.bytes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case e.Time == 0 && observed != 0:
		e.Time = int64(observed)
	case e.Time == 0:
		e.Time = o.now
	case observed != 0:
		if err := o.number(observed, "observed_timestamp", o.field); err != nil {
			return err
		}
	}
	if e.Line, err = o.text(body); err != nil {
		return err
	}
	e.Metadata = o.r.fieldsFrom(from)
	if o.rules.SeverityTextAsLabel {
		o.severities = append(o.severities, o.severity)
	}
	return o.r.addEntry(e)
}

// field adds metadata to the record that is being read.
func (o *otlp) field(name string, value []byte) error {
	if len(value) == 0 {
		return nil
	}
	return o.r.addField(name, value)
}

// number passes a number on as text, unless it is 0.
func (o *otlp) number(n uint64, name string, to func(string, []byte) error) error {
	if n == 0 {
		return nil
	}
	t, err := o.r.room(20)
	if err != nil {
		return err
	}
	return to(name, o.r.keep(strconv.AppendUint(t, n, 10)))
}

// id adds a trace or span id in hexadecimal, unless it is all zeros.
func (o *otlp) id(b []byte, name string) error {
	zero := true
	for _, c := range b {
		zero = zero && c == 0
	}
	if zero || len(b) > 64 {
		return nil
	}
	t, err := o.r.room(2 * len(b))
	if err != nil {
		return err
	}
	return o.field(name, o.r.keep(hex.AppendEncode(t, b)))
}

// attribute reads a KeyValue and passes on what it holds, flat.
func (o *otlp) attribute(b []byte, to func(string, []byte) error) error {
	o.name = o.name[:0]
	return o.flatten(b, 0, to)
}

// flatten passes on the values in a KeyValue, with names that begin with o.name.
func (o *otlp) flatten(b []byte, depth int, to func(string, []byte) error) error {
	if depth == maxDepth {
		return invalidf("attributes nest deeper than %d", maxDepth)
	}
	key, value, err := keyValue(b)
	if err != nil {
		return err
	}
	before := len(o.name)
	defer func() { o.name = o.name[:before] }()
	if before > 0 {
		o.name = append(o.name, '_')
	}
	o.name = append(o.name, key...)
	pairs, nested, err := nestedPairs(value)
	if err != nil {
		return err
	}
	if nested {
		return eachField(pairs, func(f wireField) error {
			if f.is(listValues, protowire.BytesType) {
				return o.flatten(f.bytes, depth+1, to)
			}
			return nil
		})
	}
	t, err := o.text(value)
	if err != nil {
		return err
	}
	return to(o.r.intern(o.name), t)
}

func keyValue(b []byte) (key, value []byte, err error) {
	err = eachField(b, func(f wireField) error {
		switch {
		case f.is(pairKey, protowire.BytesType):
			key = f.bytes
		case f.is(pairValue, protowire.BytesType):
			value = f.bytes
		}
		return nil
	})
	return key, value, err
}

// nestedPairs returns the KeyValueList in an AnyValue, if it is one.
func nestedPairs(b []byte) (pairs []byte, ok bool, err error) {
	err = eachField(b, func(f wireField) error {
		if ok = f.is(anyPairs, protowire.BytesType); ok {
			pairs = f.bytes
		}
		return nil
	})
	return pairs, ok, err
}

// text returns an AnyValue as text: strings as they are, bytes in base64, lists as JSON.
func (o *otlp) text(b []byte) ([]byte, error) {
	var text []byte
	err := eachField(b, func(f wireField) error {
		if f.is(anyString, protowire.BytesType) {
			text = f.bytes
			return nil
		}
		o.json = o.json[:0]
		if err := o.appendValue(f, 0, false); err != nil {
			return err
		}
		t, err := o.r.room(len(o.json))
		if err != nil {
			return err
		}
		text = o.r.keep(append(t, o.json...))
		return nil
	})
	return text, err
}

// appendValue appends a field of an AnyValue to o.json, strings and bytes in quotes if quote is set.
func (o *otlp) appendValue(f wireField, depth int, quote bool) error {
	if depth == maxDepth {
		return invalidf("values nest deeper than %d", maxDepth)
	}
	if int64(len(o.json)) > o.r.decoder.limits.MaxDecompressed {
		return &Error{ErrTooLarge, fmt.Sprintf("a value is larger than the limit of %d bytes when it is written as JSON", o.r.decoder.limits.MaxDecompressed)}
	}
	switch {
	case f.is(anyString, protowire.BytesType):
		o.json = appendQuoted(o.json, f.bytes)
	case f.is(anyBytes, protowire.BytesType):
		if quote {
			o.json = append(o.json, '"')
		}
		o.json = base64.StdEncoding.AppendEncode(o.json, f.bytes)
		if quote {
			o.json = append(o.json, '"')
		}
	case f.is(anyBool, protowire.VarintType):
		o.json = strconv.AppendBool(o.json, f.value != 0)
	case f.is(anyInt, protowire.VarintType):
		o.json = strconv.AppendInt(o.json, int64(f.value), 10)
	case f.is(anyDouble, protowire.Fixed64Type):
		o.json = appendFloat(o.json, math.Float64frombits(f.value), quote)
	case f.is(anyArray, protowire.BytesType):
		return o.appendList(f.bytes, '[', ']', func(b []byte) error { return o.appendAny(b, depth+1) })
	case f.is(anyPairs, protowire.BytesType):
		return o.appendList(f.bytes, '{', '}', func(b []byte) error {
			key, value, err := keyValue(b)
			if err != nil {
				return err
			}
			o.json = append(appendQuoted(o.json, key), ':')
			return o.appendAny(value, depth+1)
		})
	}
	return nil
}

func (o *otlp) appendList(b []byte, open, close byte, element func([]byte) error) error {
	o.json = append(o.json, open)
	first := true
	err := eachField(b, func(f wireField) error {
		if !f.is(listValues, protowire.BytesType) {
			return nil
		}
		if !first {
			o.json = append(o.json, ',')
		}
		first = false
		return element(f.bytes)
	})
	o.json = append(o.json, close)
	return err
}

// appendAny appends an AnyValue as JSON; one without a value is null.
func (o *otlp) appendAny(b []byte, depth int) error {
	before := len(o.json)
	err := eachField(b, func(f wireField) error {
		o.json = o.json[:before] // of several the last one counts
		return o.appendValue(f, depth, true)
	})
	if len(o.json) == before {
		o.json = append(o.json, "null"...)
	}
	return err
}

// appendFloat appends a number as JSON does. Those that JSON cannot write go in quotes.
func appendFloat(b []byte, v float64, quote bool) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		if quote {
			return strconv.AppendQuote(b, strconv.FormatFloat(v, 'g', -1, 64))
		}
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	}
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.AppendFloat(b, v, 'e', -1, 64)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}

// appendQuoted appends a JSON string; invalid UTF-8 becomes U+FFFD.
func appendQuoted(b, s []byte) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}

// room returns an empty slice with room for n bytes in the texts of the request. What is appended to
// it is kept by keep.
func (r *Request) room(n int) ([]byte, error) {
	if cap(r.text)-len(r.text) < n {
		size := max(4096, min(2*cap(r.text), 1<<20), n)
		if r.lists+int64(size) > r.decoder.limits.MaxDecompressed+8192 {
			return nil, tooLarge("what the push holds, written as text,", r.decoder.limits.MaxDecompressed)
		}
		if err := r.reserve(int64(size)); err != nil {
			return nil, err
		}
		r.lists += int64(size)
		r.text = make([]byte, 0, size) // texts made before stay where they are
	}
	return r.text[len(r.text) : len(r.text) : len(r.text)+n], nil
}

func (r *Request) keep(t []byte) []byte {
	r.text = r.text[:len(r.text)+len(t)]
	return t
}

// OTLPStatus returns a google.rpc.Status in the format of the request that it answers, and its content
// type.
func OTLPStatus(requestType string, code uint32, text string) (contentType string, message []byte) {
	if media, err := mediaType(requestType); err == nil && media == "application/json" {
		message = append(message, `{"code":`...)
		message = strconv.AppendUint(message, uint64(code), 10)
		message = append(message, `,"message":`...)
		message = appendQuoted(message, []byte(text))
		return "application/json", append(message, '}')
	}
	message = protowire.AppendTag(message, 1, protowire.VarintType)
	message = protowire.AppendVarint(message, uint64(code))
	message = protowire.AppendTag(message, 2, protowire.BytesType)
	message = protowire.AppendString(message, string(appendValid(nil, text)))
	return "application/x-protobuf", message
}

// appendValid appends s with invalid UTF-8 replaced: protobuf strings must be valid.
func appendValid(b []byte, s string) []byte {
	for _, r := range s {
		b = utf8.AppendRune(b, r)
	}
	return b
}
