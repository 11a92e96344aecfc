package push

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// fuzzLimits keep each run small.
func fuzzLimits() Limits { return Limits{MaxBody: 1 << 20, MaxDecompressed: 1 << 20} }

// check decodes a body and demands that errors are for the client, memory is accounted for, and a
// second run gives the same.
func check(t *testing.T, decode func(*Decoder) (*Request, error)) {
	t.Helper()
	d := NewDecoder(fuzzLimits())
	var first string
	for i := range 2 {
		r, err := decode(d)
		var known *Error
		if err != nil && !errors.As(err, &known) {
			t.Fatalf("error of an unknown kind: %v", err)
		}
		got := ""
		if err == nil {
			got = text(r)
			r.Release()
		}
		if i == 0 {
			first = got
		} else if got != first {
			t.Fatalf("first %q, then %q", first, got)
		}
		if n := d.inflight.Load(); n != 0 {
			t.Fatalf("%d bytes stay reserved", n)
		}
	}
}

func FuzzProto(f *testing.F) {
	f.Add(encodeProto(sample(2, 2)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		z := snappy.Encode(nil, b)
		check(t, func(d *Decoder) (*Request, error) {
			return d.Push(Body{Reader: bytes.NewReader(z), Length: int64(len(z)), ContentType: "application/x-protobuf"})
		})
	})
}

func FuzzJSON(f *testing.F) {
	f.Add(encodeJSON(sample(2, 2)))
	f.Add([]byte(`{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-01-01T00:00:00.5+01:00","line":"x"}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, old := range []bool{false, true} {
			check(t, func(d *Decoder) (*Request, error) {
				return d.push(Body{Reader: bytes.NewReader(b), Length: -1, ContentType: "application/json"}, old)
			})
		}
	})
}

func FuzzOTLP(f *testing.F) {
	b, err := proto.Marshal(export())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	if b, err = protojson.Marshal(export()); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, contentType := range []string{"application/x-protobuf", "application/json"} {
			check(t, func(d *Decoder) (*Request, error) {
				return d.OTLP(Body{Reader: bytes.NewReader(b), Length: -1, ContentType: contentType}, defaults(), time.Unix(1, 0))
			})
		}
	})
}

func FuzzEncodings(f *testing.F) {
	for _, e := range []string{"gzip", "deflate", "zlib", "zstd", "lz4", "snappy"} {
		f.Add(compress(f, e, []byte(`{"streams":[]}`)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, e := range []string{"gzip", "deflate", "snappy"} {
			check(t, func(d *Decoder) (*Request, error) {
				return d.Push(Body{Reader: bytes.NewReader(b), Length: -1, ContentType: "application/json", Encoding: e})
			})
		}
		for _, e := range []string{"gzip", "zstd", "lz4"} {
			check(t, func(d *Decoder) (*Request, error) {
				return d.OTLP(Body{Reader: bytes.NewReader(b), Length: -1, ContentType: "application/json", Encoding: e}, defaults(), time.Unix(1, 0))
			})
		}
	})
}

// Strings are decoded as encoding/json does.
func FuzzString(f *testing.F) {
	f.Add("plain", "é\n\"\\/\u2028")
	f.Add(`\u0041\ud83d\ude00\ud83d`, "\x00\x1f😀")
	f.Fuzz(func(t *testing.T, raw, s string) {
		quoted, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range [][]byte{quoted, []byte(`"` + raw + `"`)} {
			var want string
			if json.Unmarshal(in, &want) != nil || !utf8.Valid(in) {
				continue // more is accepted here, such as raw control characters
			}
			sc := scanner{buf: bytes.Clone(in)}
			got, err := sc.str("")
			if err != nil || string(got) != want || sc.pos != len(in) {
				t.Errorf("%s: got %q and %v at %d, want %q", in, got, err, sc.pos, want)
			}
		}
	})
}
