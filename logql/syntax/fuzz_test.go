package syntax

import (
	"errors"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func FuzzParse(f *testing.F) {
	for _, r := range corpus(f) {
		f.Add(r.Query)
	}
	for _, q := range []string{
		`(0 / 0) + vector(1) > 10 ^ 999`,
		`{a="b"} | x > 1.5µs and y <= -3 or z != 1023KiB`,
		"rate({a=`b`} # comment\n [1y2w] offset -1ms)",
	} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, query string) {
		e, err := Parse(query)
		if err != nil {
			var pe *ParseError
			if !errors.As(err, &pe) || pe.Line < 1 || pe.Col < 1 || pe.Msg == "" || len(err.Error()) > 4*maxMessage {
				t.Fatalf("Parse(%q): bad error %#v", query, err)
			}
			return
		}
		checkRoundTrip(t, query, e)
		Walk(e, func(n Node) bool {
			if n == nil {
				return false
			}
			if p := n.Position(); p < 0 || int(p) >= len(query) {
				t.Errorf("Parse(%q): %s is at %d", query, n, p)
			}
			return true
		})
	})
}

func FuzzParseLabels(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `{a="b"}`, `{a="b",}`, `{a="b", c='d', e=` + "`f`}", `{a="\u00e9\x00\n\""}`, `{a-b="c"}`,
		`{a="b" c="d"}`, `{a="x",a="y",a=""}`, `{größe="x"}`, "{a=\"b\nc\"}", `{a="`, `{a='\'"'}`, `{a="b"} x`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ls, err := ParseLabels(text)
		if err != nil {
			return
		}
		if name, dup := ls.HasDuplicateLabelNames(); dup {
			t.Errorf("ParseLabels(%q) has %s twice", text, name)
		}
		ls.Range(func(l labels.Label) {
			if !validName(l.Name) || l.Value == "" {
				t.Errorf("ParseLabels(%q) has %q=%q", text, l.Name, l.Value)
			}
		})
		back, err := ParseLabels(ls.String())
		if err != nil || !labels.Equal(back, ls) {
			t.Errorf("ParseLabels(%q) = %s, which parses to %s, %v", text, ls, back, err)
		}
	})
}
