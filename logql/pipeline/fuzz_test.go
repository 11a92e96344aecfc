package pipeline

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-logfmt/logfmt"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/syntax"
)

// rowWorker returns a worker that stands on a row with that line.
func rowWorker(t testing.TB, line string, stages ...syntax.Stage) *Worker {
	t.Helper()
	p, err := Compile(stages, Options{Group: syntax.Grouping{Without: true}, KeepLine: true})
	if err != nil {
		t.Fatal(err)
	}
	w := p.Worker()
	w.ctx = context.Background()
	w.batch = &column.Batch{Runs: []column.Run{{Stream: column.NewStream(labels.FromStrings("app", "x")), To: 1}}}
	w.startRun(0)
	w.startRow(0, 0)
	w.line = []byte(line)
	w.meta = true
	return w
}

// fields prints the labels that stages have made, and the error.
func (w *Worker) fields() string {
	var b strings.Builder
	for _, l := range w.labels.list[w.labels.streams:] {
		if !l.gone {
			fmt.Fprintf(&b, "%s=%q ", l.name, l.value)
		}
	}
	return b.String() + w.err
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		`{"a":1,"b":{"c":"x\n\u00e9","d":[1,{"e":"}"}]},"f":null,"g":true}`, `{"a":{"b":1,"c":{"d":2`, `{"a":1,"b":}`,
		`{"a":1,}`, ` {"a" : "b" } x`, `{"a":{"b":1}}`, `{"a":01,"a":2,"":3,"a.b":4}`, `{"a":[{]}`, `{"a":{"b":[}]}}`, `{"\u0061":1}`,
		`{"a":1{}`, `{"app":1,"app_extracted":2}`, `{"a":{},"b":{"":1}}`, `{"a":"\ud83d\ude00\ud83d"}`, `[1]`, ``,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		w := rowWorker(t, line, &syntax.JSONStage{})
		w.runners[0].run(w)
		fast := w.fields()

		v := rowWorker(t, line, &syntax.JSONStage{})
		r := v.runners[0].(*jsonRunner)
		r.left = r.limit
		if err := r.plain.parse(v, r, v.line); err != nil {
			v.setError(errJSON, err.Error(), true)
		}
		if plain := v.fields(); fast != plain {
			t.Errorf("json of %q = %s, the plain version says %s", line, fast, plain)
		}
	})
}

func FuzzJSONPath(f *testing.F) {
	f.Add(`{"a":{"b":[1,{"c":"x"}]},"d":null}`, `a.b[1].c`)
	f.Add(`[[1,2],{"a":"\n"}]`, `[1].a`)
	f.Add(`{"a b":{"c":1`, `["a b"].c`)
	f.Fuzz(func(t *testing.T, line, path string) {
		st, err := newJSONPathStage(&syntax.JSONStage{Fields: []syntax.Extraction{{Name: "v", Expression: path}, {Name: "w", Expression: "a"}}})
		if err != nil {
			t.Skip()
		}
		w := rowWorker(t, line)
		n := newNeeds()
		n.all = true
		st.prepare(n)
		st.runner(w).run(w)
		if trimmed := strings.TrimSpace(line); !json.Valid([]byte(line)) || trimmed[0] != '{' && trimmed[0] != '[' || w.err != "" {
			return
		}
		steps, _ := syntax.ParsePath(path)
		want := ""
		if v, ok := lookUp(json.RawMessage(line), steps); ok {
			var s *string
			if json.Unmarshal(v, &s) != nil { // not a string
				want = strings.TrimSpace(string(v))
			} else if s != nil {
				want = *s
			}
		}
		if got, _ := w.labels.get("v"); strings.ToValidUTF8(got, "\uFFFD") != strings.ToValidUTF8(want, "\uFFFD") {
			t.Errorf("%s of %q = %q, want %q", path, line, got, want)
		}
	})
}

// lookUp finds a value by encoding/json; of duplicate keys the first counts.
func lookUp(v json.RawMessage, steps []syntax.PathStep) (json.RawMessage, bool) {
	for _, step := range steps {
		d := json.NewDecoder(bytes.NewReader(v))
		open, err := d.Token()
		want := json.Delim('{')
		if step.Index >= 0 {
			want = '['
		}
		if err != nil || open != want {
			return nil, false
		}
		found := false
		for i := 0; !found && d.More(); i++ {
			var key json.Token
			if want == '{' {
				key, _ = d.Token()
			}
			if d.Decode(&v) != nil {
				return nil, false
			}
			found = want == '{' && key == step.Name || want == '[' && i == step.Index
		}
		if !found {
			return nil, false
		}
	}
	return v, true
}

func FuzzLogfmt(f *testing.F) {
	for _, s := range []string{
		`a=1 b="x y" c= d e="q\"\n"`, `=x a=1`, `a=b=c d=1`, `a="x`, `a"b=1 c=2`, `k = v`, "a=1\tb=2\x00c=3", `a="1"b="2"`, `é=1 a.b=2`,
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, line string, keepEmpty bool) {
		w := rowWorker(t, line, &syntax.LogfmtStage{Strict: true, KeepEmpty: keepEmpty})
		w.runners[0].run(w)
		if w.err != "" || !utf8.ValidString(line) || strings.ContainsAny(line, "\n\\") {
			return
		}
		// What is sound to us means the same to others.
		var want strings.Builder
		seen := map[string]bool{"app": true}
		d := logfmt.NewDecoder(strings.NewReader(line))
		for d.ScanRecord() {
			for d.ScanKeyval() {
				name := cleanName(string(d.Key()), true)
				if len(d.Value()) == 0 && !keepEmpty {
					continue
				}
				if name == "app" {
					name = "app_extracted"
				}
				if !seen[name] {
					seen[name] = true
					fmt.Fprintf(&want, "%s=%q ", name, d.Value())
				}
			}
		}
		if d.Err() == nil && w.fields() != want.String() {
			t.Errorf("logfmt of %q = %s, want %s", line, w.fields(), want.String())
		}
	})
}

func FuzzPatternFilter(f *testing.F) {
	f.Add("<_> - <_> end", "a - b end")
	f.Add("short", "err: short")
	f.Add("in<_>", "information")
	f.Add("", "")
	f.Add("a<_>a", "aaa")
	f.Fuzz(func(t *testing.T, pattern, line string) {
		if !utf8.ValidString(pattern) || !utf8.ValidString(line) {
			t.Skip()
		}
		test, err := newPatternTest(pattern)
		if err != nil {
			t.Skip()
		}
		parts, _ := syntax.ParseLinePattern(pattern)
		expr := "(?s)"
		if len(parts) == 0 {
			expr += `\A`
		}
		for _, p := range parts {
			if p.Name != "" {
				expr += ".+"
			} else {
				expr += regexp.QuoteMeta(p.Literal)
			}
		}
		expr += `\z`
		if got, want := test.match([]byte(line)), regexp.MustCompile(expr).MatchString(line); got != want {
			t.Errorf("|> %q on %q = %v, want %v", pattern, line, got, want)
		}
		checkLiterals(t, test, line)
	})
}

func FuzzRegexpPrefilter(f *testing.F) {
	for _, s := range [][2]string{
		{"(?i)error|warn", "an ERROR"}, {"GET|POST /x", "POST /x"}, {"^a.*b$", "axb"}, {"(?i)kelvin", "\u212aelvin"}, {"x(?i:e)rror", "xERROR"},
		{"a[bc]+d?", "abcb"}, {".*foo.*", "a\nfoo\n"}, {"(a|b)(c|d)e{2,}", "bdee"}, {"\ufffd", "\xff"}, {"(?i)größe", "GRÖSSE"}, {"(ab)+c*", "ab"},
		{"a|", "x"}, {"(?i)[a-c]x", "BX"}, {`\bfoo\b`, "a foo b"}, {"(?s).*a(?:b|c|).*", "a"}, {"[^a]b", "\xe2b"},
	} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, expr, line string) {
		if len(expr) > 200 {
			t.Skip()
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			t.Skip()
		}
		test, err := newRegexpTest(expr)
		if err != nil {
			t.Skip()
		}
		want := re.MatchString(line)
		if got := test.match([]byte(line)); got != want {
			t.Fatalf("%q on %q = %v, want %v", expr, line, got, want)
		}
		checkLiterals(t, test, line)
	})
}

// checkLiterals checks what a test says about its literals on a line.
func checkLiterals(t *testing.T, test lineTest, line string) {
	t.Helper()
	lower := make([]byte, len(line))
	lowerASCII(lower, []byte(line))
	has := func(n needle) bool {
		if n.fold {
			return bytes.Contains(lower, n.text)
		}
		return strings.Contains(line, string(n.text))
	}
	matches := test.match([]byte(line))
	any := len(test.any) == 0
	for _, n := range test.any {
		if len(n.text) == 0 {
			t.Errorf("empty needle among %v", test.any)
		}
		any = any || has(n)
	}
	if matches && !any {
		t.Errorf("%q matches but contains none of %v", line, test.any)
	}
	if test.exact && len(test.any) > 0 && any && !matches {
		t.Errorf("%q contains one of %v but doesn't match", line, test.any)
	}
	for _, n := range test.all {
		if matches && !has(n) {
			t.Errorf("%q matches but doesn't contain %q", line, n.text)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, s := range append(hostileTemplates,
		"{{.a}} {{ .b | upper | trunc 3 }}", `{{ range $i, $x := fromJson .json }}{{ $i }}={{ $x }}{{ end }}`, `{{ define "T" }}x{{ end }}{{ template "T" . }}`,
		`{{ regexReplaceAll "(a)" .a "${1}" }}`, `{{ __timestamp__ | date "2006" }}`, `{{ with .a }}{{ . }}{{ else }}{{ $.b }}{{ end }}`, `{{ printf "%*d" 5 7 }}`,
	) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, tmpl string) {
		st, err := newLineFormatStage(&syntax.LineFormatStage{Template: tmpl})
		if err != nil {
			t.Skip()
		}
		w := rowWorker(t, `{"a":1}`)
		w.labels.set("a", "aaa", fromParsed)
		w.labels.set("json", "[1,2,[3,4],{\"x\":5}]", fromParsed)
		begin := time.Now()
		st.runner(w).run(w)
		if d := time.Since(begin); d > 5*time.Second {
			t.Errorf("%q took %s", tmpl, d)
		}
		if len(w.line) > maxTemplateBytes {
			t.Errorf("%q made %d bytes", tmpl, len(w.line))
		}
	})
}

// hostileTemplates try to use much time or memory.
var hostileTemplates = []string{
	`{{ printf "%1000000000d" 1 }}`,
	`{{ printf "%*d" 1000000000 1 }}`,
	`{{ printf "%.1000000000f" 1.5 }}`,
	`{{ repeat 1000000000 "x" }}`,
	`{{ repeat 1000000000 "" }}`,
	`{{ repeat -1 "x" }}`,
	`{{ indent 1000000000 "x" }}`,
	`{{ alignLeft 1000000000 "x" }}`,
	`{{ alignRight 1000000000 "x" }}`,
	`{{ $x := repeat 1000000 "x" }}{{ $x }}{{ $x }}`,
	`{{ $x := repeat 1000000 "x" }}{{ replace "" $x $x }}`,
	`{{ $x := repeat 1000000 "x" }}{{ regexReplaceAll "" $x $x }}`,
	`{{ $x := repeat 1000000 "x" }}{{ regexReplaceAllLiteral "x" $x $x }}`,
	`{{ $x := "xxxxxxxxxx" }}` + strings.Repeat(`{{ $x = print $x $x }}`, 60),
	`{{ $x := "xxxxxxxxxx" }}` + strings.Repeat(`{{ $x = printf "%s%s" $x $x }}`, 60),
	`{{ $x := "xxxxxxxxxx" }}` + strings.Repeat(`{{ $x = printf "%[1]s%[1]s%[1]s" $x }}`, 60),
	`{{ $a := fromJson (printf "[%s0]" (repeat 10000 "0,")) }}{{ range $a }}{{ range $a }}{{ range $a }}{{ end }}{{ end }}{{ end }}`,
	`{{ define "T" }}{{ template "T" . }}{{ end }}{{ template "T" . }}`,
	`{{ define "T" }}{{ template "T" . }}{{ template "T" . }}{{ end }}{{ template "T" . }}`,
	`{{ range 1000000000 }}{{ end }}`,
	`{{ range 1000000000 }}{{ if true }}{{ $x := upper "x" }}{{ end }}{{ end }}`,
	`{{ $x := repeat 100000 "x" }}{{ range 1000000 }}{{ $y := upper $x }}{{ end }}`,
	`{{ $x := repeat 100000 "a" }}{{ range 1000000 }}{{ $y := count "(a|b|c|d)+e" $x }}{{ end }}`,
}

func TestHostileTemplates(t *testing.T) {
	for _, tmpl := range hostileTemplates {
		st, err := newLineFormatStage(&syntax.LineFormatStage{Template: tmpl})
		if err != nil {
			t.Errorf("%.80s: %v", tmpl, err)
			continue
		}
		w := rowWorker(t, "line")
		begin := time.Now()
		st.runner(w).run(w)
		if w.err != errTemplateFormat || string(w.line) != "line" {
			t.Errorf("%.80s: error %q, %d bytes, want %s and the line as it was", tmpl, w.err, len(w.line), errTemplateFormat)
		}
		if d := time.Since(begin); d > 3*time.Second {
			t.Errorf("%.80s took %s", tmpl, d)
		}
	}
}

func TestLowerASCII(t *testing.T) {
	src := make([]byte, 0, 300)
	for i := range 256 {
		src = append(src, byte(i))
	}
	src = append(src, "MiXeD tail"...)
	dst := make([]byte, len(src))
	lowerASCII(dst, src)
	for i, c := range src {
		want := c
		if 'A' <= c && c <= 'Z' {
			want = c - 'A' + 'a'
		}
		if dst[i] != want {
			t.Errorf("lowerASCII(%q) = %q, want %q", c, dst[i], want)
		}
	}
}
