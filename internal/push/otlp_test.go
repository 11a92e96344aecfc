package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/limits"
)

func str(s string) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: s}}
}

func num(n int64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: n}}
}

func dbl(n float64) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_DoubleValue{DoubleValue: n}}
}

func list(v ...*common.AnyValue) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_ArrayValue{ArrayValue: &common.ArrayValue{Values: v}}}
}

func pairs(p ...*common.KeyValue) *common.AnyValue {
	return &common.AnyValue{Value: &common.AnyValue_KvlistValue{KvlistValue: &common.KeyValueList{Values: p}}}
}

func pair(k string, v *common.AnyValue) *common.KeyValue { return &common.KeyValue{Key: k, Value: v} }

// export is a message with everything that the mapping knows.
func export() *logs.LogsData {
	return &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{
		{
			Resource: &resource.Resource{Attributes: []*common.KeyValue{
				pair("service.name", str("cart")), pair("k8s.pod.name", str("cart-0")),
				pair("service.version", str("1.2")), pair("host", pairs(pair("name", str("h1")), pair("cpu", num(8)))),
			}},
			ScopeLogs: []*logs.ScopeLogs{
				{
					Scope: &common.InstrumentationScope{Name: "lib", Version: "0.1", Attributes: []*common.KeyValue{pair("s", str("t"))}, DroppedAttributesCount: 3},
					LogRecords: []*logs.LogRecord{{
						TimeUnixNano: 1767571200000000000, ObservedTimeUnixNano: 1767571200000000005,
						SeverityNumber: logs.SeverityNumber_SEVERITY_NUMBER_WARN2, SeverityText: "Warning",
						Body: str("hello"), DroppedAttributesCount: 2, Flags: 1, EventName: "ev",
						TraceId:    []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff},
						SpanId:     []byte{1, 2, 3, 4, 5, 6, 7, 8},
						Attributes: []*common.KeyValue{pair("a.b", pairs(pair("c", pairs(pair("d", str("deep")))))), pair("tags", list(str("x"), num(1), dbl(1.5), list(), pairs(), nil)), pair("ok", &common.AnyValue{Value: &common.AnyValue_BoolValue{BoolValue: true}})},
					}, {
						ObservedTimeUnixNano: 7,
						Body:                 pairs(pair("msg", str("a\"b\n\x01")), pair("n", dbl(1e21)), pair("raw", &common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte("hi")}})),
						TraceId:              make([]byte, 16),
					}},
				},
				{LogRecords: []*logs.LogRecord{{Body: num(-5)}}},
			},
		},
		{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{{TimeUnixNano: 9, Body: &common.AnyValue{Value: &common.AnyValue_BytesValue{BytesValue: []byte("hi")}}}}}}},
		{Resource: &resource.Resource{Attributes: []*common.KeyValue{pair("service.name", str("no records"))}}},
	}}
}

const exported = `[{service_name cart} {k8s_pod_name cart-0}]
  1767571200000000000 "hello" service.version="1.2" host_name="h1" host_cpu="8" scope_name="lib" scope_version="0.1" s="t" scope_dropped_attributes_count="3" severity_number="14" severity_text="Warning" a.b_c_d="deep" tags="[\"x\",1,1.5,[],{},null]" ok="true" dropped_attributes_count="2" flags="1" trace_id="000102030405060708090a0b0c0d0eff" span_id="0102030405060708" event_name="ev" observed_timestamp="1767571200000000005"
  7 "{\"msg\":\"a\\\"b\\n\\u0001\",\"n\":1e+21,\"raw\":\"aGk=\"}" service.version="1.2" host_name="h1" host_cpu="8" scope_name="lib" scope_version="0.1" s="t" scope_dropped_attributes_count="3"
  99 "-5" service.version="1.2" host_name="h1" host_cpu="8"
[]
  9 "aGk="
`

func defaults() *limits.OTLP { return &limits.OTLP{Labels: limits.DefaultOTLPLabels()} }

func decodeOTLP(d *Decoder, contentType string, b []byte) (*Request, error) {
	return d.OTLP(Body{Reader: bytes.NewReader(b), Length: -1, ContentType: contentType}, defaults(), time.Unix(0, 99))
}

func TestOTLPProto(t *testing.T) {
	b, err := proto.Marshal(export())
	if err != nil {
		t.Fatal(err)
	}
	got := mustDecode(t, func(d *Decoder) (*Request, error) { return decodeOTLP(d, "application/x-protobuf", b) })
	if sorted(got) != sorted(exported) {
		t.Errorf("got\n%swant\n%s", got, exported)
	}
}

// sorted makes the order of the fields of a record irrelevant: it is that of their numbers in protobuf,
// and any in JSON.
func sorted(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = sortBytes([]byte(l))
	}
	return strings.Join(lines, "\n")
}

func sortBytes(b []byte) string {
	var counts [256]int
	for _, c := range b {
		counts[c]++
	}
	var out strings.Builder
	for c, n := range counts {
		out.WriteString(strings.Repeat(string(rune(c)), n))
	}
	return out.String()
}

func TestOTLPJSON(t *testing.T) {
	b, err := protojson.Marshal(export())
	if err != nil {
		t.Fatal(err)
	}
	// protojson writes ids in base64, OTLP wants them in hexadecimal.
	s := strings.NewReplacer("AAECAwQFBgcICQoLDA0O/w==", "000102030405060708090A0b0c0d0eff", "AQIDBAUGBwg=", "0102030405060708",
		"AAAAAAAAAAAAAAAAAAAAAA==", "00000000000000000000000000000000").Replace(string(b))
	got := mustDecode(t, func(d *Decoder) (*Request, error) { return decodeOTLP(d, "application/json", []byte(s)) })
	if sorted(got) != sorted(exported) {
		t.Errorf("got\n%swant\n%s", got, exported)
	}
	b, err = protojson.MarshalOptions{UseProtoNames: true}.Marshal(&logs.LogsData{ResourceLogs: export().ResourceLogs[1:]})
	if err != nil {
		t.Fatal(err)
	}
	got = mustDecode(t, func(d *Decoder) (*Request, error) { return decodeOTLP(d, "application/json", b) })
	if want := "[]\n  9 \"aGk=\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOTLPJSONForms(t *testing.T) {
	record := func(fields string) string {
		return `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":1` + fields + `}]}]}]}`
	}
	for _, c := range []struct{ fields, want string }{
		{`,"timeUnixNano":"5"`, `5 ""`},
		{`,"severityNumber":"SEVERITY_NUMBER_ERROR3"`, `severity_number="19"`},
		{`,"severityNumber":17.0`, `severity_number="17"`},
		{`,"body":{"intValue":"9223372036854775807"}`, `1 "9223372036854775807"`},
		{`,"body":{"intValue":-3}`, `1 "-3"`},
		{`,"body":{"doubleValue":"NaN"}`, `1 "NaN"`},
		{`,"body":{"doubleValue":0.25}`, `1 "0.25"`},
		{`,"body":{"boolValue":false}`, `1 "false"`},
		{`,"body":null,"new":{"x":[1,{"y":2}]}`, `1 ""`},
		{`,"attributes":[{"key":"k","value":{"string_value":"\u00e9"}}]`, `k="é"`},
		{`,"attributes":[{"key":"k","value":{"stringValue":"` + strings.Repeat("x", 300) + `"}}]`, `k="` + strings.Repeat("x", 300) + `"`},
	} {
		got := mustDecode(t, func(d *Decoder) (*Request, error) {
			return decodeOTLP(d, "application/json", []byte(record(c.fields)))
		})
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.fields, got, c.want)
		}
	}
	for _, c := range []struct{ body, want string }{
		{record(`,"traceId":"xyz"`), "expected hexadecimal digits for traceId, found the string"},
		{record(`,"severityNumber":"LOUD"`), "expected an integer for severityNumber"},
		{record(`,"flags":"x"`), "expected an integer"},
		{record(`,"body":{"boolValue":1}`), "expected true or false"},
		{record(`,"body":{"bytesValue":"!"}`), "base64"},
		{record(`,"body":"text"`), "expected an object, found the string"},
		{`{"resourceLogs":{}}`, "expected an array for resourceLogs"},
		{`{} x`, "expected the end of the body"},
		{record(`,"body":` + strings.Repeat(`{"arrayValue":{"values":[`, 10000)), "nest deeper than"},
		{``, "expected an object"},
	} {
		_, err := decodeOTLP(NewDecoder(Limits{}), "application/json", []byte(c.body))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.100s: %v, want %q", c.body, err, c.want)
		}
	}
}

func TestOTLPNesting(t *testing.T) {
	deep := str("x")
	for range maxDepth + 2 {
		deep = list(deep)
	}
	deepPairs := pair("k", str("x"))
	for range maxDepth + 2 {
		deepPairs = pair("k", pairs(deepPairs))
	}
	for _, r := range []*logs.LogRecord{{Body: deep}, {Attributes: []*common.KeyValue{deepPairs}}} {
		b, err := proto.Marshal(&logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{ScopeLogs: []*logs.ScopeLogs{{LogRecords: []*logs.LogRecord{r}}}}}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeOTLP(NewDecoder(Limits{}), "application/x-protobuf", b); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "nest") {
			t.Errorf("got %v", err)
		}
	}
}

// Attributes of a resource are repeated for each of its records: that must not multiply memory.
func TestOTLPRepeatedAttributes(t *testing.T) {
	r := &logs.ResourceLogs{Resource: &resource.Resource{}, ScopeLogs: []*logs.ScopeLogs{{}}}
	for range 5000 {
		r.Resource.Attributes = append(r.Resource.Attributes, pair("k", str("v")))
		r.ScopeLogs[0].LogRecords = append(r.ScopeLogs[0].LogRecords, &logs.LogRecord{})
	}
	b, err := proto.Marshal(&logs.LogsData{ResourceLogs: []*logs.ResourceLogs{r}})
	if err != nil {
		t.Fatal(err)
	}
	d := NewDecoder(Limits{MaxDecompressed: 8 << 20})
	if _, err := decodeOTLP(d, "application/x-protobuf", b); !errors.Is(err, ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestOTLPStatus(t *testing.T) {
	contentType, b := OTLPStatus("application/json; charset=utf-8", 3, "bad \"x\"\xff")
	var s struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal(b, &s); err != nil || contentType != "application/json" || s.Code != 3 || s.Message != "bad \"x\"\uFFFD" {
		t.Errorf("%s %s: %v", contentType, b, err)
	}
	contentType, b = OTLPStatus("application/x-protobuf", 8, "x\xff")
	if want := "\x08\x08\x12\x04x\uFFFD"; contentType != "application/x-protobuf" || string(b) != want {
		t.Errorf("%s %q, want %q", contentType, b, want)
	}
}

func BenchmarkOTLP(b *testing.B) {
	data := &logs.LogsData{ResourceLogs: []*logs.ResourceLogs{{Resource: export().ResourceLogs[0].Resource, ScopeLogs: []*logs.ScopeLogs{{}}}}}
	n := 0
	for range 1000 {
		line := sample(1, 1)[0].Entries[0].Line
		n += len(line)
		data.ResourceLogs[0].ScopeLogs[0].LogRecords = append(data.ResourceLogs[0].ScopeLogs[0].LogRecords, &logs.LogRecord{
			TimeUnixNano: 1, SeverityNumber: 9, SeverityText: "INFO", Body: str(string(line)), TraceId: make([]byte, 16), Attributes: []*common.KeyValue{pair("user", str("ann"))},
		})
	}
	body, err := proto.Marshal(data)
	if err != nil {
		b.Fatal(err)
	}
	text, err := protojson.Marshal(data)
	if err != nil {
		b.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("AAAAAAAAAAAAAAAAAAAAAA=="), []byte("00000000000000000000000000000000"))
	for _, c := range []struct {
		name, contentType string
		body              []byte
	}{{"proto", "application/x-protobuf", body}, {"json", "application/json", text}} {
		b.Run(c.name, func(b *testing.B) {
			d := NewDecoder(Limits{})
			yardstick.Bytes(b, int64(n))
			for b.Loop() {
				r, err := decodeOTLP(d, c.contentType, c.body)
				if err != nil {
					b.Fatal(err)
				}
				r.Release()
			}
		})
	}
}
