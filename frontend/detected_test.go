package frontend_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/frontend"
	"example.com/loki/frontend/frontendtest"
	"example.com/loki/limits"
	"example.com/loki/logql/logqltest"
	"example.com/loki/querier/queriertest"
)

// fieldsWorld has JSON, logfmt and plain lines, with metadata.
func fieldsWorld() *queriertest.World {
	w := &queriertest.World{Tenant: "a"}
	stream := labels.FromStrings("app", "shop", "build", "4711", "pod", "1")
	at := frontendtest.Now.UnixNano() - 1e9
	var rows []logqltest.Row
	for i, line := range []string{
		`{"user":{"id":1,"name":"Ann"},"size":"1KB","app":"x","took":1.5}`,
		`{"user":{"id":2,"name":"Bob"},"size":"2KB","app":"x","took":2,"tags":["a"],"0odd-key":"v"}`,
		`level=info user=zoe duration=15ms ok=true`,
		`just text`,
	} {
		rows = append(rows, logqltest.Row{Stream: stream, Time: at + int64(i), Line: line, Metadata: labels.FromStrings("trace_id", fmt.Sprint("t", i), "user", "meta")})
	}
	w.Add(&queriertest.Part{ID: queriertest.ID(1), Rows: rows, Held: true})
	return w
}

func TestDetected(t *testing.T) {
	s := over(t, frontend.Config{}, fieldsWorld(), limits.Default())
	ctx := user.InjectOrgID(t.Context(), "a")
	start, end := frontendtest.Now.UnixNano()-10e9, frontendtest.Now.UnixNano()

	found, err := frontend.DetectLabels(ctx, s, start, end, nil)
	if want := "[{app 1} {pod 1}]"; err != nil || fmt.Sprint(found) != want {
		t.Errorf("DetectLabels = %v, %v, want %s: build holds only numbers, pod stays all the same", found, err, want)
	}

	req := &frontend.DetectRequest{Query: `{app="shop"} # all of it`, Start: start, End: end, LineLimit: 100, Limit: 100}
	fields, err := frontend.DetectFields(ctx, s, req)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, f := range fields {
		got[f.Label] = fmt.Sprintf("%s%d%v%v", f.Type, f.Cardinality, f.Parsers, f.JSONPath)
	}
	want := map[string]string{
		"trace_id":      "string4[][]",
		"user":          "string2[logfmt][]", // once as metadata, once in a line
		"user_id":       "int2[json][user id]",
		"user_name":     "string2[json][user name]",
		"size":          "bytes2[json][size]",
		"app_extracted": "string1[json][app]",
		"took":          "float2[json][took]",
		"_0odd_key":     "string1[json][0odd-key]",
		"level":         "string1[logfmt][]",
		"duration":      "duration1[logfmt][]",
		"ok":            "boolean1[logfmt][]",
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("field %s: got %q, want %q", name, got[name], w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("field %s is unexpected: %s", name, got[name])
		}
	}
	req.Limit = 1
	if fields, err := frontend.DetectFields(ctx, s, req); err != nil || len(fields) != 1 || fields[0].Label != "trace_id" {
		t.Errorf("the field of most lines is %+v, %v", fields, err)
	}
	req.Limit = 100
	for name, want := range map[string]string{"user_name": "[Ann Bob]", "trace_id": "[t0 t1 t2 t3]", "nope": "[]"} {
		if got, err := frontend.DetectValues(ctx, s, req, name); err != nil || fmt.Sprint(got) != want {
			t.Errorf("values of %s = %v, %v, want %s", name, got, err, want)
		}
	}
}

func TestDetectedOverHTTP(t *testing.T) {
	h := mount(frontend.Config{}, over(t, frontend.Config{}, fieldsWorld(), limits.Default()), nil)
	for _, tt := range []struct {
		path, query string
		status      int
		want        string
	}{
		{"detected_labels", `{app="shop"}`, 200, `{"detectedLabels":[{"label":"app","cardinality":1},{"label":"pod","cardinality":1}]}`},
		{"detected_labels", `{app="nope"}`, 200, `{}`},
		{"detected_fields", `{app="nope"}`, 200, `{}`},
		{"detected_fields", `{app="shop"} |= "text"`, 200, `{"fields":[{"label":"trace_id","type":"string","cardinality":1,"parsers":null},{"label":"user","type":"string","cardinality":1,"parsers":null}],"limit":1000}`},
		{"detected_fields", `{app=`, 400, "parse error"},
		{"detected_fields", `rate({app="shop"}[1m])`, 400, "only log selector is supported"},
		{"detected_field/user_name/values", `{app="shop"}`, 200, `{"values":["Ann","Bob"],"limit":1000}`},
		{"detected_field/nope/values", `{app="shop"}`, 200, `{}`},
	} {
		w := request(h, "/loki/api/v1/"+tt.path, "query", tt.query)
		body := strings.TrimSpace(w.Body.String())
		if w.Code != tt.status || (tt.status == 200 && body != tt.want) || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s = %d %s\nwant %d %s", tt.path, tt.query, w.Code, body, tt.status, tt.want)
		}
		if tt.status == 200 && !json.Valid([]byte(body)) {
			t.Errorf("%s: not JSON: %s", tt.path, body)
		}
	}
}
