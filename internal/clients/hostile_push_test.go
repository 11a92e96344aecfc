//go:build linux

package clients

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// bomb compresses size bytes of a JSON document whose first string does not end.
func bomb(t *testing.T, encoding string, size int) []byte {
	t.Helper()
	var out bytes.Buffer
	type writer interface {
		Write([]byte) (int, error)
		Close() error
	}
	var w writer
	var err error
	switch encoding {
	case "gzip":
		w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case "deflate":
		w, err = flate.NewWriter(&out, flate.BestSpeed)
	case "zstd":
		w, err = zstd.NewWriter(&out)
	case "lz4":
		w = lz4.NewWriter(&out)
	}
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("a"), 1<<20)
	_, _ = w.Write([]byte(`{"streams":[{"stream":{"a":"b"},"values":[["1","`))
	for range size >> 20 {
		if _, err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// field is a protobuf field that holds bytes.
func field(n int, content []byte) []byte {
	b := binary.AppendUvarint(nil, uint64(n)<<3|2)
	b = binary.AppendUvarint(b, uint64(len(content)))
	return append(b, content...)
}

// TestHostilePushes sends bodies that are not what they seem.
func TestHostilePushes(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds")
	}
	v := attack(t)
	now := fmt.Sprint(time.Now().UnixNano())
	stream := func(labels, rest string) []byte {
		return []byte(`{"streams":[{"stream":{` + labels + `},"values":[["` + now + `","x"` + rest + `]]}]}`)
	}
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	const M = 1 << 20
	liar := func(claim uint64, rest ...byte) []byte { return append(binary.AppendUvarint(nil, claim), rest...) }

	for _, s := range []shot{
		{"a body of 101 MiB", post(pushPath, jsonType, "", bytes.Repeat([]byte("a"), 101*M)), []int{413}},
		{"gzip bomb, JSON", post(pushPath, jsonType, "gzip", bomb(t, "gzip", 300*M)), []int{413}},
		{"deflate bomb, JSON", post(pushPath, jsonType, "deflate", bomb(t, "deflate", 300*M)), []int{413}},
		{"gzip bomb, OTLP", post(otlpPath, jsonType, "gzip", bomb(t, "gzip", 300*M)), []int{413}},
		{"zstd bomb, OTLP", post(otlpPath, protoType, "zstd", bomb(t, "zstd", 300*M)), []int{413}},
		{"lz4 bomb, OTLP", post(otlpPath, protoType, "lz4", bomb(t, "lz4", 300*M)), []int{413}},
		{"a gzip bomb below the limit", post(pushPath, jsonType, "gzip", bomb(t, "gzip", 250*M)), []int{400}},
		{"snappy that claims 4 GiB", post(pushPath, protoType, "", liar(1<<32-1, 0)), nil},
		{"snappy that claims 200 MiB", post(pushPath, protoType, "", liar(200*M, 0, 'a')), []int{400}},
		{"snappy bomb", post(pushPath, protoType, "", snappy.Encode(nil, bytes.Repeat([]byte("a"), 255*M))), []int{400}},
		{"zstd window of 2 GiB", post(otlpPath, protoType, "zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x03, 0, 0, 'a', 'b'}), nil},

		{"protobuf length of 2^63", post(pushPath, protoType, "", snappy.Encode(nil, []byte{0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})), []int{400}},
		{"protobuf groups, deep", post(pushPath, protoType, "", snappy.Encode(nil, bytes.Repeat([]byte{0x0b}, 10*M))), []int{400}},
		{"protobuf of 30 million streams", post(pushPath, protoType, "", snappy.Encode(nil, bytes.Repeat([]byte{0x0a, 0x00}, 30*M))), nil},
		{"protobuf of 30 million entries", post(pushPath, protoType, "", snappy.Encode(nil, field(1, append(field(1, []byte(`{a="b"}`)), bytes.Repeat([]byte{0x12, 0x00}, 30*M)...)))), nil},
		{"OTLP of 30 million empty resources", post(otlpPath, protoType, "", bytes.Repeat([]byte{0x0a, 0x00}, 30*M)), []int{204}},
		{"OTLP of 30 million records", post(otlpPath, protoType, "", field(1, field(2, bytes.Repeat([]byte{0x12, 0x00}, 30*M)))), nil},
		{"OTLP values, deep", post(otlpPath, protoType, "", deepValue(10_000)), nil},

		{"JSON, arrays 10 million deep", post(pushPath, jsonType, "", bytes.Repeat([]byte("["), 10*M)), []int{400}},
		{"JSON, objects deep in metadata", post(pushPath, jsonType, "", stream(`"a":"b"`, `,{"m":`+strings.Repeat(`{"a":`, M))), []int{400}},
		{"JSON of 30 million streams", post(pushPath, jsonType, "", []byte(`{"streams":[`+strings.Repeat("{},", 30*M)+`{}]}`)), nil},
		{"OTLP JSON, deep", post(otlpPath, jsonType, "", []byte(`{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":`+strings.Repeat(`{"arrayValue":{"values":[`, M))), []int{400}},
		{"a line that is a deep JSON object", post(pushPath, jsonType, "", stream(`"app":"deep"`, `],["`+now+`","`+strings.Repeat(`{\"a\":`, 20_000)+`"`)), []int{204}},
		{"broken UTF-8 in a label", post(pushPath, jsonType, "", stream("\"app\":\"\xff\xfe\"", "")), nil},
		{"broken UTF-8 in a label's name", post(pushPath, jsonType, "", stream("\"\xff\xfe\":\"x\"", "")), nil},
		{"NUL in a label", post(pushPath, protoType, "", snappy.Encode(nil, field(1, field(1, []byte("{a=\"\x00\"}"))))), []int{204}},

		{"10,000 labels", post(pushPath, jsonType, "", stream(many(10_000, `"l%d":"v"`), "")), []int{400}},
		{"a label of 1 MiB", post(pushPath, jsonType, "", stream(`"a":"`+strings.Repeat("x", M)+`"`, "")), []int{400}},
		{"a label name of 1 MiB", post(pushPath, jsonType, "", stream(`"`+strings.Repeat("x", M)+`":"x"`, "")), []int{400}},
		{"10,000 names of metadata", post(pushPath, jsonType, "", stream(`"a":"b"`, `,{`+many(10_000, `"m%d":"v"`)+`}`)), []int{400}},
		{"metadata of 10 MiB", post(pushPath, jsonType, "", stream(`"a":"b"`, `,{"m":"`+strings.Repeat("x", 10*M)+`"}`)), []int{400}},
		{"a line of 50 MiB", post(pushPath, jsonType, "", stream(`"a":"b"`, `],["`+now+`","`+strings.Repeat("x", 50*M)+`"`)), nil},
		{"100,000 streams", post(pushPath, jsonType, "", []byte(`{"streams":[`+many(100_000, `{"stream":{"app":"a%d"},"values":[["`+now+`","x"]]}`)+`]}`)), []int{429}},
		{"a content type of 100 KiB", post(pushPath, strings.Repeat("x", 100<<10), "", []byte("{}")), nil},
		{"encodings in each other", post(pushPath, jsonType, strings.Repeat("gzip, ", 1000)+"gzip", []byte("{}")), nil},
	} {
		v.fire(t, s)
	}
}

// deepValue is an OTLP record whose body is lists in lists.
func deepValue(depth int) []byte {
	value := field(1, []byte("x"))
	for range depth {
		value = field(5, field(1, value))
	}
	return field(1, field(2, field(2, field(5, value))))
}

// TestHostileTenants names tenants that would leave their folder.
func TestHostileTenants(t *testing.T) {
	t.Parallel()
	v := attack(t)
	for _, tenant := range []string{
		"..", ".", "../good", "../../etc", "good/..", "a/b", `a\b`, "/etc/passwd", "good|evil", "|", "a:b", "C:", "%2e%2e",
		strings.Repeat("a", 151), strings.Repeat("a", 60_000), "ü", "a b", "a\tb", "?", "good\u200b", "$HOME", "~", "{}",
	} {
		for _, req := range []request{
			post(pushPath, jsonType, "", pushBody(map[string]string{"a": "b"}, time.Now(), "x")),
			query(rangePath, "query", `{app="good"}`),
			query("/loki/api/v1/labels"),
		} {
			req.header = map[string]string{"Content-Type": req.header["Content-Type"], "X-Scope-OrgID": tenant}
			v.fire(t, shot{fmt.Sprintf("%.30q %s", tenant, req.path), req, []int{400}})
		}
	}
	v.fire(t, shot{"no tenant", request{method: http.MethodGet, path: "/loki/api/v1/labels", header: map[string]string{"X-Scope-OrgID": ""}}, []int{401}})
}

// TestHostileCrowd sends bombs at once: together they may not take more than the bound, and the good
// tenant must not notice.
func TestHostileCrowd(t *testing.T) {
	if os.Getenv("LOKI_CLIENTS") == "" {
		t.Skip("set LOKI_CLIENTS=1 to run it: it takes gigabytes")
	}
	v := attack(t)
	body := bomb(t, "gzip", 250<<20)
	lists := snappy.Encode(nil, bytes.Repeat([]byte{0x0a, 0x00}, 30<<20))
	var crowd sync.WaitGroup
	began := time.Now()
	for i := range 16 {
		crowd.Go(func() {
			req := post(pushPath, jsonType, "gzip", body)
			if i%2 == 1 {
				req = post(pushPath, protoType, "", lists)
			}
			req.header["X-Scope-OrgID"] = "evil"
			resp, answer, err := try(t, v.client, v.URL, req)
			if err != nil {
				t.Error(err)
			} else if resp.StatusCode/100 != 4 && resp.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("a bomb in a crowd = %d: %.200s", resp.StatusCode, answer)
			}
		})
	}
	crowd.Wait()
	peak := v.memory(t, "VmHWM")
	t.Logf("16 bombs at once took %v and %d MiB", time.Since(began), peak>>20)
	if peak > 4<<30 { // four times what the default lets all pushes together take
		t.Errorf("16 bombs at once took %d MiB, more than 4 GiB", peak>>20)
	}
}
