package detect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/detect"
	"example.com/loki/logql/logqltest"
)

func TestLabels(t *testing.T) {
	streams := []labels.Labels{
		labels.FromStrings("app", "api", "pod", "1", "build", "4711", "id", "8f14e45f-ceea-467f-a0e6-6d3bbf1c7f7f", "half", "1"),
		labels.FromStrings("app", "web", "pod", "2", "build", "4712", "id", "8F14E45F-CEEA-467F-A0E6-6D3BBF1C7F7F", "half", "one"),
		labels.FromStrings("app", "web", "pod", "2", "id", "8f14e45f-ceea-467f-a0e6-6d3bbf1c7f7f"),
	}
	if got, want := fmt.Sprint(detect.Labels(streams)), "[{app 2} {half 2} {pod 2}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := detect.Labels(nil); len(got) != 0 {
		t.Errorf("got %v of no streams", got)
	}
}

func TestTypeOf(t *testing.T) {
	for value, want := range map[string]detect.Type{
		"": detect.Unknown, "1": detect.Int, "-7": detect.Int, "1.5": detect.Float, "1e3": detect.Float, "99999999999999999999": detect.Float,
		"true": detect.Boolean, "FALSE": detect.Boolean, "15ms": detect.Duration, "1.5h": detect.Duration, "-3s": detect.Duration, "5d": detect.Duration,
		"1KB": detect.Bytes, "1.5MiB": detect.Bytes, "3 GB": detect.Bytes, "12B": detect.Bytes,
		"abc": detect.String, "1x": detect.String, "10.0.0.1": detect.String, "2026-01-01": detect.String, "B": detect.String, "-": detect.String,
	} {
		if got := detect.TypeOf(value); got != want {
			t.Errorf("TypeOf(%q) = %q, want %q", value, got, want)
		}
	}
}

// fieldsOf runs a query over lines with some metadata and writes down what fields there are.
func fieldsOf(t *testing.T, query string, rows []logqltest.Row) map[string]string {
	t.Helper()
	for i := range rows {
		rows[i].Stream, rows[i].Time = labels.FromStrings("app", "shop"), int64(i+1)
	}
	res, err := logql.Query(t.Context(), logql.Params{Query: query, End: 1e9, Limit: 100, Categorize: true}, logqltest.NewSource(rows, logqltest.Layout{}), logql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	fields, err := detect.Fields(t.Context(), res.Streams)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for i, f := range fields {
		got[f.Name] = fmt.Sprintf("%d %s %s %v %v", f.Lines, f.Type, strings.Join(f.Values, ","), f.Parsers, f.JSONPath)
		if i > 0 && f.Lines > fields[i-1].Lines {
			t.Errorf("%s of %d lines comes too late", f.Name, f.Lines)
		}
	}
	return got
}

func TestFields(t *testing.T) {
	meta := func(nv ...string) labels.Labels { return labels.FromStrings(nv...) }
	for _, tt := range []struct {
		name, query string
		rows        []logqltest.Row
		want        map[string]string
	}{
		{"json", `{app="shop"}`, []logqltest.Row{
			{Line: `{"user":{"id":1,"name":"Ann"},"size":"1KB","app":"x","took":1.5}`},
			{Line: `{"user":{"id":2,"name":"Bob"},"size":"2KB","app":"x","took":2,"tags":["a"],"0odd-key":"v","none":null}`},
		}, map[string]string{
			"user_id":       "2 int 1,2 [json] [user id]",
			"user_name":     "2 string Ann,Bob [json] [user name]",
			"size":          "2 bytes 1KB,2KB [json] [size]",
			"app_extracted": "2 string x [json] [app]",
			"took":          "2 float 1.5,2 [json] [took]",
			"_0odd_key":     "1 string v [json] [0odd-key]",
		}},
		{"logfmt", `{app="shop"}`, []logqltest.Row{
			{Line: `level=info user="zoe x" duration=15ms ok=true n=1`},
			{Line: `level=warn duration=none ok=false n=2 empty=`},
		}, map[string]string{
			"level":    "2 string info,warn [logfmt] []",
			"user":     "1 string zoe x [logfmt] []",
			"duration": "2 string 15ms,none [logfmt] []",
			"ok":       "2 boolean false,true [logfmt] []",
			"n":        "2 int 1,2 [logfmt] []",
		}},
		{"both, and text", `{app="shop"}`, []logqltest.Row{{Line: `{"n":1}`}, {Line: `n=2`}, {Line: "just text"}},
			map[string]string{"n": "2 int 1,2 [json logfmt] [n]"}},
		{"metadata", `{app="shop"}`, []logqltest.Row{
			{Line: "text", Metadata: meta("trace_id", "a", "user", "m")},
			{Line: "user=zoe", Metadata: meta("trace_id", "b", "user", "m")},
		}, map[string]string{
			"trace_id": "2 string a,b [] []",
			"user":     "2 string m,zoe [logfmt] []", // once as metadata, once in a line
		}},
		{"a parser in the query", `{app="shop"} | json | drop __error__`, []logqltest.Row{{Line: `{"a":{"b":1}}`}, {Line: "x"}},
			map[string]string{"a_b": "1 int 1 [json] [a b]"}},
		{"another parser in the query", `{app="shop"} | pattern "<ip> <_>"`, []logqltest.Row{{Line: "10.0.0.1 x=1"}},
			map[string]string{"ip": "1 string 10.0.0.1 [] []", "x": "1 int 1 [logfmt] []"}},
		{"another line", `{app="shop"} | json | line_format "m={{.b}}"`, []logqltest.Row{{Line: `{"b":1}`}},
			map[string]string{"b": "1 int 1 [] []", "m": "1 int 1 [logfmt] []"}},
		{"a changed value", `{app="shop"} | json | label_format b="x{{.b}}"`, []logqltest.Row{{Line: `{"b":1}`}},
			map[string]string{"b": "1 string x1 [json] [b]"}},
		{"nothing", `{app="shop"}`, []logqltest.Row{{Line: ""}, {Line: "{"}}, map[string]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := fieldsOf(t, tt.query, tt.rows)
			for name, want := range tt.want {
				if got[name] != want {
					t.Errorf("field %s: got %q, want %q", name, got[name], want)
				}
			}
			for name := range got {
				if _, ok := tt.want[name]; !ok {
					t.Errorf("field %s is unexpected: %s", name, got[name])
				}
			}
		})
	}
}

func TestFieldsStops(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	streams := []logql.StreamResult{{Entries: []logql.EntryResult{{Line: "a=1"}}}}
	if _, err := detect.Fields(ctx, streams); !errors.Is(err, context.Canceled) {
		t.Errorf("Fields = %v, want %v", err, context.Canceled)
	}
}

func FuzzFields(f *testing.F) {
	for _, line := range []string{`{"a":{"b":[1,"x"]},"c":null}`, "a=b c=\"d\\n\" =", `{"a":1`, `{"":{"":1}}`, "{\"é\":\"\xff\"}"} {
		f.Add(line, "a", "v")
	}
	f.Fuzz(func(t *testing.T, line, name, value string) {
		entries := []logql.EntryResult{{Time: 2, Line: line, Metadata: labels.FromStrings(name, value)}, {Time: 1, Line: line}}
		fields, err := detect.Fields(t.Context(), []logql.StreamResult{{Labels: labels.FromStrings("app", "x"), Entries: entries}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range fields {
			if f.Lines < 1 || f.Lines > 2 || len(f.Values) == 0 || len(f.Values) > 2 {
				t.Errorf("Fields(%q): %+v", line, f)
			}
		}
	})
}

func BenchmarkFields(b *testing.B) {
	var entries []logql.EntryResult
	size := 0
	for i := range 1000 {
		line := fmt.Sprintf(`{"ts":"2026-11-22T10:00:%02dZ","level":"info","user":{"id":%d,"name":"ann"},"status":200,"took":"%dms","path":"/api/v1/items/%d"}`, i%60, i%40, i%300, i)
		if i%2 == 0 {
			line = fmt.Sprintf(`ts=2026-11-22T10:00:%02dZ level=info user=%d status=200 took=%dms path=/api/v1/items/%d`, i%60, i%40, i%300, i)
		}
		size += len(line)
		entries = append(entries, logql.EntryResult{Time: int64(1000 - i), Line: line, Metadata: labels.FromStrings("trace_id", fmt.Sprint(i), "detected_level", "info")})
	}
	streams := []logql.StreamResult{{Labels: labels.FromStrings("app", "x"), Entries: entries}}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := detect.Fields(b.Context(), streams); err != nil {
			b.Fatal(err)
		}
	}
}
