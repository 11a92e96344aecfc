package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
	"example.com/loki/logql/pipeline"
	"example.com/loki/logql/pipeline/pipelinetest"
	"example.com/loki/logql/syntax"
)

// oneRow is a batch of one row of {app="x", env="e"} with some structured metadata.
func oneRow(line string) *column.Batch {
	return pipelinetest.Batch(pipelinetest.Stream{
		Labels: labels.FromStrings("app", "x", "env", "e"),
		Rows:   []pipelinetest.Row{{Time: 1, Line: line, Metadata: map[string]string{"user": "ann", "app": "meta"}}},
	})
}

// rowString prints what stages have made of oneRow: its line and the labels that differ from those
// without stages. A label that is gone has a minus.
func rowString(t *testing.T, stages, line string) string {
	t.Helper()
	out := collect(t, compile(t, stages, pipeline.Options{Group: all, KeepLine: true}), oneRow(line), 0, 10)
	if len(out) == 0 {
		return "dropped"
	}
	before := map[string]string{"app": "x", "env": "e", "app_extracted": "meta", "user": "ann"}
	var parts []string
	out[0].labels.Range(func(l labels.Label) {
		if l.Name == "__error_details__" {
			return
		}
		if v, ok := before[l.Name]; !ok || v != l.Value {
			parts = append(parts, l.Name+"="+l.Value)
		}
		delete(before, l.Name)
	})
	for name := range before {
		parts = append(parts, "-"+name)
	}
	slices.Sort(parts)
	if out[0].line != line {
		parts = append(parts, fmt.Sprintf("%q", out[0].line))
	}
	return strings.Join(parts, " ")
}

func TestStages(t *testing.T) {
	for _, c := range []struct{ name, stages, line, want string }{
		{"json", `| json`, `{"a":1,"b":{"c":"x"},"d":[1],"e":null,"f":true}`, "a=1 b_c=x f=true"},
		{"json clashes with label and metadata", `| json`, `{"env":"l","user":"l"}`, "env_extracted=l user_extracted=l"},
		{"json never overwrites clashing metadata", `| json`, `{"app":"l"}`, ""},
		{"json cut off in a nested object", `| json`, `{"a":1,"b":{"c":2`, "__error__=JSONParserErr a=1"},
		{"json broken in a nested object", `| json`, `{"a":1,"b":{"c":2,"d":}}`, "__error__=JSONParserErr a=1 b_c=2"},
		{"json too deep", `| json`, `{"a":1,"b":` + strings.Repeat(`{"x":`, 1000) + "1" + strings.Repeat("}", 1001), "__error__=JSONParserErr a=1"},
		{"json bad escape", `| json`, `{"a":"\q"}`, `a=\q`},
		{"json surrogates", `| json`, `{"a":"\ud83d\ude00 \ud83d"}`, "a=😀 \uFFFD"},
		{"json key of dots", `| json`, `{"a.b":1,"a":{"b":2}}`, "a_b=1"},
		{"json path", `| json x="a[1].b", y="nope", z="c[\"d e\"]"`, `{"a":[0,{"b":"v"}],"c":{"d e":[1, 2]}}`, "x=v y= z=[1, 2]"},
		{"json path of a whole and a part", `| json x="a", y="a.b"`, `{"a":{"b":1}}`, `x={"b":1} y=1`},
		{"json path on text", `| json x="a"`, `text`, "__error__=JSONParserErr"},
		{"json path overwrites what was parsed", `| logfmt | json x="y"`, `{"y":"2"} x=1`, "x=2"},
		{"logfmt", `| logfmt`, `a=1 b="x y" c= d bad"x=1 e=5`, "a=1 b=x y e=5"},
		{"logfmt strict", `| logfmt --strict`, `a=1 b=c=d e=1`, "__error__=LogfmtParserErr a=1"},
		{"logfmt keep-empty", `| logfmt --keep-empty`, `a= b`, "a= b="},
		{"logfmt bad escape", `| logfmt`, `a="\q" b=1`, "b=1"},
		{"logfmt expression", `| logfmt x="a", y="b", z`, `a=1 a=2 z=3`, "x=2 y= z=3"},
		{"pattern", "| pattern `<a> <_> <c>`", `1 2 3 4`, "a=1 c=3 4"},
		{"pattern without its start", "| pattern `x <a>`", `1 2`, ""},
		{"pattern cut off", "| pattern `<a>;<b>;<c>`", `1;2`, "a=1 b=2"},
		{"regexp", "| regexp `(?P<a>\\d)(?P<b>x)?`", `12`, "a=1 b="},
		{"unpack", `| unpack`, `{"a":"1","b":2,"_entry":"l\n"}`, `a=1 "l\n"`},
		{"unpack without entry", `| unpack`, `{"a":"1"}`, ``},
		{"unpack broken", `| unpack`, `{"a":"1","_entry":"x"`, "__error__=JSONParserErr"},

		{"string filter on a missing label", `| nope=""`, ``, ``},
		{"number filter on a missing label", `| nope!=1`, ``, "dropped"},
		{"number filter on text", `| user>1`, ``, "__error__=LabelFilterErr"},
		{"an error lets number filters pass", `| json | nope>1 | user>1ms`, `x`, "__error__=JSONParserErr"},
		{"a conversion error doesn't", `| logfmt | user>1 | a>5`, `a=1`, "dropped"},
		{"or with a missing label", `| nope>1 or user="ann"`, ``, ``},
		{"units", `| logfmt | a=1KiB | b<2s | c=1e3`, `a="1 kib" b=1.5s c=1000`, "a=1 kib b=1.5s c=1000"},
		{"ip", `| logfmt | a=ip("10.0.0.0/8") | b!=ip("::1")`, `a=10.1.2.3 b=::2`, "a=10.1.2.3 b=::2"},

		{"line_format", "| line_format `{{.user}} {{__line__}} {{.nope}}`", `l`, `"ann l "`},
		{"line_format with functions", "| line_format `{{.user | upper}} {{add 1 2}}`", `l`, `"ANN 3"`},
		{"line_format that fails", "| line_format `x{{div 1 0}}`", `l`, "__error__=TemplateFormatErr"},
		{"line_format of the error alone", "| json | line_format `{{.__error__}}`", `l`, `__error__=JSONParserErr ""`},
		{"label_format", "| label_format a=`{{.user}}!`, b=a, user=`u`", `l`, "b=ann! user=u"},
		{"label_format renames a label of the stream", "| label_format a=env", `l`, "-env a=e"},
		{"label_format of nothing", "| label_format a=nope, env=nope", `l`, ""},
		{"label_format to itself", "| label_format env=env", `l`, ""},
		{"decolorize", "| decolorize", "a\x1b[31mb\x1b[0m\x1b[1;38;5;208mc\x1bd\x1b[", "\"abc\\x1bd\\x1b[\""},
		{"decolorize then filter", "| decolorize |= `ab`", "a\x1b[31mb", `"ab"`},
		{"drop", `| drop env, user="bob", app_extracted=~"m.*"`, ``, "-app_extracted -env"},
		{"drop the error", `| json | drop __error__`, `x`, ""},
		{"keep", `| json | keep env, user="bob"`, `x`, "-app -app_extracted -user __error__=JSONParserErr"},
		{"a dropped label of the stream still clashes", `| drop env | logfmt`, `env=1`, "-env env_extracted=1"},
		{"dropped metadata doesn't", `| drop user | logfmt`, `user=1`, "user=1"},
		{"a later parser doesn't overwrite", "| logfmt | pattern `<a>=<b>`", `a=1`, "a=1 b=1"},
		{"line filters behind parsers see the stored line", `| json | a="1" |= "b" | line_format "x" |= "x"`, `{"a":1,"b":2}`, `a=1 b=2 "x"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := rowString(t, c.stages, c.line); got != c.want {
				t.Errorf("%s on %.100q:\n got %s\nwant %s", c.stages, c.line, got, c.want)
			}
		})
	}
}

func TestCategorize(t *testing.T) {
	p := compile(t, "| logfmt --strict | label_format app=`y`, who=user, lang=env", pipeline.Options{Group: all, Categorize: true, KeepLine: true})
	w := p.Worker()
	err := w.Run(t.Context(), oneRow(`a=1 b"`), 0, 10, func(r *pipeline.Row) bool {
		got := fmt.Sprint(w.Group(r.Group), labels.New(r.AppendMetadata(nil)...), labels.New(r.AppendParsed(nil)...).MatchLabels(false, "__error_details__"))
		want := `{lang="e"} {app_extracted="meta", who="ann"} {__error__="LogfmtParserErr", a="1", app="y"}`
		if got != want {
			t.Errorf("stream, metadata, parsed:\n got %s\nwant %s", got, want)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestUnwrap(t *testing.T) {
	for _, c := range []struct {
		query, line string
		want        string
	}{
		{`unwrap v`, `v=1.5`, "1.5 {app=\"x\", app_extracted=\"meta\", env=\"e\", user=\"ann\"}"},
		{`unwrap v`, `w=1`, ""},
		{`unwrap v`, `v=x`, "0 SampleExtractionErr"},
		{`unwrap v | __error__=""`, `v=x`, ""},
		{`unwrap v | v > 1`, `v=1`, ""},
		{`unwrap bytes(v)`, `v="1.5 KiB"`, "1536 {app=\"x\", app_extracted=\"meta\", env=\"e\", user=\"ann\"}"},
		{`unwrap duration(v)`, `v=1m2s`, "62 {app=\"x\", app_extracted=\"meta\", env=\"e\", user=\"ann\"}"},
		{`unwrap duration_seconds(v)`, `v=1`, "0 SampleExtractionErr"},
		{`unwrap user`, ``, "0 SampleExtractionErr"},
	} {
		e, err := syntax.Parse(`sum_over_time({app="x"} | logfmt | ` + c.query + ` [1m])`)
		if err != nil {
			t.Fatal(err)
		}
		agg := e.(*syntax.RangeAggregation)
		p, err := pipeline.Compile(agg.Log.Stages, pipeline.Options{Unwrap: agg.Unwrap, Group: all})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range collect(t, p, oneRow(c.line), 0, 10) {
			if got = fmt.Sprint(r.value, " ", r.err); r.err == "" {
				got = fmt.Sprint(r.value, " ", r.group)
			}
		}
		if got != c.want {
			t.Errorf("%s of %s = %s, want %s", c.query, c.line, got, c.want)
		}
	}
}

// TestErrorsThatFailMetrics checks Row.Err with the needs of aggregations.
func TestErrorsThatFailMetrics(t *testing.T) {
	by := func(names ...string) syntax.Grouping { return syntax.Grouping{Names: names} }
	for _, c := range []struct {
		stages, line string
		group        syntax.Grouping
		want         string // error, or the group
	}{
		{`| json`, `x`, by(), "{}"}, // nobody looks at labels: nothing is parsed
		{`| json`, `x`, by("app"), "JSONParserErr"},
		{`| json`, `x`, all, "JSONParserErr"},
		{`| json | __error__!=""`, `x`, by(), "JSONParserErr"},
		{`| json`, `x`, by("__error__"), `{__error__="JSONParserErr"}`},
		{`| user > 1`, `x`, by("__error__"), "LabelFilterErr"},
		{`| json | drop __error__`, `x`, by("app"), `{app="x"}`},
		{`| json`, `{"a":1,"b":`, by("a"), `{a="1"}`}, // all that is wanted was there before the fault
		{`| json | __error__=""`, `{"a":1,"b":`, by("a"), ""},
		{`| json`, `{"__error__":"mine"}`, all, "mine"},
		{`| json | __error__=""`, `{"__error__":"mine"}`, by("app"), `{app="x"}`},
		{"| line_format `{{div 1 0}}`", ``, by(), "TemplateFormatErr"},
	} {
		got := ""
		for _, r := range collect(t, compile(t, c.stages, pipeline.Options{Group: c.group}), oneRow(c.line), 0, 10) {
			if got = r.err; got == "" {
				got = r.group.String()
			}
		}
		if got != c.want {
			t.Errorf("%s of %s by %v = %q, want %q", c.stages, c.line, c.group.Names, got, c.want)
		}
	}
}

func TestHints(t *testing.T) {
	for _, c := range []struct{ stages, contains, metadata string }{
		{``, ``, ``},
		{`|= "a" |= "b" != "c"`, `"a" "b"`, ``},
		{`|= "a" or "b"`, ``, ``},
		{`|= ""`, ``, ``},
		{`|~ "abc.*def|abc"`, `"abc"`, ``},
		{`|~ "abc.*def|ghi"`, ``, ``},
		{`|~ "x(abc)+.*[0-9]defg"`, `"x" "abc" "defg"`, ``},
		{`|~ "(?i)TimeOut"`, `"timeout"/i`, ``},
		{`|~ "(?i)task failed"`, `" failed"/i`, ``},
		{`|> "<_> abc <_>def"`, `" abc " "def"`, ``},
		{`|= ip("10.0.0.1")`, ``, ``},
		{`| json |= "a"`, `"a"`, ``},
		{`| json | line_format "x" |= "a"`, ``, ``},
		{`| unpack |= "a"`, ``, ``},
		{`| decolorize |= "a"`, ``, ``},
		{`| trace_id="x"`, ``, `trace_id="x"`},
		{`| a="x" and b="y" |= "l" | c="z"`, `"l"`, `a="x" b="y" c="z"`},
		{`| a="x" or b="y"`, ``, ``},
		{`| a=""`, ``, ``},
		{`| a!="x" | b=~"x" | c>1`, ``, ``},
		{`| a_extracted="x"`, ``, ``},
		{`| json | a="x"`, ``, ``},
		{"| label_format a=`x` | a=\"x\"", ``, ``},
		{`| drop a | a="x"`, ``, ``},
		{`| __error__="x"`, ``, ``},
	} {
		contains, metadata := compile(t, c.stages, pipeline.Options{}).Hints()
		var cs, ms []string
		for _, n := range contains {
			s := fmt.Sprintf("%q", n.Text)
			if n.FoldCase {
				s += "/i"
			}
			cs = append(cs, s)
		}
		for _, m := range metadata {
			ms = append(ms, m.String())
		}
		if got := strings.Join(cs, " "); got != c.contains {
			t.Errorf("%s: contains %s, want %s", c.stages, got, c.contains)
		}
		if got := strings.Join(ms, " "); got != c.metadata {
			t.Errorf("%s: metadata %s, want %s", c.stages, got, c.metadata)
		}
	}
}

// TestColumnsRead checks that only the columns that somebody needs are asked for.
func TestColumnsRead(t *testing.T) {
	by := func(names ...string) syntax.Grouping { return syntax.Grouping{Names: names} }
	for _, c := range []struct {
		stages                         string
		opts                           pipeline.Options
		lines, lengths, metas, noTimes bool
	}{
		{stages: ``, opts: pipeline.Options{SkipLength: true}},
		{stages: ``, lengths: true},
		{stages: ``, opts: pipeline.Options{KeepLine: true}, lines: true},
		{stages: `| json`, opts: pipeline.Options{SkipLength: true}},
		{stages: `| json`, opts: pipeline.Options{SkipLength: true, Group: by("a")}, lines: true},
		{stages: ``, opts: pipeline.Options{SkipLength: true, Group: by("app")}},
		{stages: ``, opts: pipeline.Options{SkipLength: true, Group: by("user")}, metas: true},
		{stages: `| env="e"`, opts: pipeline.Options{SkipLength: true}},
		{stages: `| env="f" |= "a"`, opts: pipeline.Options{KeepLine: true}, noTimes: true},
		{stages: `| user="bob" |= "a"`, opts: pipeline.Options{KeepLine: true}, metas: true, noTimes: true},
		{stages: `|= "nope"`, opts: pipeline.Options{KeepLine: true, Group: all}, lines: true, noTimes: true},
		{stages: "| line_format `{{.env}}`", opts: pipeline.Options{KeepLine: true}},
		{stages: "| line_format `{{.env}} {{__line__}}`", opts: pipeline.Options{KeepLine: true}, lines: true},
		{stages: "| decolorize", opts: pipeline.Options{SkipLength: true}},
		{stages: "| decolorize", lines: true},
		{stages: "| unpack", opts: pipeline.Options{SkipLength: true}},
	} {
		b := oneRow(`a=1`)
		p := compile(t, c.stages, c.opts)
		if err := p.Worker().Run(t.Context(), b, 0, 10, func(*pipeline.Row) bool { return true }); err != nil {
			t.Fatal(err)
		}
		cols := pipelinetest.Of(b)
		got := [4]bool{cols.LineReads.Load() > 0, cols.LengthReads.Load() > 0, cols.MetadataReads.Load() > 0, cols.TimeReads.Load() == 0}
		if want := [4]bool{c.lines, c.lengths, c.metas, c.noTimes}; got != want {
			t.Errorf("%s with %+v: lines, lengths, metadata read, no times: %v, want %v", c.stages, c.opts, got, want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		stage syntax.Stage
		want  string
	}{
		{&syntax.LineFilter{Pos: 7, Op: syntax.LineMatches, Operands: []syntax.LineOperand{{Text: "a("}}}, "missing closing )"},
		{&syntax.LineFilter{Pos: 7, Op: syntax.LineContains, Operands: []syntax.LineOperand{{Text: "300.1.1.1", IP: true}}}, "invalid pattern"},
		{&syntax.LineFilter{Pos: 7, Op: syntax.LineMatches, Operands: []syntax.LineOperand{{Text: "10.0.0.1", IP: true}}}, "ip: invalid operation"},
		{&syntax.LineFilter{Pos: 7, Op: syntax.LinePattern, Operands: []syntax.LineOperand{{Text: "<a>"}}}, "named captures are not allowed"},
		{&syntax.PatternStage{Pos: 7, Pattern: "abc"}, "at least one capture"},
		{&syntax.RegexpStage{Pos: 7, Regexp: "(a)"}, "at least one named capture"},
		{&syntax.RegexpStage{Pos: 7, Regexp: "(?P<a>x)(?P<a>y)"}, "a"},
		{&syntax.JSONStage{Pos: 7, Fields: []syntax.Extraction{{Name: "a", Expression: "b["}}}, "b["},
		{&syntax.LogfmtStage{Pos: 7, Fields: []syntax.Extraction{{Name: "a", Expression: "b.c"}}}, "b.c"},
		{&syntax.LineFormatStage{Pos: 7, Template: "{{ nofunc .a }}"}, `function "nofunc" not defined`},
		{&syntax.LineFormatStage{Pos: 7, Template: "{{ env `HOME` }}"}, `function "env" not defined`},
		{&syntax.LineFormatStage{Pos: 7, Template: "{{ __step__ }}"}, `function "__step__" not defined`},
		{&syntax.LabelFormatStage{Pos: 7, Formats: []syntax.LabelFormat{{Name: "__error__", Template: "x"}}}, "cannot be formatted"},
		{&syntax.LabelFormatStage{Pos: 7, Formats: []syntax.LabelFormat{{Name: "a", Template: "{{"}}}, "invalid template for label 'a'"},
		{&syntax.LabelFilterStage{Pos: 7, Filter: &syntax.IPFilter{Name: "a", Range: "x"}}, "invalid pattern"},
	} {
		_, err := pipeline.Compile([]syntax.Stage{c.stage}, pipeline.Options{})
		var parse *syntax.ParseError
		if !errors.As(err, &parse) || parse.Pos != 7 || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Compile(%s) = %v, want a *syntax.ParseError at 7 with %q", c.stage, err, c.want)
		}
	}
}

func TestRunStops(t *testing.T) {
	b := page("nginx")
	p := compile(t, "", pipeline.Options{})
	rows := 0
	if err := p.Worker().Run(t.Context(), b, 0, 1<<62, func(*pipeline.Row) bool { rows++; return rows < 5 }); err != nil || rows != 5 {
		t.Errorf("after emit returned false: %d rows, %v", rows, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Worker().Run(ctx, b, 0, 1<<62, func(*pipeline.Row) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	if !p.Trivial() || compile(t, `|= "a"`, pipeline.Options{}).Trivial() || !compile(t, `| json`, pipeline.Options{}).Trivial() {
		t.Error("Trivial is wrong")
	}
}

// FuzzPipeline runs any stages over any line: nothing panics, and what is grouped by all labels has them.
func FuzzPipeline(f *testing.F) {
	for _, s := range []string{
		`| json | a="1" | line_format "{{.a}}"`, "| logfmt --strict | a > 5 or b = 1KB | label_format x=`{{.a | upper}}`, y=x | keep x", `|~ "(?i)a|b" | unpack | drop app`,
		"| pattern `<a> <_> <b>` | regexp `(?P<c>.)` | c = ip(\"::1\")", `| decolorize |> "<_>a" or "b" | json x="a[0].b", y | x != 1s`, `| user="ann" | app_extracted=~"m.*"`,
	} {
		f.Add(s, `{"a":"1","b":{"c":[1]},"_entry":"x"}`)
		f.Add(s, `a=1 b="x y" c`)
	}
	f.Fuzz(func(t *testing.T, stages, line string) {
		e, err := syntax.ParseLog(`{app="x"} ` + stages)
		if err != nil {
			t.Skip()
		}
		p, err := pipeline.Compile(e.Stages, pipeline.Options{Group: all, KeepLine: true})
		if err != nil {
			t.Skip()
		}
		p.Hints()
		for _, r := range collect(t, p, oneRow(line), 0, 10) {
			if !labels.Equal(r.group, r.labels) || r.length != len(r.line) {
				t.Errorf("%s: group %s, labels %s, %d bytes of %q", stages, r.group, r.labels, r.length, r.line)
			}
		}
	})
}

// TestWorkersAtOnce runs several workers of one pipeline at the same time.
func TestWorkersAtOnce(t *testing.T) {
	p := compile(t, "|~ `(?i)post|delete` | json | status >= 200 | label_format x=`{{.method | lower}}-{{.status}}` | line_format `{{.x | upper}}`",
		pipeline.Options{Group: syntax.Grouping{Names: []string{"x", "detected_level"}}, KeepLine: true})
	want := collect(t, p, page("json"), 0, 1<<62)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if got := collect(t, p, page("json"), 0, 1<<62); !slices.EqualFunc(got, want, func(a, b result) bool {
				return a.line == b.line && labels.Equal(a.group, b.group)
			}) {
				t.Errorf("%d rows differ from the %d of one worker alone", len(got), len(want))
			}
		})
	}
	wg.Wait()
	if len(want) == 0 {
		t.Error("no rows")
	}
}
