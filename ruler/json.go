package ruler

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/lokihttp"
	"example.com/loki/logql/syntax"
)

// envelope is what all answers of Prometheus' API are in.
type envelope struct {
	Status    string `json:"status"`
	Data      any    `json:"data"`
	ErrorType string `json:"errorType"`
	Error     string `json:"error"`
}

type groupsJSON struct {
	Groups    []groupJSON `json:"groups"`
	NextToken string      `json:"groupNextToken,omitempty"`
}

type groupJSON struct {
	Name           string    `json:"name"`
	File           string    `json:"file"`
	Rules          []any     `json:"rules"`
	Interval       float64   `json:"interval"`
	Limit          int       `json:"limit"`
	LastEvaluation time.Time `json:"lastEvaluation"`
	EvaluationTime float64   `json:"evaluationTime"`
}

type alertingJSON struct {
	State          AlertState        `json:"state"`
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Duration       float64           `json:"duration"`
	KeepFiringFor  float64           `json:"keepFiringFor"`
	Labels         map[string]string `json:"labels"`
	Annotations    map[string]string `json:"annotations"`
	Alerts         []alertJSON       `json:"alerts"`
	Health         Health            `json:"health"`
	LastError      string            `json:"lastError,omitempty"`
	Type           string            `json:"type"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	EvaluationTime float64           `json:"evaluationTime"`
}

type recordingJSON struct {
	Name           string            `json:"name"`
	Query          string            `json:"query"`
	Labels         map[string]string `json:"labels,omitempty"`
	Health         Health            `json:"health"`
	LastError      string            `json:"lastError,omitempty"`
	Type           string            `json:"type"`
	LastEvaluation time.Time         `json:"lastEvaluation"`
	EvaluationTime float64           `json:"evaluationTime"`
}

type alertJSON struct {
	Labels          labels.Labels `json:"labels"`
	Annotations     labels.Labels `json:"annotations"`
	State           AlertState    `json:"state"`
	ActiveAt        *time.Time    `json:"activeAt,omitempty"`
	KeepFiringSince *time.Time    `json:"keepFiringSince,omitempty"`
	Value           string        `json:"value"`
}

// filter is what a request for rules leaves of them.
type filter struct {
	kind          string // "alert", "record" or empty for both
	files, groups []string
	names         []string
	matchers      [][]*labels.Matcher
	withoutAlerts bool
	groupLimit    int
	after         string // token of the last group that was seen
}

// newFilter reads parameters.
func newFilter(q url.Values) (*filter, error) {
	f := &filter{kind: q.Get("type")}
	if f.kind != "" && f.kind != "alert" && f.kind != "record" {
		return nil, &lokihttp.ParamError{Text: "type must be alert or record, not " + strconv.Quote(f.kind)}
	}
	both := func(name string) []string { return append(slices.Clone(q[name]), q[name+"[]"]...) }
	f.files, f.groups, f.names = both("file"), both("rule_group"), both("rule_name")
	for _, text := range both("match") {
		ms, err := syntax.ParseMatchers(text)
		if err != nil {
			return nil, err
		}
		f.matchers = append(f.matchers, ms)
	}
	if v := q.Get("exclude_alerts"); v != "" {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, &lokihttp.ParamError{Text: "exclude_alerts must be true or false, not " + strconv.Quote(v)}
		}
		f.withoutAlerts = b
	}
	if v := q.Get("group_limit"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n <= 0 {
			return nil, &lokihttp.ParamError{Text: "group_limit must be a number from 1 on, not " + strconv.Quote(v)}
		}
		f.groupLimit = n
	}
	f.after = q.Get("group_next_token")
	return f, nil
}

func listed(list []string, name string) bool { return len(list) == 0 || slices.Contains(list, name) }

func (f *filter) rule(r *RuleStatus) bool {
	switch {
	case f.kind == "alert" && r.Alert == "", f.kind == "record" && r.Record == "", !listed(f.names, r.Name()):
		return false
	}
	if len(f.matchers) == 0 {
		return true
	}
	return slices.ContainsFunc(f.matchers, func(ms []*labels.Matcher) bool {
		return !slices.ContainsFunc(ms, func(m *labels.Matcher) bool { return !m.Matches(r.Labels[m.Name]) })
	})
}

// token stands for a group in a list that is fetched in pieces.
func token(g *GroupStatus) string { return encode(g.Namespace) + "." + encode(g.Name) }

// rules answers with all rules and how they are.
func (a *api) rules(w http.ResponseWriter, r *http.Request) {
	f, err := newFilter(r.URL.Query())
	if err != nil {
		a.failJSON(w, r, err)
		return
	}
	groups, err := a.service.Status(r.Context(), StatusRequest{})
	if err != nil {
		a.failJSON(w, r, err)
		return
	}
	out := groupsJSON{Groups: []groupJSON{}}
	skip := f.after != ""
	for i := range groups {
		g := &groups[i]
		if skip {
			skip = token(g) != f.after
			continue
		}
		if !listed(f.files, g.Namespace) || !listed(f.groups, g.Name) {
			continue
		}
		rules := []any{}
		for i := range g.Rules {
			if rule := &g.Rules[i]; f.rule(rule) {
				rules = append(rules, ruleJSON(rule, f.withoutAlerts))
			}
		}
		if len(rules) == 0 && (f.kind != "" || len(f.names) > 0 || len(f.matchers) > 0) {
			continue
		}
		if f.groupLimit > 0 && len(out.Groups) == f.groupLimit {
			out.NextToken = token(&groups[i-1])
			break
		}
		out.Groups = append(out.Groups, groupJSON{
			Name: g.Name, File: g.Namespace, Rules: rules, Interval: g.Interval.Seconds(), Limit: g.Limit,
			LastEvaluation: g.LastEvaluation, EvaluationTime: g.EvaluationTime.Seconds(),
		})
	}
	success(w, out)
}

func ruleJSON(r *RuleStatus, withoutAlerts bool) any {
	if r.Record != "" {
		return recordingJSON{
			Name: r.Record, Query: r.Expr, Labels: r.Labels, Health: r.Health, LastError: r.LastError, Type: "recording",
			LastEvaluation: r.LastEvaluation, EvaluationTime: r.EvaluationTime.Seconds(),
		}
	}
	out := alertingJSON{
		State: r.State, Name: r.Alert, Query: r.Expr, Duration: r.For.Seconds(), KeepFiringFor: r.KeepFiringFor.Seconds(),
		Labels: r.Labels, Annotations: r.Annotations, Alerts: []alertJSON{}, Health: r.Health, LastError: r.LastError,
		Type: "alerting", LastEvaluation: r.LastEvaluation, EvaluationTime: r.EvaluationTime.Seconds(),
	}
	if out.Labels == nil {
		out.Labels = map[string]string{}
	}
	if out.Annotations == nil {
		out.Annotations = map[string]string{}
	}
	if !withoutAlerts {
		for i := range r.Alerts {
			out.Alerts = append(out.Alerts, toAlertJSON(&r.Alerts[i]))
		}
	}
	return out
}

func toAlertJSON(a *Alert) alertJSON {
	out := alertJSON{
		Labels: a.Labels, Annotations: a.Annotations, State: a.State, ActiveAt: &a.ActiveAt,
		Value: strconv.FormatFloat(a.Value, 'e', -1, 64),
	}
	if !a.KeepFiringSince.IsZero() {
		out.KeepFiringSince = &a.KeepFiringSince
	}
	return out
}

// alerts answers with the alerts that are pending or firing.
func (a *api) alerts(w http.ResponseWriter, r *http.Request) {
	groups, err := a.service.Status(r.Context(), StatusRequest{})
	if err != nil {
		a.failJSON(w, r, err)
		return
	}
	out := struct {
		Alerts []alertJSON `json:"alerts"`
	}{[]alertJSON{}}
	for _, g := range groups {
		for _, rule := range g.Rules {
			for i := range rule.Alerts {
				out.Alerts = append(out.Alerts, toAlertJSON(&rule.Alerts[i]))
			}
		}
	}
	success(w, out)
}

func success(w http.ResponseWriter, data any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(envelope{Status: "success", Data: data})
}

// failJSON answers with an error as Prometheus does.
func (a *api) failJSON(w http.ResponseWriter, r *http.Request, err error) {
	status, kind := lokihttp.Status(err), "server_error"
	if status == http.StatusInternalServerError {
		a.log.Error("request for the state of rules failed", "path", r.URL.Path, "err", err)
	} else if status < http.StatusInternalServerError {
		kind = "bad_data"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(envelope{Status: "error", ErrorType: kind, Error: err.Error()})
}
