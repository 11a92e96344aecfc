// Package conformance repeats fifteen hundred recorded requests against a server that speaks Loki's
// HTTP API, and says where its answers differ from those that Loki 3.7 gave.
//
// testdata/push holds the data set, as bodies of /loki/api/v1/push; testdata/cases the requests, one
// file an area, each with the answer and with how an answer is judged. How lies in compare.go. The
// server is expected to have authentication off, to accept old lines and to have Loki's limits else.
package conformance

import (
	"bytes"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"regexp"
	"strings"
	"testing"
)

//go:embed testdata
var testdata embed.FS

// Case is a request, the recorded answer and how to judge another one.
type Case struct {
	Name    string                     `json:"name"` // unique within its area
	Method  string                     `json:"method"`
	Path    string                     `json:"path"`
	Params  map[string]json.RawMessage `json:"params"` // a list repeats the parameter
	Form    bool                       `json:"form"`   // parameters are the body
	Headers map[string]string          `json:"headers"`

	Request       json.RawMessage `json:"request"`        // body: a text, or any other value as JSON
	RequestBase64 string          `json:"request_base64"` // body

	Status    int      `json:"status"`
	Compare   string   `json:"compare"`
	Body      any      `json:"body"`
	Contains  any      `json:"contains"` // text or list of texts in an error message
	RTol      *float64 `json:"rtol"`     // nil means 1e-9
	ATol      *float64 `json:"atol"`     // nil means 1e-9
	Ignore    []string `json:"ignore"`   // JSON keys that don't count
	Unordered bool     `json:"unordered"`
	Key       string   `json:"key"`      // pairs elements of unordered lists
	ExtraOK   []any    `json:"extra_ok"` // elements that may be there in addition
}

// URL returns a handler that asks a server at a base URL, for running the cases against a process.
func URL(base *url.URL) http.Handler { return httputil.NewSingleHostReverseProxy(base) }

// Push sends the data set, which must be done once and into an empty server.
func Push(t testing.TB, h http.Handler) {
	t.Helper()
	files, err := fs.Glob(testdata, "testdata/push/*.json") // sorted: the order is part of the data
	if err != nil || len(files) == 0 {
		t.Fatalf("no data set: %v", err)
	}
	for _, f := range files {
		body, err := testdata.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPost, "/loki/api/v1/push", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent && w.Code != http.StatusOK {
			t.Fatalf("push %s = %d: %s", path.Base(f), w.Code, w.Body)
		}
	}
}

// Run repeats the cases whose "area/name" matches only, or all of them with nil, each as a subtest.
// Area 90 pushes entries of its own and comes last; the others don't mind them.
func Run(t *testing.T, h http.Handler, only *regexp.Regexp) {
	files, err := fs.Glob(testdata, "testdata/cases/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	ran := 0
	for _, f := range files {
		cases, err := readCases(f)
		if err != nil {
			t.Fatal(err)
		}
		area := strings.TrimSuffix(path.Base(f), ".json")
		t.Run(area, func(t *testing.T) {
			for i := range cases {
				c := &cases[i]
				if only != nil && !only.MatchString(area+"/"+c.Name) {
					continue
				}
				ran++
				t.Run(c.Name, func(t *testing.T) { c.run(t, h) })
			}
		})
	}
	if ran == 0 {
		t.Errorf("no case matches %v", only)
	}
}

func readCases(file string) ([]Case, error) {
	raw, err := testdata.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var cases []Case
	if err := json.Unmarshal(raw, &cases); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return cases, nil
}

func (c *Case) run(t *testing.T, h http.Handler) {
	r, err := c.request()
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r.WithContext(t.Context()))
	if err := c.Judge(w.Code, w.Body.Bytes()); err != nil {
		t.Errorf("%s %s  %s\n%v", r.Method, c.Path, c.query(), err)
	}
}

// query is what a reader of a failure wants to see.
func (c *Case) query() string {
	for _, name := range []string{"query", "match[]"} {
		if v, ok := c.Params[name]; ok {
			return strings.Join(values(v), " ")
		}
	}
	return ""
}

// values returns a parameter's values as the client would write them.
func values(raw json.RawMessage) []string {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		list = []json.RawMessage{raw}
	}
	out := make([]string, len(list))
	for i, v := range list {
		if json.Unmarshal(v, &out[i]) != nil {
			out[i] = string(v) // a number
		}
	}
	return out
}

func (c *Case) request() (*http.Request, error) {
	params := url.Values{}
	for name, v := range c.Params {
		params[name] = values(v)
	}
	target := (&url.URL{Path: c.Path}).EscapedPath()
	if p, q, ok := strings.Cut(c.Path, "?"); ok {
		target = (&url.URL{Path: p}).EscapedPath() + "?" + q
	}
	var body []byte
	form := false
	switch {
	case c.RequestBase64 != "":
		b, err := base64.StdEncoding.DecodeString(c.RequestBase64)
		if err != nil {
			return nil, err
		}
		body = b
	case c.Request != nil:
		var text string
		if json.Unmarshal(c.Request, &text) == nil {
			body = []byte(text)
		} else {
			body = c.Request
		}
	case c.Form:
		body, form, params = []byte(params.Encode()), true, nil
	}
	if len(params) > 0 {
		sep := "?"
		if strings.Contains(target, "?") {
			sep = "&"
		}
		target += sep + params.Encode()
	}
	method := c.Method
	if method == "" {
		method = http.MethodGet
	}
	r := httptest.NewRequest(method, target, bytes.NewReader(body))
	if form {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range c.Headers {
		r.Header.Set(k, v)
	}
	return r, nil
}
