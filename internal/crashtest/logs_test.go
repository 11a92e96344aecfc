package crashtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"example.com/loki/internal/crashtest/process"
)

// file is a log file whose lines lie a microsecond apart.
type file struct {
	name  string
	base  int64
	lines [][]byte // as they are, with carriage returns and whatever bytes
}

func readFiles(t *testing.T, dir string) []file {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	base := time.Now().Add(-time.Hour).Truncate(time.Second).UnixNano()
	var files []file
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(text, []byte("\n"))
		if n := len(lines) - 1; len(lines[n]) == 0 {
			lines = lines[:n]
		}
		files = append(files, file{name: filepath.Base(p), base: base, lines: lines})
	}
	return files
}

// encode makes the snappy-compressed protobuf body of a push of the lines from first to end.
func (f *file) encode(first, end int) []byte {
	var stream []byte
	stream = protowire.AppendTag(stream, 1, protowire.BytesType)
	stream = protowire.AppendString(stream, fmt.Sprintf(`{job="files", file=%q}`, f.name))
	for n := first; n < end; n++ {
		at := f.base + int64(n)*1000
		var ts, entry []byte
		ts = protowire.AppendTag(ts, 1, protowire.VarintType)
		ts = protowire.AppendVarint(ts, uint64(at/1e9))
		ts = protowire.AppendTag(ts, 2, protowire.VarintType)
		ts = protowire.AppendVarint(ts, uint64(at%1e9))
		entry = protowire.AppendTag(entry, 1, protowire.BytesType)
		entry = protowire.AppendBytes(entry, ts)
		entry = protowire.AppendTag(entry, 2, protowire.BytesType)
		entry = protowire.AppendBytes(entry, f.lines[n])
		stream = protowire.AppendTag(stream, 2, protowire.BytesType)
		stream = protowire.AppendBytes(stream, entry)
	}
	body := protowire.AppendTag(nil, 1, protowire.BytesType)
	body = protowire.AppendBytes(body, stream)
	return snappy.Encode(nil, body)
}

func (f *file) push(t *testing.T, base string) {
	t.Helper()
	const batch = 500
	for first := 0; first < len(f.lines); first += batch {
		body := f.encode(first, min(first+batch, len(f.lines)))
		status, answer, err := process.Do(t.Context(), http.MethodPost, base+"/loki/api/v1/push", "application/x-protobuf", body)
		if err != nil || status != http.StatusNoContent {
			t.Fatalf("push %s from line %d = %d, %v: %.500s", f.name, first, status, err, answer)
		}
	}
}

// check demands that the server has the lines of the file, byte for byte and in order.
func (f *file) check(t *testing.T, base, when string) {
	t.Helper()
	const page = 1000
	for first := 0; first < len(f.lines); first += page {
		end := min(first+page, len(f.lines))
		params := url.Values{
			"query": {fmt.Sprintf(`{file=%q}`, f.name)}, "direction": {"forward"}, "limit": {strconv.Itoa(page)},
			"start": {strconv.FormatInt(f.base+int64(first)*1000, 10)}, "end": {strconv.FormatInt(f.base+int64(end)*1000, 10)},
		}
		status, body, err := process.Do(t.Context(), http.MethodGet, base+"/loki/api/v1/query_range?"+params.Encode(), "", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s, %s: query = %d, %v: %.500s", f.name, when, status, err, body)
		}
		got := make([][]byte, end-first)
		for _, v := range values(t, body) {
			at, err := strconv.ParseInt(string(unquote(v[0])), 10, 64)
			n := int((at-f.base)/1000) - first
			if err != nil || n < 0 || n >= len(got) || got[n] != nil {
				t.Fatalf("%s, %s: an entry that should not be there: %s", f.name, when, v[0])
			}
			got[n] = unquote(v[1])
		}
		for i, g := range got {
			if g == nil {
				t.Fatalf("%s, %s: line %d is missing", f.name, when, first+i+1)
			}
			if want := f.lines[first+i]; !bytes.Equal(g, want) {
				at := difference(g, want)
				t.Fatalf("%s, %s: line %d differs from byte %d on:\n got %.100q\nwant %.100q", f.name, when, first+i+1, at, g[at:], want[at:])
			}
		}
	}
}

// values returns the entries of an answer without decoding their texts.
func values(t *testing.T, body []byte) [][2]json.RawMessage {
	t.Helper()
	var res struct {
		Data struct {
			Result []struct{ Values [][2]json.RawMessage }
		}
	}
	if err := json.Unmarshal(body, &res); err != nil {
		t.Fatal(err)
	}
	var all [][2]json.RawMessage
	for _, s := range res.Data.Result {
		all = append(all, s.Values...)
	}
	return all
}

// unquote decodes a JSON text that may hold any bytes. encoding/json would replace those that are not
// UTF-8.
func unquote(raw json.RawMessage) []byte {
	s := raw[1 : len(raw)-1]
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			out = append(out, '\n')
		case 't':
			out = append(out, '\t')
		case 'r':
			out = append(out, '\r')
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'u':
			r := hex(s[i+1 : i+5])
			i += 4
			if utf16.IsSurrogate(r) && i+6 < len(s) && s[i+1] == '\\' && s[i+2] == 'u' {
				r = utf16.DecodeRune(r, hex(s[i+3:i+7]))
				i += 6
			}
			out = utf8.AppendRune(out, r)
		default:
			out = append(out, s[i])
		}
	}
	return out
}

func hex(s []byte) rune {
	n, _ := strconv.ParseUint(string(s), 16, 32) // the JSON decoder has checked it
	return rune(n)
}

func difference(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// TestOddLines uses a file with what breaks log stores: no UTF-8, zero bytes, carriage returns, empty
// lines, colours, a line of 200 kB.
func TestOddLines(t *testing.T) { testFiles(t, "testdata") }

// TestLogFiles uses real log files.
func TestLogFiles(t *testing.T) {
	if *logs == "" {
		t.Skip("name a folder of log files with -logs.dir or LOKI_TEST_LOGS")
	}
	testFiles(t, *logs)
}

// testFiles pushes files and finds them again wherever the engine keeps them.
func testFiles(t *testing.T, dir string) {
	files := readFiles(t, dir)
	if len(files) == 0 {
		t.Fatalf("%s holds no *.log", dir)
	}
	data := t.TempDir()
	args := append(flags(data), "-distributor.max-line-size=0")
	p := process.Start(t, server, args...)
	checkAll := func(when string) {
		t.Helper()
		for i := range files {
			files[i].check(t, p.URL, when)
		}
	}
	restart := func() {
		t.Helper()
		if code, err := p.Terminate(); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v:\n%s", code, err, p.Output())
		}
	}

	for i := range files {
		files[i].push(t, p.URL)
	}
	checkAll("after the push")
	restart()
	p = process.Start(t, server, args...)
	checkAll("after a restart before the flush")
	if status, body, err := process.Do(t.Context(), http.MethodPost, p.URL+"/flush", "", nil); err != nil || status >= 300 {
		t.Fatalf("flush = %d, %v: %s", status, err, body)
	}
	checkAll("after the flush")
	restart()
	if err := os.RemoveAll(filepath.Join(data, "catalog")); err != nil {
		t.Fatal(err)
	}
	p = process.Start(t, server, args...)
	checkAll("after the catalog's cache was deleted")
	for i := range files { // once more: identical entries are one
		files[i].push(t, p.URL)
	}
	checkAll("after the same push again")
	restart()
}

func TestUnquote(t *testing.T) {
	for in, want := range map[string]string{
		`"a\n\t\r\"\\\/\b\f"`:  "a\n\t\r\"\\/\b\f",
		`"\u0000\u00e4\u20ac"`: "\x00ä€",
		`"\ud83d\ude00x"`:      "😀x",
		"\"\xff\xfe\"":         "\xff\xfe",
	} {
		if got := string(unquote(json.RawMessage(in))); got != want {
			t.Errorf("unquote(%s) = %q, want %q", in, got, want)
		}
	}
}
