package push

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"example.com/loki/ingester"
)

// encodeProto writes streams as a PushRequest.
func encodeProto(streams ...Stream) []byte {
	message := func(b []byte, num protowire.Number, body []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), body)
	}
	var out []byte
	for _, s := range streams {
		body := message(nil, streamLabels, []byte(s.Text))
		for _, e := range s.Entries {
			var t []byte
			t = protowire.AppendVarint(protowire.AppendTag(t, timestampSeconds, protowire.VarintType), uint64(e.Time/1e9))
			t = protowire.AppendVarint(protowire.AppendTag(t, timestampNanos, protowire.VarintType), uint64(e.Time%1e9))
			entry := message(nil, entryTimestamp, t)
			entry = message(entry, entryLine, e.Line)
			for _, f := range e.Metadata {
				entry = message(entry, entryMetadata, message(message(nil, pairName, []byte(f.Name)), pairValue, f.Value))
			}
			body = message(body, streamEntries, entry)
		}
		body = protowire.AppendVarint(protowire.AppendTag(body, 3, protowire.VarintType), 12345) // the hash
		out = message(out, pushStreams, body)
	}
	return out
}

// text prints a request for comparison.
func text(r *Request) string {
	var b strings.Builder
	for _, s := range r.Streams {
		fmt.Fprintf(&b, "%s%v\n", s.Text, s.Labels)
		for _, e := range s.Entries {
			fmt.Fprintf(&b, "  %d %q", e.Time, e.Line)
			for _, f := range e.Metadata {
				fmt.Fprintf(&b, " %s=%q", f.Name, f.Value)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func jsonBody(s string) Body {
	return Body{Reader: strings.NewReader(s), Length: int64(len(s)), ContentType: "application/json"}
}

func protoBody(b []byte) Body {
	z := snappy.Encode(nil, b)
	return Body{Reader: bytes.NewReader(z), Length: -1, ContentType: "application/x-protobuf"}
}

// mustDecode decodes with a new Decoder and returns the text of the request.
func mustDecode(t *testing.T, f func(*Decoder) (*Request, error)) string {
	t.Helper()
	d := NewDecoder(Limits{})
	r, err := f(d)
	if err != nil {
		t.Fatal(err)
	}
	s := text(r)
	r.Release()
	return s
}

// sample is a push like those of an agent: some streams, lines of 150 bytes, a little metadata.
func sample(streams, entries int) []Stream {
	var out []Stream
	for i := range streams {
		s := Stream{Text: fmt.Sprintf(`{app="api", env="prod", pod="api-%d"}`, i)}
		for j := range entries {
			line := fmt.Sprintf(`{"ts":"2026-01-01T00:01:13Z","level":"debug","msg":"cache \"lookup\" %d","method":"GET","path":"/v1/orders","status":200,"duration":"5.25s","size":"512B"}`, j)
			s.Entries = append(s.Entries, ingester.Entry{
				Time: 1767571200000000000 + int64(j), Line: []byte(line),
				Metadata: []ingester.Field{{Name: "trace_id", Value: fmt.Appendf(nil, "%016x", j)}, {Name: "user", Value: []byte("ann")}},
			})
		}
		out = append(out, s)
	}
	return out
}

func lineBytes(streams []Stream) (n int64) {
	for _, s := range streams {
		for _, e := range s.Entries {
			n += int64(len(e.Line))
		}
	}
	return n
}

// encodeJSON writes streams as JSON; labels are always the same.
func encodeJSON(streams []Stream) []byte {
	b := []byte(`{"streams":[`)
	for i, s := range streams {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `{"stream":{"app":"api","pod":"%d"},"values":[`, i)
		for j, e := range s.Entries {
			if j > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `["%d",`, e.Time)
			b = appendQuoted(b, e.Line)
			b = append(b, ",{"...)
			for k, f := range e.Metadata {
				if k > 0 {
					b = append(b, ',')
				}
				b = append(appendQuoted(b, []byte(f.Name)), ':')
				b = appendQuoted(b, f.Value)
			}
			b = append(b, "}]"...)
		}
		b = append(b, "]}"...)
	}
	return append(b, "]}"...)
}
