package conformance

import (
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// TestRecordedAnswersPass shows that Loki itself passes, so that no case asks for the impossible.
func TestRecordedAnswersPass(t *testing.T) {
	n := 0
	for _, c := range allCases(t) {
		n++
		if err := c.Judge(c.Status, answer(c)); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
	if n < 1400 {
		t.Errorf("%d cases, want about fifteen hundred", n)
	}
}

// TestOtherAnswersFail gives each case an answer that is not the recorded one.
func TestOtherAnswersFail(t *testing.T) {
	for _, c := range allCases(t) {
		if err := c.Judge(299, answer(c)); err == nil {
			t.Errorf("%s: any status passes", c.Name)
		}
		switch c.Compare {
		case "streams", "matrix", "vector", "vector-ordered":
			for _, other := range []string{"", "{}", `{"status":"error"}`, "[1]", `{"status":"success","data":{"resultType":"x","result":[]}}`} {
				if err := c.Judge(c.Status, []byte(other)); err == nil {
					t.Errorf("%s (%s): %q passes", c.Name, c.Compare, other)
				}
			}
		}
	}
}

func TestJudge(t *testing.T) {
	const two = `{"status":"success","data":{"resultType":"streams","result":[{"stream":{"a":"1"},"values":[["2","x"],["1","p"],["1","q"]]}]}}`
	const vec = `{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"1"},"value":[1,"0.5"]},{"metric":{"b":""},"value":[1,"NaN"]}]}}`
	for _, c := range []struct {
		name, compare, want, got string
		ok                       bool
	}{
		{"same", "streams", two, two, true},
		{"ties in another order", "streams", two, strings.Replace(two, `["1","p"],["1","q"]`, `["1","q"],["1","p"]`, 1), true},
		{"another order", "streams", two, strings.Replace(two, `["2","x"],["1","p"]`, `["1","p"],["2","x"]`, 1), false},
		{"an entry less", "streams", two, strings.Replace(two, `,["1","q"]`, ``, 1), false},
		{"an entry twice", "streams", two, strings.Replace(two, `["1","q"]`, `["1","q"],["1","q"]`, 1), false},
		{"another line", "streams", two, strings.Replace(two, `"x"`, `"y"`, 1), false},
		{"another label", "streams", two, strings.Replace(two, `"a":"1"`, `"a":"2"`, 1), false},
		{"metadata", "streams", two, strings.Replace(two, `["2","x"]`, `["2","x",{}]`, 1), false},
		{"flags", "streams", two, strings.Replace(two, `"result":`, `"encodingFlags":["categorize-labels"],"result":`, 1), false},
		{"time as number", "streams", two, strings.Replace(two, `["2","x"]`, `[2,"x"]`, 1), false},
		{"free text", "streams", strings.Replace(two, `"a":"1"`, `"a":"1","__error_details__":"this"`, 1), strings.Replace(two, `"a":"1"`, `"a":"1","__error_details__":"that"`, 1), true},
		{"same", "vector", vec, vec, true},
		{"within tolerance", "vector", vec, strings.Replace(vec, "0.5", "0.5000000001", 1), true},
		{"another number", "vector", vec, strings.Replace(vec, "0.5", "0.51", 1), false},
		{"another time", "vector", vec, strings.Replace(vec, "[1,", "[2,", 1), false},
		{"empty label", "vector", vec, strings.Replace(vec, `"b":""`, ``, 1), true},
		{"number as value", "vector", vec, strings.Replace(vec, `"0.5"`, `0.5`, 1), false},
		{"no NaN", "vector", vec, strings.Replace(vec, "NaN", "0", 1), false},
		{"stats don't count", "json", `{"a":1,"stats":{"x":1}}`, `{"a":1}`, true},
		{"empty is missing", "json", `{"a":1,"b":[]}`, `{"a":1,"c":null}`, true},
		{"unexpected", "json", `{"a":1}`, `{"a":1,"b":1}`, false},
		{"order of lists", "json", `{"a":[1,2]}`, `{"a":[2,1]}`, false},
		{"other type", "shape", `{"a":"x"}`, `{"a":1}`, false},
		{"other value", "shape", `{"a":"x"}`, `{"a":"y"}`, true},
		{"set", "list-set", `{"status":"success","data":["a","b"]}`, `{"status":"success","data":["b","a"]}`, true},
		{"twice", "list-set", `{"status":"success","data":["a"]}`, `{"status":"success","data":["a","a"]}`, false},
	} {
		var want any
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		cs := Case{Status: 200, Compare: c.compare, Body: want}
		if err := cs.Judge(200, []byte(c.got)); (err == nil) != c.ok {
			t.Errorf("%s, %s: Judge = %v", c.compare, c.name, err)
		}
	}
}

// TestRequests shows that requests go out as they were recorded.
func TestRequests(t *testing.T) {
	c := Case{
		Path:   "/loki/api/v1/query_range",
		Params: map[string]json.RawMessage{"query": []byte(`"{a=\"b c\"}"`), "limit": []byte(`10`), "match[]": []byte(`["x","y"]`)},
	}
	r, err := c.request()
	if err != nil {
		t.Fatal(err)
	}
	if r.Method != "GET" || r.FormValue("query") != `{a="b c"}` || r.FormValue("limit") != "10" || len(r.Form["match[]"]) != 2 {
		t.Errorf("got %s %v", r.Method, r.Form)
	}
	c.Form, c.Method = true, "POST"
	if r, err = c.request(); err != nil {
		t.Fatal(err)
	}
	if r.URL.RawQuery != "" || r.FormValue("query") != `{a="b c"}` {
		t.Errorf("got %s and %v", r.URL, r.Form)
	}
	for _, c := range allCases(t) {
		if _, err := c.request(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

func TestURL(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.RequestURI())
	}))
	defer srv.Close()
	base, err := url.Parse(srv.URL + "/logs")
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	URL(base).ServeHTTP(w, httptest.NewRequest("GET", "/ready?a=b", nil))
	if w.Body.String() != "/logs/ready?a=b" {
		t.Errorf("asked for %s", w.Body)
	}
}

func allCases(t *testing.T) []Case {
	t.Helper()
	files, err := fs.Glob(testdata, "testdata/cases/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []Case
	for _, f := range files {
		cases, err := readCases(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, cases...)
	}
	return all
}

// answer is what the reference answered.
func answer(c Case) []byte {
	if s, ok := c.Body.(string); ok && (c.Compare == "text" || c.Compare == "error" || c.Compare == "status") {
		return []byte(s)
	}
	b, _ := json.Marshal(c.Body)
	return b
}
