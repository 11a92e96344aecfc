package syntax

import (
	"net/netip"
	"slices"
	"testing"
)

func TestParsePattern(t *testing.T) {
	lit := func(s string) PatternPart { return PatternPart{Literal: s} }
	name := func(s string) PatternPart { return PatternPart{Name: s} }
	for _, tc := range []struct {
		text string
		want []PatternPart
		err  string
	}{
		{text: "<a>", want: []PatternPart{name("a")}},
		{text: "<ip> - <_> [<ts>", want: []PatternPart{name("ip"), lit(" - "), name("_"), lit(" ["), name("ts")}},
		{text: "<<a>> <1> <b c> <>", want: []PatternPart{lit("<"), name("a"), lit("> <1> <b c> <>")}},
		{text: "größe <w>!", want: []PatternPart{lit("größe "), name("w"), lit("!")}},
		{text: "", err: "the pattern is empty"},
		{text: "abc", err: "at least one capture is required"},
		{text: "<_> <_>", err: "at least one capture is required"},
		{text: "<a><b>", err: "found consecutive capture '<a><b>': invalid expression"},
		{text: "<a> <a>", err: "duplicate capture name (a): invalid expression"},
	} {
		got, err := ParsePattern(tc.text)
		if !slices.Equal(got, tc.want) || errText(err) != tc.err {
			t.Errorf("ParsePattern(%q) = %v, %v, want %v, %q", tc.text, got, err, tc.want, tc.err)
		}
	}
	for _, tc := range []struct {
		text string
		want []PatternPart
		err  string
	}{
		{text: ""},
		{text: "x", want: []PatternPart{lit("x")}},
		{text: "<_> x", want: []PatternPart{name("_"), lit(" x")}},
		{text: "<a> b", err: "named captures are not allowed: found '<a>'"},
		{text: "<_><_>", err: "found consecutive capture '<_><_>': invalid expression"},
	} {
		got, err := ParseLinePattern(tc.text)
		if !slices.Equal(got, tc.want) || errText(err) != tc.err {
			t.Errorf("ParseLinePattern(%q) = %v, %v, want %v, %q", tc.text, got, err, tc.want, tc.err)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestParsePath(t *testing.T) {
	field := func(s string) PathStep { return PathStep{Name: s, Index: -1} }
	for _, tc := range []struct {
		text string
		want []PathStep
	}{
		{`a`, []PathStep{field("a")}},
		{`a.b_1`, []PathStep{field("a"), field("b_1")}},
		{`a[0][12].b`, []PathStep{field("a"), {Index: 0}, {Index: 12}, field("b")}},
		{`["x y"]["\"."].z`, []PathStep{field("x y"), field(`".`), field("z")}},
		{`[2].a`, []PathStep{{Index: 2}, field("a")}},
		{`[""]`, []PathStep{field("")}},
	} {
		if got, err := ParsePath(tc.text); err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("ParsePath(%q) = %v, %v, want %v", tc.text, got, err, tc.want)
		}
	}
	for _, text := range []string{
		``, `.`, `.a`, `a.`, `a..b`, `a-b`, `1a`, `a b`, `a[`, `a[]`, `a[b]`, `a[-1]`, `a["b]`, `a["b"`, `a[0`, `a[0]b`, `a['b']`,
		`a[99999999999999999999]`, `ключ`,
	} {
		if got, err := ParsePath(text); err == nil {
			t.Errorf("ParsePath(%q) = %v, want an error", text, got)
		}
	}
}

func TestParseIPRange(t *testing.T) {
	for _, tc := range []struct {
		text    string
		in, out []string
	}{
		{"10.0.0.1", []string{"10.0.0.1"}, []string{"10.0.0.0", "10.0.0.2", "::ffff:10.0.0.1", "::1"}},
		{"10.0.0.0/8", []string{"10.0.0.0", "10.255.255.255"}, []string{"9.255.255.255", "11.0.0.0"}},
		{"10.1.2.3/8", []string{"10.0.0.0"}, []string{"11.0.0.0"}},
		{"0.0.0.0/0", []string{"0.0.0.0", "255.255.255.255"}, []string{"::"}},
		{"10.0.0.100-10.0.1.0", []string{"10.0.0.100", "10.0.0.255", "10.0.1.0"}, []string{"10.0.0.99", "10.0.1.1"}},
		{"2001:db8::/33", []string{"2001:db8::1", "2001:db8:7fff::"}, []string{"2001:db8:8000::", "10.0.0.1"}},
		{"::1-::ff", []string{"::1", "::ff"}, []string{"::", "::100"}},
	} {
		r, err := ParseIPRange(tc.text)
		if err != nil {
			t.Errorf("ParseIPRange(%q): %v", tc.text, err)
			continue
		}
		for _, a := range tc.in {
			if !r.Contains(netip.MustParseAddr(a)) {
				t.Errorf("%s does not contain %s", tc.text, a)
			}
		}
		for _, a := range tc.out {
			if r.Contains(netip.MustParseAddr(a)) {
				t.Errorf("%s contains %s", tc.text, a)
			}
		}
	}
	for _, text := range []string{"", "x", "300.1.1.1", "10.0.0.0/33", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.1-", "10.0.0.9-10.0.0.1/8"} {
		if r, err := ParseIPRange(text); err == nil {
			t.Errorf("ParseIPRange(%q) = %v, want an error", text, r)
		}
	}
}
