package ruler_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/server"
	"example.com/loki/ruler"
	"example.com/loki/ruler/rulertest"
)

// serve returns a function that sends requests to the endpoints of a ruler.
func serve(t *testing.T, s ruler.Service) func(tenant, method, path, body string) (int, string) {
	h := server.Mount(ruler.Routes(s, nil), server.Options{AuthEnabled: true})
	return func(tenant, method, path, body string) (int, string) {
		t.Helper()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		if tenant != "" {
			r.Header.Set(user.OrgIDHeaderName, tenant)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		b, _ := io.ReadAll(w.Result().Body)
		return w.Code, string(b)
	}
}

const group = `name: g
interval: 5m
rules:
  - alert: A
    expr: count_over_time({app="web"} |= "error" [1m]) > 1
    for: 10m
    labels:
      severity: page
  - record: m
    expr: sum(rate({app="web"}[1m]))
`

// TestRulesAPI goes through the life of a group under both paths.
func TestRulesAPI(t *testing.T) {
	for _, base := range []string{"/loki/api/v1/rules", "/api/prom/rules"} {
		send := serve(t, &rulertest.Fake{})
		expect := func(status int, want, tenant, method, path, body string) {
			t.Helper()
			got, text := send(tenant, method, path, body)
			if got != status || text != want {
				t.Errorf("%s %s: %d %q, want %d %q", method, path, got, text, status, want)
			}
		}
		const accepted = `{"status":"success","data":null,"errorType":"","error":""}` + "\n"
		ns := url.PathEscape("my/ns")
		expect(404, "no rule groups found\n", "a", "GET", base, "")
		expect(404, "no rule groups found\n", "a", "GET", base+"/"+ns, "")
		expect(404, "group does not exist\n", "a", "GET", base+"/"+ns+"/g", "")
		expect(404, "group does not exist\n", "a", "DELETE", base+"/"+ns+"/g", "")
		expect(404, "group namespace does not exist\n", "a", "DELETE", base+"/"+ns, "")
		expect(401, "no org id\n", "", "GET", base, "")
		expect(202, accepted, "a", "POST", base+"/"+ns, group)
		expect(200, group, "a", "GET", base+"/"+ns+"/g", "")
		listing := "my/ns:\n  - " + strings.ReplaceAll(strings.TrimSpace(group), "\n", "\n    ") + "\n"
		expect(200, listing, "a", "GET", base, "")
		expect(200, listing, "a", "GET", base+"/"+ns, "")
		expect(404, "no rule groups found\n", "b", "GET", base, "")
		expect(404, "group does not exist\n", "b", "GET", base+"/"+ns+"/g", "")
		changed := strings.Replace(group, "5m", "1m", 1)
		expect(202, accepted, "a", "POST", base+"/"+ns, changed)
		expect(200, changed, "a", "GET", base+"/"+ns+"/g", "")
		expect(400, "line 1: not valid YAML: did not find expected node content\n", "a", "POST", base+"/"+ns, "name: [")
		status, text := send("a", "POST", base+"/"+ns, strings.Replace(group, "[1m]) > 1", "[1m) > 1", 1))
		if status != 400 || !strings.HasPrefix(text, `line 5: group "g", rule 1 (A): expr: parse error at line 1, col `) {
			t.Errorf("LogQL that is wrong: %d %q", status, text)
		}
		if status, _ := send("a", "HEAD", base+"/"+ns+"/g", ""); status != 200 {
			t.Errorf("HEAD: %d", status)
		}
		expect(202, accepted, "a", "DELETE", base+"/"+ns+"/g", "")
		expect(202, accepted, "a", "POST", base+"/"+ns, group)
		expect(202, accepted, "a", "DELETE", base+"/"+ns, "")
		expect(404, "no rule groups found\n", "a", "GET", base, "")
	}
}

// state is a ruler whose rules are in some state.
type state struct{ rulertest.Fake }

// Status implements ruler.Service.
func (*state) Status(context.Context, ruler.StatusRequest) ([]ruler.GroupStatus, error) {
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	alerting := ruler.RuleStatus{
		Rule: ruler.Rule{Alert: "A", Expr: "x > 1", For: time.Minute, Labels: map[string]string{"severity": "page"}}, State: ruler.Firing,
		Alerts: []ruler.Alert{{Labels: labels.FromStrings("alertname", "A", "app", "web"), Annotations: labels.FromStrings("s", "t"), State: ruler.Firing, ActiveAt: at, Value: 2.5}},
		Health: ruler.HealthOK, LastEvaluation: at, EvaluationTime: 250 * time.Millisecond,
	}
	recording := ruler.RuleStatus{Rule: ruler.Rule{Record: "m", Expr: "y"}, Health: ruler.HealthErr, LastError: "no", LastEvaluation: at}
	var all []ruler.GroupStatus
	for _, ns := range []string{"n1", "n2"} {
		for i := range 2 {
			all = append(all, ruler.GroupStatus{Namespace: ns, Name: fmt.Sprint("g", i), Interval: time.Minute, LastEvaluation: at, Rules: []ruler.RuleStatus{alerting, recording}})
		}
	}
	return all, nil
}

func TestPrometheusAPI(t *testing.T) {
	send := serve(t, &state{})
	_, text := send("a", "GET", "/prometheus/api/v1/rules?file=n1&rule_group=g0", "")
	const want = `{"status":"success","data":{"groups":[{"name":"g0","file":"n1","rules":[` +
		`{"state":"firing","name":"A","query":"x \u003e 1","duration":60,"keepFiringFor":0,"labels":{"severity":"page"},"annotations":{},` +
		`"alerts":[{"labels":{"alertname":"A","app":"web"},"annotations":{"s":"t"},"state":"firing","activeAt":"2024-01-02T03:04:05Z","value":"2.5e+00"}],` +
		`"health":"ok","type":"alerting","lastEvaluation":"2024-01-02T03:04:05Z","evaluationTime":0.25},` +
		`{"name":"m","query":"y","health":"err","lastError":"no","type":"recording","lastEvaluation":"2024-01-02T03:04:05Z","evaluationTime":0}],` +
		`"interval":60,"limit":0,"lastEvaluation":"2024-01-02T03:04:05Z","evaluationTime":0}]},"errorType":"","error":""}` + "\n"
	if text != want {
		t.Errorf("rules:\n%s\nwant\n%s", text, want)
	}
	type answer struct {
		Data struct {
			Groups []struct {
				Name, File string
				Rules      []struct {
					Name   string
					Alerts []any
				}
			}
			GroupNextToken string
			Alerts         []any
		}
		Status, ErrorType, Error string
	}
	for query, want := range map[string]string{
		"":                            "n1/g0:A1,m0 n1/g1:A1,m0 n2/g0:A1,m0 n2/g1:A1,m0",
		"type=alert":                  "n1/g0:A1 n1/g1:A1 n2/g0:A1 n2/g1:A1",
		"type=record&file[]=n2":       "n2/g0:m0 n2/g1:m0",
		"rule_group[]=g1":             "n1/g1:A1,m0 n2/g1:A1,m0",
		"rule_name[]=m&rule_group=g0": "n1/g0:m0 n2/g0:m0",
		"file=n1&file=n2&exclude_alerts=true&type=alert": "n1/g0:A0 n1/g1:A0 n2/g0:A0 n2/g1:A0",
		`match[]={severity="page"}&file=n1`:              "n1/g0:A1 n1/g1:A1",
		"rule_name=none":                                 "",
	} {
		status, text := send("a", "GET", "/prometheus/api/v1/rules?"+strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D").Replace(query), "")
		var a answer
		if err := json.Unmarshal([]byte(text), &a); err != nil || status != 200 {
			t.Fatalf("%s: %d %s", query, status, text)
		}
		var got []string
		for _, g := range a.Data.Groups {
			var rules []string
			for _, r := range g.Rules {
				rules = append(rules, fmt.Sprint(r.Name, len(r.Alerts)))
			}
			got = append(got, g.File+"/"+g.Name+":"+strings.Join(rules, ","))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", query, got, want)
		}
	}
	// Piece by piece.
	var got []string
	for token := ""; ; {
		_, text := send("a", "GET", "/prometheus/api/v1/rules?group_limit=3&group_next_token="+url.QueryEscape(token), "")
		var a answer
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		for _, g := range a.Data.Groups {
			got = append(got, g.File+"/"+g.Name)
		}
		if token = a.Data.GroupNextToken; token == "" {
			break
		}
	}
	if strings.Join(got, " ") != "n1/g0 n1/g1 n2/g0 n2/g1" {
		t.Errorf("piece by piece: %v", got)
	}
	for _, query := range []string{"type=x", "exclude_alerts=x", "group_limit=0", "match[]=x"} {
		var a answer
		status, text := send("a", "GET", "/prometheus/api/v1/rules?"+query, "")
		if err := json.Unmarshal([]byte(text), &a); err != nil || status != http.StatusBadRequest || a.Status != "error" || a.ErrorType != "bad_data" || a.Error == "" {
			t.Errorf("%s: %d %s", query, status, text)
		}
	}
	_, text = send("a", "GET", "/prometheus/api/v1/alerts", "")
	var a answer
	if err := json.Unmarshal([]byte(text), &a); err != nil || len(a.Data.Alerts) != 4 {
		t.Errorf("alerts: %s", text)
	}
}
