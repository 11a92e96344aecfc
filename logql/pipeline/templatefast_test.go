package pipeline

import (
	"math/rand/v2"
	"testing"
)

// TestPieces compares what pieces make of a template with what text/template does.
func TestPieces(t *testing.T) {
	values := []string{"", "a", "GET", "get", "Zoë", "ÉCOLE", "  blank\t", "200", "a.b.c", "aaa", "\xff\xfeX", "true", "x=1 y=2", "[info]"}
	templates := []string{
		`{{.a}} {{.b | lower}}`, `{{.a | upper}}-{{upper .b}}`, `{{ToLower .a}}{{ToUpper .b}}`,
		`{{trim .a}}|{{TrimSpace .b}}`, `{{trimAll "a" .a}}{{trimAll .b .a}}`, `{{trimPrefix "a" .a}}{{.b | trimSuffix "c"}}`,
		`{{Trim .a "ab"}}{{TrimLeft .a "a"}}{{TrimRight .b "c"}}{{TrimPrefix .a "a"}}{{TrimSuffix .b "T"}}`,
		`{{default "none" .a}}{{.b | default .a}}`, `{{replace "a" "bb" .a}}{{.b | replace "." ""}}`,
		`{{trunc 2 .a}}{{trunc -2 .b}}`, `{{substr 0 2 .a}}{{substr 1 -1 .b}}`, `{{substr 3 5 .a}}`,
		`{{alignLeft 5 .a}}|{{alignRight 5 .b}}|{{alignLeft 2 .a}}|{{alignRight 2 .b}}|{{alignLeft -1 .a}}`,
		`{{if .a}}yes{{else}}no{{end}}`, `{{if eq .a "get"}}1{{else if ne .b "GET"}}2{{else}}3{{.a}}{{end}}`,
		`{{if and .a .b}}both{{end}}{{if or .a .b}}one{{end}}{{if not .a}}none{{end}}`,
		`{{if and (eq .a "a") (not (contains "b" .b))}}x{{end}}`, `{{if hasPrefix "a" .a}}p{{end}}{{if .b | hasSuffix "c"}}s{{end}}`,
		`{{if .a | lower | eq "get"}}low{{end}}`, `{{__line__ | upper}}{{__line__}}`, `{{(.a | lower)}}{{upper (trim .b)}}`,
		`{{.missing | default "m"}}{{lower .missing}}`, `{{replace "" "x" .a}}`, `{{if .a}}{{if .b}}2{{else}}1{{end}}{{end}}tail`,
		"{{.a | replace `\"` \"'\" | lower | trunc 3 | alignRight 6}}", `{{/* nothing */}}{{.a | lower}}`,
	}
	r := rand.New(rand.NewPCG(1, 1))
	for _, s := range templates {
		tmpl, err := parseTemplate("line", s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if tmpl.list == nil {
			t.Errorf("%s: no pieces", s)
			continue
		}
		w := &Worker{}
		fast, slow := tmpl.bind(w), tmpl.bind(w)
		slow.pieces = nil
		if !tmpl.slow {
			continue // text and labels alone
		}
		left := 0
		for range 200 {
			w.labels.list = w.labels.list[:0]
			for _, name := range []string{"a", "b"} {
				if v := values[r.IntN(len(values))]; v != "" || r.IntN(2) == 0 {
					w.labels.list = append(w.labels.list, label{name: name, value: v})
				}
			}
			w.line = []byte(values[r.IntN(len(values))])
			want, wantErr := slow.append([]byte("before "), w, true)
			got, gotErr := fast.append([]byte("before "), w, true)
			if string(got) != string(want) || (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
				t.Fatalf("%s of %+v: %q, %v; want %q, %v", s, w.labels.list, got, gotErr, want, wantErr)
			}
			if _, ok := fast.run.appendPieces(nil, 0, fast.pieces); !ok {
				left++
			}
		}
		if left > 120 && s != `{{replace "" "x" .a}}` {
			t.Errorf("%s: %d of 200 rows are left to text/template", s, left)
		}
	}
	for _, s := range []string{`{{.a.b}}`, `{{range .}}x{{end}}`, `{{$x := .a}}{{$x}}`, `{{eq .a "b"}}`, `{{now}}`, `{{.a | b64enc}}`, `{{lower}}`, `{{printf "%s" .a}}`, `{{if 1}}x{{end}}`, `{{with .a}}{{.}}{{end}}`, `{{trunc .a .b}}`} {
		if tmpl, err := parseTemplate("line", s); err == nil && tmpl.list != nil {
			t.Errorf("%s: there are pieces", s)
		}
	}
}
