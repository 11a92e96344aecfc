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

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"example.com/loki"
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

func (f *file) time(n int) int64 { return f.base + int64(n)*1000 }

func (f *file) selector() string { return fmt.Sprintf(`{file=%q}`, f.name) }

// encode makes the snappy-compressed protobuf body of a push of the lines from first to end.
func (f *file) encode(first, end int) []byte {
	var stream []byte
	stream = protowire.AppendTag(stream, 1, protowire.BytesType)
	stream = protowire.AppendString(stream, fmt.Sprintf(`{job="files", file=%q}`, f.name))
	for n := first; n < end; n++ {
		at := f.time(n)
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

const page = 1000 // lines a query

// checkHTTP demands that a server has the lines of the file, in order. JSON can't carry bytes that are
// not UTF-8: each of them must come as U+FFFD. See checkBytes.
func (f *file) checkHTTP(t *testing.T, base, when string) {
	t.Helper()
	for first := 0; first < len(f.lines); first += page {
		end := min(first+page, len(f.lines))
		params := url.Values{
			"query": {f.selector()}, "direction": {"forward"}, "limit": {strconv.Itoa(page)},
			"start": {strconv.FormatInt(f.time(first), 10)}, "end": {strconv.FormatInt(f.time(end), 10)},
		}
		status, body, err := process.Do(t.Context(), http.MethodGet, base+"/loki/api/v1/query_range?"+params.Encode(), "", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("%s, %s: query = %d, %v: %.500s", f.name, when, status, err, body)
		}
		var res struct {
			Data struct {
				Result []struct{ Values [][2]string }
			}
		}
		if err := json.Unmarshal(body, &res); err != nil {
			t.Fatal(err)
		}
		found := map[int64]string{}
		for _, s := range res.Data.Result { // one for each detected level
			for _, v := range s.Values {
				at, err := strconv.ParseInt(v[0], 10, 64)
				if _, twice := found[at]; err != nil || twice {
					t.Fatalf("%s, %s: an entry that should not be there: %s", f.name, when, v[0])
				}
				found[at] = v[1]
			}
		}
		f.compare(t, when, first, end, found, func(line []byte) string { return string([]rune(string(line))) })
	}
}

// checkBytes demands that an engine in this process has the lines of the file, byte for byte.
func (f *file) checkBytes(t *testing.T, eng *loki.Engine) {
	t.Helper()
	for first := 0; first < len(f.lines); first += page {
		end := min(first+page, len(f.lines))
		found := map[int64]string{}
		span := loki.Between(time.Unix(0, f.time(first)), time.Unix(0, f.time(end)))
		for e, err := range eng.Query(t.Context(), f.selector(), span, loki.OldestFirst(), loki.Limit(page)) {
			if err != nil {
				t.Fatal(err)
			}
			found[e.Time.UnixNano()] = e.Text
		}
		f.compare(t, "in process", first, end, found, func(line []byte) string { return string(line) })
	}
}

// compare demands that the lines from first to end, as they look after shown, were found.
func (f *file) compare(t *testing.T, when string, first, end int, found map[int64]string, shown func([]byte) string) {
	t.Helper()
	for n := first; n < end; n++ {
		got, ok := found[f.time(n)]
		if !ok {
			t.Fatalf("%s, %s: line %d is missing", f.name, when, n+1)
		}
		if want := shown(f.lines[n]); got != want {
			at := difference(got, want)
			t.Fatalf("%s, %s: line %d differs from byte %d on:\n got %.100q\nwant %.100q", f.name, when, n+1, at, got[at:], want[at:])
		}
	}
	if len(found) != end-first {
		t.Fatalf("%s, %s: %d lines from line %d on, want %d", f.name, when, len(found), first+1, end-first)
	}
}

func difference(a, b string) int {
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
			files[i].checkHTTP(t, p.URL, when)
		}
	}
	stop := func() {
		t.Helper()
		if code, err := p.Terminate(); err != nil || code != 0 {
			t.Fatalf("exit code %d, %v:\n%s", code, err, p.Output())
		}
	}

	for i := range files {
		files[i].push(t, p.URL)
	}
	checkAll("after the push")
	stop()
	p = process.Start(t, server, args...)
	checkAll("after a restart before the flush")
	if status, body, err := process.Do(t.Context(), http.MethodPost, p.URL+"/flush", "", nil); err != nil || status >= 300 {
		t.Fatalf("flush = %d, %v: %s", status, err, body)
	}
	checkAll("after the flush")
	stop()
	if err := os.RemoveAll(filepath.Join(data, "catalog")); err != nil {
		t.Fatal(err)
	}
	p = process.Start(t, server, args...)
	checkAll("after the catalog's cache was deleted")
	for i := range files { // once more: identical entries are one
		files[i].push(t, p.URL)
	}
	checkAll("after the same push again")
	stop()

	eng, err := loki.Open(loki.Config{Dir: data}) // the server's folder, opened by a host
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	for i := range files {
		files[i].checkBytes(t, eng)
	}
}
