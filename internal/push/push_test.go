package push

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"example.com/loki/ingester"
	"example.com/loki/internal/bench/yardstick"
)

func TestProto(t *testing.T) {
	streams := []Stream{
		{Text: `{a="b"}`, Entries: []ingester.Entry{
			{Time: 1767571200000000001, Line: []byte("odd \xff\x00 bytes\r\n"), Metadata: []ingester.Field{{Name: "k", Value: []byte("v")}, {Name: "k2", Value: nil}}},
			{Time: 5, Line: bytes.Repeat([]byte("long"), 1000)},
		}},
		{Text: `{}`},
	}
	got := mustDecode(t, func(d *Decoder) (*Request, error) { return d.Push(protoBody(encodeProto(streams...))) })
	if want := text(&Request{Streams: streams}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// A push that is damaged anywhere is refused or decoded; it never panics.
func TestProtoDamaged(t *testing.T) {
	body := encodeProto(sample(2, 3)...)
	d := NewDecoder(Limits{})
	for i := range body {
		for _, b := range [][]byte{body[:i], append(append(bytes.Clone(body[:i]), body[i]^0xff), body[i+1:]...)} {
			r, err := d.Push(protoBody(b))
			if err == nil {
				r.Release()
			} else if !errors.Is(err, ErrInvalid) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
	if n := d.inflight.Load(); n != 0 {
		t.Errorf("%d bytes stay reserved", n)
	}
}

func TestJSON(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["-2","\u00e9\ud83d\ude00\ud83d\"\/\b\f\n\r\t\\",{"k":"\u0041","k2":""}]]}]}`,
			"[{a b}]\n  1 \"x\"\n  -2 \"é😀\uFFFD\\\"/\\b\\f\\n\\r\\t\\\\\" k=\"A\" k2=\"\"\n"},
		{" {\n\"other\" : [1,{\"x\":[]},\"\\\"]\"], \"streams\" : [ { \"x\" : {} , \"values\" : [ [ \"1\" , \"y\" , {} , [1,{}] , null ] ] , \"stream\" : {} } ] , \"z\":null } trailing",
			"[]\n  1 \"y\"\n"},
		{`{"streams":[{"stream":{"n":5,"f":1.5e3,"t":true,"z":null},"values":null}]}`, "[{n 5} {f 1.5e3} {t true} {z }]\n"},
		{`{"streams":null}`, ""},
		{`{"streams":[{"stream":{"a":"1"}}],"streams":[{"stream":{"a":"2"}}]}`, "[{a 2}]\n"},
		{"{\"streams\":[{\"values\":[[\"1\",\"raw \x01\n\xff\"]]}]}", "[]\n  1 \"raw \\x01\\n\\xff\"\n"},
	} {
		got := mustDecode(t, func(d *Decoder) (*Request, error) { return d.Push(jsonBody(c.body)) })
		if got != c.want {
			t.Errorf("%s\n got %q\nwant %q", c.body, got, c.want)
		}
	}
}

func TestJSONRefused(t *testing.T) {
	for _, c := range []struct{ body, want string }{
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x"],["2"`, `entry 2 of stream 1: expected "," or "]", found the end of the body`},
		{`{"streams":[{"stream":{"a":"b"},"values":[["9223372036854775808","x"]]}]}`, "expected a string of digits"},
		{`{"streams":[{"stream":{"a":"b"},"values":[[]]}]}`, "found an empty one"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","\x"]]}]}`, `the escape \x at byte`},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","\u12g4"]]}]}`, "four hexadecimal digits"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x`, "has no end"},
		{`{"streams":[{"stream":{"a":"b"},"values":[["1","x\`, "has no end"},
		{`{"streams":[{"stream":{"a":["b"]}}]}`, `expected a string for the label "a", found an array`},
		{`{"streams":[{"stream":{"a":"b"}},null]}`, "stream 2: expected an object"},
		{"{\"streams\":[{\"stream\":{\"a\":\"\xff\"}}]}", "not valid UTF-8"},
		{`{"a":` + strings.Repeat("[", 100000), "nest deeper than 64"},
		{`{"a":` + strings.Repeat(`{"a":`, 100000), "nest deeper than 64"},
		{`{"a":[1,}`, "expected a value"},
		{`{"a":{"b":1,}}`, "expected a name in quotes"},
		{`{"a":{"b" 1}}`, `expected ":"`},
		{`{"a":[1}`, `expected "," or "]"`},
	} {
		_, err := NewDecoder(Limits{}).Push(jsonBody(c.body))
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.80s: %v, want %q", c.body, err, c.want)
		}
	}
}

func TestPromPush(t *testing.T) {
	const body = `{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-01-01T00:00:00.5+01:00","line":"x"},{"line":"y","ts":"1970-01-01T00:00:00Z","other":1}]}]}`
	got := mustDecode(t, func(d *Decoder) (*Request, error) { return d.PromPush(jsonBody(body)) })
	if want := "{a=\"b\"}[]\n  1767222000500000000 \"x\"\n  0 \"y\"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, body := range []string{
		`{"streams":[{"labels":"{}","entries":[{"line":"x"}]}]}`,
		`{"streams":[{"labels":"{}","entries":[{"ts":"now","line":"x"}]}]}`,
		`{"streams":[{"labels":{},"entries":[]}]}`,
	} {
		if _, err := NewDecoder(Limits{}).PromPush(jsonBody(body)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func compress(t testing.TB, encoding string, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&out)
	case "deflate":
		w, _ = flate.NewWriter(&out, 6)
	case "zlib":
		w = zlib.NewWriter(&out)
	case "zstd":
		w, _ = zstd.NewWriter(&out)
	case "lz4":
		w = lz4.NewWriter(&out)
	case "snappy":
		return snappy.Encode(nil, b)
	default:
		return b
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestEncodings(t *testing.T) {
	const push = `{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}`
	const logs = `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},"timeUnixNano":"1"}]}]}]}`
	for _, c := range []struct {
		otlp             bool
		format, encoding string
		ok               bool
	}{
		{false, "", "", true}, {false, "", "identity", true}, {false, "gzip", "gzip", true}, {false, "gzip", "GZIP", true},
		{false, "deflate", "deflate", true}, {false, "zlib", "deflate", true},
		{false, "snappy", "snappy", true}, {false, "", "snappy", true},
		{false, "zstd", "zstd", false}, {false, "lz4", "lz4", false}, {false, "", "gzip", false}, {false, "gzip", "gzip, gzip", false},
		{true, "", "", true}, {true, "gzip", "gzip", true}, {true, "zstd", "zstd", true}, {true, "lz4", "lz4", true},
		{true, "deflate", "deflate", false}, {true, "snappy", "snappy", false}, {true, "", "zstd", false}, {true, "", "lz4", false},
	} {
		d := NewDecoder(Limits{})
		for range 3 { // decompressors are used again
			body, decode := push, d.Push
			if c.otlp {
				body, decode = logs, func(b Body) (*Request, error) { return d.OTLP(b, defaults(), time.Unix(5, 0)) }
			}
			r, err := decode(Body{Reader: bytes.NewReader(compress(t, c.format, []byte(body))), Length: -1, ContentType: "application/json", Encoding: c.encoding})
			if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("%+v: %v", c, err)
			}
			if err == nil {
				if r.Plain != len(body) || len(r.Streams) != 1 || string(r.Streams[0].Entries[0].Line) != "x" {
					t.Errorf("%+v: %d of %d bytes, %s", c, r.Plain, len(body), text(r))
				}
				r.Release()
			}
		}
		if n := d.inflight.Load(); n != 0 {
			t.Errorf("%+v: %d bytes stay reserved", c, n)
		}
	}
}

// zeros is a long body that compresses well.
type zeros struct{ n int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.n == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.n)
	clear(p[:n])
	z.n -= n
	return int(n), nil
}

func TestLimits(t *testing.T) {
	limits := Limits{MaxBody: 1 << 20, MaxDecompressed: 2 << 20}
	small := bytes.Repeat([]byte("{},"), 200_000)
	streams := append(append([]byte(`{"streams":[`), small[:len(small)-1]...), "]}"...)
	bomb := compress(t, "gzip", make([]byte, 8<<20))
	zbomb := compress(t, "zstd", make([]byte, 8<<20))
	lbomb := compress(t, "lz4", make([]byte, 8<<20))
	sbomb := snappy.Encode(nil, make([]byte, 4<<20))
	for _, c := range []struct {
		name string
		body Body
		otlp bool
		want string
	}{
		{"announced", Body{Reader: &zeros{}, Length: 2 << 20, ContentType: "application/json"}, false, "1048576"},
		{"endless", Body{Reader: &zeros{1 << 60}, Length: -1, ContentType: "application/json"}, false, "1048576"},
		{"gzip", Body{Reader: bytes.NewReader(bomb), Length: -1, ContentType: "application/json", Encoding: "gzip"}, false, "2097152"},
		{"gzip of snappy", Body{Reader: bytes.NewReader(bomb), Length: -1, ContentType: "application/x-protobuf", Encoding: "gzip"}, false, "limit"},
		{"snappy", Body{Reader: bytes.NewReader(sbomb), Length: -1, ContentType: "application/x-protobuf"}, false, "2097152"},
		{"zstd", Body{Reader: bytes.NewReader(zbomb), Length: -1, ContentType: "application/json", Encoding: "zstd"}, true, "2097152"},
		{"lz4", Body{Reader: bytes.NewReader(lbomb), Length: -1, ContentType: "application/json", Encoding: "lz4"}, true, "2097152"},
		{"streams", Body{Reader: bytes.NewReader(streams), Length: -1, ContentType: "application/json"}, false, "2097152"},
		{"proto streams", protoBody(bytes.Repeat([]byte{0x0a, 0x00}, 900_000)), false, "2097152"},
	} {
		d := NewDecoder(limits)
		decode := d.Push
		if c.otlp {
			decode = func(b Body) (*Request, error) { return d.OTLP(b, defaults(), time.Now()) }
		}
		if _, err := decode(c.body); !errors.Is(err, ErrTooLarge) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if n := d.inflight.Load(); n != 0 {
			t.Errorf("%s: %d bytes stay reserved", c.name, n)
		}
	}
}

// A snappy block that announces more than it can hold costs nothing.
func TestSnappyLie(t *testing.T) {
	d := NewDecoder(Limits{})
	_, err := d.Push(Body{Reader: bytes.NewReader([]byte{0xff, 0xff, 0xff, 0x7f, 0}), Length: -1, ContentType: "application/x-protobuf"})
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "announces") {
		t.Errorf("%v", err)
	}
}

func TestBusy(t *testing.T) {
	d := NewDecoder(Limits{MaxBody: 1 << 20, MaxDecompressed: 1 << 20, MaxInflight: 1})
	var held []*Request
	body := string(encodeJSON(sample(1, 2000)))
	for range 100 {
		r, err := d.Push(jsonBody(body))
		if err != nil {
			if !errors.Is(err, ErrBusy) {
				t.Fatal(err)
			}
			for _, r := range held {
				r.Release()
			}
			if r, err = d.Push(jsonBody(body)); err != nil {
				t.Fatalf("after release: %v", err)
			}
			r.Release()
			if n := d.inflight.Load(); n != 0 {
				t.Errorf("%d bytes stay reserved", n)
			}
			return
		}
		held = append(held, r)
	}
	t.Fatal("never busy")
}

// Small pushes find room when large ones have taken all that they may.
func TestRoomForSmallPushes(t *testing.T) {
	d := NewDecoder(Limits{})
	if largest := 2*d.limits.MaxDecompressed + d.limits.MaxBody; d.limits.inflightFor(largest) < largest {
		t.Errorf("a push of %d bytes never passes", largest)
	}
	d.inflight.Store(d.limits.inflightFor(1 << 30))
	if r, err := d.Push(jsonBody(string(encodeJSON(sample(1, 10))))); err != nil {
		t.Error(err)
	} else {
		r.Release()
	}
	if _, err := d.Push(jsonBody(string(encodeJSON(sample(1, 50000))))); !errors.Is(err, ErrBusy) {
		t.Errorf("a large push beside large ones: %v", err)
	}
	full := NewDecoder(Limits{})
	full.inflight.Store(full.limits.MaxInflight)
	if _, err := full.Push(jsonBody(string(encodeJSON(sample(1, 10))))); !errors.Is(err, ErrBusy) {
		t.Errorf("a small push when nothing is left: %v", err)
	}
}

func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "_a9": "_a9", "": "_", "9": "_9", "pod.name": "pod_name", "span-id": "span_id", "größe": "gr__e", "a\xffb": "a_b",
	} {
		if got := CleanName(in); got != want || !ValidName(got) {
			t.Errorf("CleanName(%q) = %q, want %q", in, got, want)
		}
	}
}

func BenchmarkProto(b *testing.B) {
	streams := sample(10, 500)
	z := snappy.Encode(nil, encodeProto(streams...))
	d := NewDecoder(Limits{})
	yardstick.Bytes(b, lineBytes(streams))
	for b.Loop() {
		r, err := d.Push(Body{Reader: bytes.NewReader(z), Length: int64(len(z)), ContentType: "application/x-protobuf"})
		if err != nil {
			b.Fatal(err)
		}
		r.Release()
	}
}

func BenchmarkJSON(b *testing.B) {
	streams := sample(10, 500)
	body := encodeJSON(streams)
	d := NewDecoder(Limits{})
	yardstick.Bytes(b, lineBytes(streams))
	for b.Loop() {
		r, err := d.Push(Body{Reader: bytes.NewReader(body), Length: int64(len(body)), ContentType: "application/json"})
		if err != nil {
			b.Fatal(err)
		}
		r.Release()
	}
}
