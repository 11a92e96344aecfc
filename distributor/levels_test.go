package distributor

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/ingester"
	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/limits"
)

// TestLevelsRecorded compares with the levels that the reference found.
func TestLevelsRecorded(t *testing.T) {
	path := "testdata/levels.json"
	if p := os.Getenv("LEVELS"); p != "" {
		path = p
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Stream, Metadata map[string]string
		Line, Level      string
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		d, rec := newTest(t, open(), Config{})
		s := Stream{Labels: LabelSet{}, Entries: []ingester.Entry{{Time: 1, Line: []byte(c.Line)}}}
		for k, v := range c.Stream {
			s.Labels = append(s.Labels, Label{Name: k, Value: v})
		}
		for k, v := range c.Metadata {
			s.Entries[0].Metadata = append(s.Entries[0].Metadata, ingester.Field{Name: k, Value: []byte(v)})
		}
		if err := d.Push(tenantContext(t), &PushRequest{Streams: []Stream{s}}); err != nil {
			t.Fatal(err)
		}
		if got := rec.take()[0]; !strings.Contains(got, " detected_level="+c.Level) {
			t.Errorf("%v %q %v: got %s, want level %s", c.Stream, c.Line, c.Metadata, got, c.Level)
		}
	}
}

func TestLevelOfLine(t *testing.T) {
	f := newLevelFinder(limits.Default().LogLevelFields)
	for _, c := range []struct{ line, want string }{
		{"", "unknown"},
		{"e", "unknown"},
		{"err", "error"},
		{" err", "error"},
		{"xerr err", "error"},
		{"WARN", "warn"},
		{"warnings", "unknown"},
		{"ünerror", "unknown"},
		{"errör", "unknown"},
		{"“error”", "error"},
		{"größe ERROR", "error"},
		{"trace_id=5", "unknown"},
		{"a-fatal-b", "fatal"},
		{"level=notice msg=error", "error"},
		{`x level="WARN" y`, "warn"},
		{`msg="level=debug" lvl=warn`, "warn"},
		{`url=/?level=error&x=1 severity=info`, "info"},
		{`severity=info level=warn`, "warn"},
		{`{"severity":"info","level":"warn"}`, "warn"},
		{`{"log":{"level":"debug"},"msg":"error"}`, "debug"},
		{`{"x":{"level":"debug"},"severity":"fatal"}`, "fatal"},
		{`{"a":["level","x"],"level":"info"}`, "info"},
		{`{"a":"\"level\":\"error","level":"info"}`, "info"},
		{`{"level" : "info"}`, "info"},
		{`{"level":"info`, "info"},
		{`{"level":{"x":"error"}}`, "error"},
		{`{{{{`, "unknown"},
		{`{"`, "unknown"},
		{`level="`, "unknown"},
		{`level=`, "unknown"},
		{strings.Repeat("{", 100) + "error", "error"},
	} {
		if got := f.line([]byte(c.line)).String(); got != c.want {
			t.Errorf("level of %q = %s, want %s", c.line, got, c.want)
		}
	}
}

func TestLevelSources(t *testing.T) {
	f := newLevelFinder(limits.Default().LogLevelFields)
	field := func(n, v string) []ingester.Field { return []ingester.Field{{Name: n, Value: []byte(v)}} }
	for _, c := range []struct {
		labels labels.Labels
		fields []ingester.Field
		want   string
	}{
		{labels.FromStrings("level", "Warning"), field("level", "error"), "warn"},
		{labels.FromStrings("severity", "notice"), nil, "notice"},
		{labels.FromStrings("log_level", "dbg"), nil, "debug"},
		{labels.EmptyLabels(), field("severity_text", "Notice"), "Notice"},
		{labels.EmptyLabels(), field("log_level", "ERR"), "error"},
		{labels.EmptyLabels(), field("severity_number", "24"), "fatal"},
		{labels.EmptyLabels(), field("severity_number", "0"), "info"},
		{labels.EmptyLabels(), field("severity_number", "x"), "info"},
	} {
		var list []labels.Label
		c.labels.Range(func(l labels.Label) { list = append(list, l) })
		if got := string(f.find(f.fromLabels(list), c.fields, []byte("info"))); got != c.want {
			t.Errorf("level of %v %s = %s, want %s", c.labels, c.fields, got, c.want)
		}
	}
}

// Fields whose label name differs are found under both.
func TestLevelFieldNames(t *testing.T) {
	f := newLevelFinder([]string{"", ".größe.level"})
	if got := f.fromMetadata([]ingester.Field{{Name: "_gr__e_level", Value: []byte("warn")}}); string(got) != "warn" {
		t.Errorf("metadata: got %q", got)
	}
	if got := f.line([]byte("x=1 .größe.level=warn error")); got != levelWarn {
		t.Errorf("line: got %v", got)
	}
	if got := newLevelFinder(nil).line([]byte("level=warn error")); got != levelWarn {
		t.Errorf("no fields: got %v", got)
	}
}

var benchLines = []struct{ name, line string }{
	{"nginx", `192.168.1.20 - alice [01/Jan/2026:00:00:04 +0000] "POST /search?q=caf%C3%A9 HTTP/2.0" 503 10240 "https://shop.example/cart" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36" 0.120`},
	{"text", `Jan 01 00:07:21 gw1 sshd[4887]: Accepted publickey for deploy from 10.0.3.8 port 40022 ssh2: the quick brown fox jumps over the lazy dog and nothing more happens here`},
	{"java", `2026-01-01 00:04:55,888 WARN  [pool-1-thread-3] com.acme.billing.Billing - Invoice 4711 stored`},
	{"logfmt", `ts=2026-01-01T00:01:03Z level=info caller=pay.go:88 msg="payment accepted" amount=100 currency=CHF duration=900us size=1.5KiB customer=c-22 attempt=2`},
	{"logfmt-none", `ts=2026-01-01T00:01:03Z caller=pay.go:88 msg="payment accepted" amount=100 currency=CHF duration=900us size=1.5KiB customer=c-22 attempt=2`},
	{"json", `{"ts":"2026-01-01T00:01:13Z","level":"debug","msg":"cache lookup","method":"GET","path":"/v1/orders","status":200,"duration":"5.25s","size":"512B"}`},
	{"json-none", `{"ts":"2026-01-01T00:01:13Z","msg":"cache lookup","method":"GET","path":"/v1/orders","status":200,"duration":"5.25s","size":"512B","bytes":41605,"user":{"id":33,"name":"Zoe","tags":["a","b"]}}`},
}

func BenchmarkLevel(b *testing.B) {
	f := newLevelFinder(limits.Default().LogLevelFields)
	for _, c := range benchLines {
		b.Run(c.name, func(b *testing.B) {
			line := []byte(c.line)
			yardstick.Bytes(b, int64(len(line)))
			for b.Loop() {
				f.line(line)
			}
		})
	}
}

func FuzzLevel(f *testing.F) {
	finder := newLevelFinder(limits.Default().LogLevelFields)
	for _, c := range benchLines {
		f.Add([]byte(c.line))
	}
	f.Add([]byte(`{"a":{"lvl":"inf"},"b":"information error"}`))
	f.Add([]byte(`lvl="wrn" x=information dbg ünerr err`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if got, want := finder.line(line), plainLevel(finder, line); got != want {
			t.Errorf("level of %q = %v, want %v", line, got, want)
		}
	})
}

// plainLevel is the obvious form of levelFinder.line.
func plainLevel(f *levelFinder, line []byte) level {
	value := []byte(nil)
	if i := jsonStart(line); i >= 0 {
		value = f.json(line[i:])
	} else {
		value = f.logfmt(line)
	}
	if l := parseLevel(value); l != noLevel {
		return l
	}
	for i := range line {
		if l, end := levelWord(line, i); l != noLevel && speaks(end-i, l) {
			return l
		}
	}
	return levelUnknown
}
