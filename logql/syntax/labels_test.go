package syntax

import (
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestParseLabels(t *testing.T) {
	for _, tc := range []struct {
		text string
		want labels.Labels
	}{
		{`{}`, labels.EmptyLabels()},
		{`{app="x"}`, labels.FromStrings("app", "x")},
		{` { b = "y" , a="x", } `, labels.FromStrings("a", "x", "b", "y")},
		{`{a="x",b='y',c=` + "`\\z`}", labels.FromStrings("a", "x", "b", "y", "c", `\z`)},
		{`{a="\"\\\n\u00e9\x41\101"}`, labels.FromStrings("a", "\"\\\néAA")},
		{`{a='\'"'}`, labels.FromStrings("a", `'"`)},
		{`{__name__="x", a="größe 東京"}`, labels.FromStrings("__name__", "x", "a", "größe 東京")},
		{`{a="", b="y"}`, labels.FromStrings("b", "y")},
		{`{a="1", b="y", a="2"}`, labels.FromStrings("a", "2", "b", "y")},
		{`{a="1", a=""}`, labels.EmptyLabels()},
	} {
		got, err := ParseLabels(tc.text)
		if err != nil || !labels.Equal(got, tc.want) {
			t.Errorf("ParseLabels(%q) = %s, %v, want %s", tc.text, got, err, tc.want)
		}
	}
}

// The first six are recorded.
func TestParseLabelsErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{`{push-case="x"}`, `1:6: parse error: unexpected character inside braces: '-'`},
		{`{push.case="x"}`, `1:6: parse error: unexpected character inside braces: '.'`},
		{`{1pushcase="x"}`, `1:2: parse error: unexpected character inside braces: '1'`},
		{`{größe="x"}`, `1:4: parse error: unexpected character inside braces: 'ö'`},
		{`{="x"}`, `1:2: parse error: unexpected "=" in label set, expected identifier or "}"`},
		{`{push case="x"}`, `1:7: parse error: unexpected identifier "case" in label set, expected "="`},
		{``, `1:1: parse error: unexpected end of input in labels, expected "{"`},
		{`app="x"`, `1:1: parse error: unexpected identifier "app" in labels, expected "{"`},
		{"{a=\"x\",\n b}", `2:3: parse error: unexpected "}" in label set, expected "="`},
		{`{a=x}`, `1:4: parse error: unexpected identifier "x" in label set, expected string`},
		{`{a=`, `1:4: parse error: unexpected end of input in label set, expected string`},
		{`{a="x}`, `1:4: parse error: unterminated quoted string`},
		{`{a="\"}`, `1:4: parse error: unterminated quoted string`},
		{"{a=\"x\ny\"}", `1:4: parse error: unterminated quoted string`},
		{"{a=\"\\\\x\ny\"}", `1:4: parse error: unterminated quoted string`},
		{"{a=`x}", `1:4: parse error: unterminated quoted string`},
		{`{a="\d"}`, `1:5: parse error: unknown escape sequence`},
		{`{a="x" b="y"}`, `1:8: parse error: unexpected identifier "b" in label set, expected "," or "}"`},
		{`{,a="x"}`, `1:2: parse error: unexpected "," in label set, expected identifier or "}"`},
		{`{a!="x"}`, `1:3: parse error: unexpected character inside braces: '!'`},
		{`{"a"="x"}`, `1:2: parse error: unexpected string in label set, expected identifier or "}"`},
		{`{a="x"} b`, `1:9: parse error: unexpected identifier "b" in labels, expected end of input`},
	} {
		got, err := ParseLabels(tc.text)
		if err == nil || err.Error() != tc.want {
			t.Errorf("ParseLabels(%q) = %s, %v, want %s", tc.text, got, err, tc.want)
		}
	}
}

func TestParseLabelsLong(t *testing.T) {
	if _, err := ParseLabels(`{a="` + strings.Repeat("x", 1<<24) + `"}`); err == nil {
		t.Error("a value that labels cannot hold is taken")
	}
}
