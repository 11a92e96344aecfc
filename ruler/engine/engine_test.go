package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	common "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/thanos-io/objstore"
	"go.uber.org/goleak"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
	"example.com/loki/ruler"
	"example.com/loki/ruler/rulertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers is a Querier whose answers a test decides about.
type answers struct {
	mu     sync.Mutex
	vector func(query string, at time.Time) []logql.SeriesResult
	lines  []string
	asked  []logql.Params
	err    error
}

// Query implements Querier.
func (a *answers) Query(ctx context.Context, p *logql.Params) (*logql.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id, err := user.ExtractOrgID(ctx); err != nil || id == "" {
		return nil, fmt.Errorf("no tenant: %w", err)
	}
	a.asked = append(a.asked, *p)
	if a.err != nil {
		return nil, a.err
	}
	if strings.HasPrefix(p.Query, "{") {
		res := &logql.Result{Type: logql.ResultStreams, Streams: []logql.StreamResult{{}}}
		for _, l := range a.lines {
			res.Streams[0].Entries = append(res.Streams[0].Entries, logql.EntryResult{Time: p.End, Line: l})
		}
		return res, nil
	}
	return &logql.Result{Type: logql.ResultVector, Series: a.vector(p.Query, time.Unix(0, p.End))}, nil
}

func (a *answers) set(f func(query string, at time.Time) []logql.SeriesResult) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.vector = f
}

func none(string, time.Time) []logql.SeriesResult { return nil }

func one(string, time.Time) []logql.SeriesResult {
	return []logql.SeriesResult{{Labels: labels.FromStrings("app", "web"), Points: []logql.Point{{Value: 7}}}}
}

// alertmanager notes what it is sent.
type alertmanager struct {
	*httptest.Server
	mu   sync.Mutex
	got  []posted
	down bool
}

type posted struct {
	Labels, Annotations map[string]string
	StartsAt, EndsAt    time.Time
	GeneratorURL        string
	at                  time.Time
}

func newAlertmanager(t *testing.T) *alertmanager {
	m := &alertmanager{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.down {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path != "/prefix/api/v2/alerts" {
			t.Errorf("request for %s", r.URL.Path)
		}
		var all []posted
		if err := json.NewDecoder(r.Body).Decode(&all); err != nil {
			t.Error(err)
		}
		for _, a := range all {
			a.at = time.Now()
			m.got = append(m.got, a)
		}
	}))
	t.Cleanup(m.Close)
	return m
}

func (m *alertmanager) all() []posted {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.got)
}

func (m *alertmanager) setDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// metricsServer is a remote-write receiver.
type metricsServer struct {
	*httptest.Server
	mu      sync.Mutex
	samples map[string][]prompb.Sample // by labels
	tenants map[string]bool
}

func newMetricsServer(t *testing.T) *metricsServer {
	s := &metricsServer{samples: map[string][]prompb.Sample{}, tenants: map[string]bool{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		raw, err := snappy.Decode(nil, body)
		var m prompb.WriteRequest
		if err != nil || m.Unmarshal(raw) != nil {
			t.Errorf("malformed request: %v", err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tenants[r.Header.Get("X-Scope-OrgID")] = true
		for _, ts := range m.Timeseries {
			key := ts.ToLabels(&labels.ScratchBuilder{}, nil).String()
			s.samples[key] = append(s.samples[key], ts.Samples...)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *metricsServer) of(series string) []prompb.Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.samples[series])
}

func (s *metricsServer) receiver(t *testing.T) *config.RemoteWriteConfig {
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := config.DefaultRemoteWriteConfig
	c.Name, c.URL, c.RemoteTimeout = "prom", &common.URL{URL: u}, model.Duration(5*time.Second)
	return &c
}

// world is what rulers of a test share.
type world struct {
	t      *testing.T
	bucket objstore.Bucket
	store  ruler.Store
	answer *answers
	am     *alertmanager
	prom   *metricsServer
	cfg    Config
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, bucket: objstore.NewInMemBucket(), answer: &answers{vector: none}, am: newAlertmanager(t), prom: newMetricsServer(t)}
	w.store = ruler.NewBucketStore(w.bucket)
	external, err := url.Parse("http://grafana/")
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{
		Dir: t.TempDir(), EvaluationInterval: 100 * time.Millisecond, PollInterval: 100 * time.Millisecond, StateInterval: time.Millisecond,
		ResendDelay: time.Minute, Settle: 200 * time.Millisecond, ExternalURL: external, ExternalLabels: labels.FromStrings("cluster", "c"),
		Notify:      NotifyConfig{Alertmanagers: []string{w.am.URL + "/prefix"}, Timeout: 5 * time.Second},
		RemoteWrite: RemoteWriteConfig{Receivers: []*config.RemoteWriteConfig{w.prom.receiver(t)}, AddTenant: true},
	}
	return w
}

// start starts a ruler; stop ends it in good order.
func (w *world) start(rulers Rulers, reg prometheus.Registerer) (r *Ruler, stop func()) {
	w.t.Helper()
	r, err := New(w.cfg, w.store, w.bucket, w.answer, rulers, nil, nil, reg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx := context.Background()
	if err := services.StartAndAwaitRunning(ctx, r); err != nil {
		w.t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		if err := services.StopAndAwaitTerminated(ctx, r); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	return r, stop
}

func (w *world) set(r ruler.Service, text string) {
	w.t.Helper()
	g, err := ruler.ParseGroup("ns", []byte(text))
	if err == nil {
		err = r.SetGroup(user.InjectOrgID(w.t.Context(), "a"), g)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) status(r ruler.Service) []ruler.GroupStatus {
	w.t.Helper()
	all, err := r.Status(user.InjectOrgID(w.t.Context(), "a"), ruler.StatusRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// states returns the states of the alerts of the only rule.
func (w *world) states(r ruler.Service) (states []ruler.AlertState) {
	for _, g := range w.status(r) {
		for _, a := range g.Rules[0].Alerts {
			states = append(states, a.State)
		}
	}
	return states
}

func (w *world) await(what string, f func() bool) {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-deadline:
			w.t.Fatal("waited in vain: " + what)
		case <-tick.C:
		}
	}
}

func TestContract(t *testing.T) {
	rulertest.Contract(t, func(t *testing.T) ruler.Service {
		w := newWorld(t)
		r, _ := w.start(Rulers{}, nil)
		return r
	})
}

const alertGroup = `
name: g
rules:
  - alert: Errors
    expr: sum by (app) (count_over_time({app=~".+"} |= "error" [1m])) > 1
    for: 300ms
    keep_firing_for: 200ms
    labels: {severity: page, of: '{{ $labels.app }}'}
    annotations:
      summary: '{{ $value }} errors of {{ $labels.app }} in {{ $externalLabels.cluster }}'
      sample: 'Look: {{ template "lines" . }}'
`

// TestAlert follows an alert from its beginning to its end.
func TestAlert(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewRegistry()
	w.answer.lines = []string{"error 1", strings.Repeat("x", 2000)}
	r, _ := w.start(Rulers{}, reg)
	w.set(r, alertGroup)
	w.await("an evaluation", func() bool { s := w.status(r); return len(s) == 1 && s[0].Rules[0].Health == ruler.HealthOK })
	if got := w.states(r); len(got) != 0 {
		t.Fatalf("alerts before anything has happened: %v", got)
	}
	w.answer.set(one)
	w.await("pending", func() bool { return slices.Equal(w.states(r), []ruler.AlertState{ruler.Pending}) })
	if n := len(w.am.all()); n != 0 {
		t.Errorf("%d notifications of an alert that is pending", n)
	}
	w.await("firing", func() bool { return slices.Equal(w.states(r), []ruler.AlertState{ruler.Firing}) })
	w.await("a notification", func() bool { return len(w.am.all()) == 1 })
	a := w.am.all()[0]
	if got := fmt.Sprint(a.Labels); got != "map[alertname:Errors app:web cluster:c of:web severity:page]" {
		t.Errorf("labels %s", got)
	}
	if a.Annotations["summary"] != "7 errors of web in c" || a.Annotations["sample"] != "Look: error 1\n"+strings.Repeat("x", 1024)+"… (976 bytes more)" {
		t.Errorf("annotations %q", a.Annotations)
	}
	if !strings.HasPrefix(a.GeneratorURL, "http://grafana/graph?g0.expr=sum+by") || !a.EndsAt.After(time.Now()) {
		t.Errorf("notification %+v", a)
	}
	w.answer.mu.Lock()
	i := slices.IndexFunc(w.answer.asked, func(p logql.Params) bool { return strings.HasPrefix(p.Query, "{") })
	p := w.answer.asked[i]
	w.answer.mu.Unlock()
	if p.Query != "{app=~\".+\"} |= \"error\" | app=\"web\"" || p.End-p.Start != int64(time.Minute)+1 && p.End-p.Start != int64(time.Minute) || p.Limit != 5 {
		t.Errorf("the lines were asked for with %+v", p)
	}
	w.answer.set(none)
	w.await("resolved", func() bool { return len(w.states(r)) == 0 })
	w.await("its notification", func() bool { return len(w.am.all()) == 2 })
	if a := w.am.all()[1]; a.EndsAt.After(time.Now()) {
		t.Errorf("the last notification does not resolve: %+v", a)
	}
	const series = `{__name__="ALERTS", alertname="Errors", alertstate="%s", app="web", cluster="c", of="web", severity="page"}`
	for _, state := range []string{"pending", "firing"} {
		w.await("series of "+state, func() bool {
			s := w.prom.of(fmt.Sprintf(series, state))
			return len(s) > 1 && s[0].Value == 1 && value.IsStaleNaN(s[len(s)-1].Value)
		})
	}
	w.prom.mu.Lock()
	defer w.prom.mu.Unlock()
	if fmt.Sprint(w.prom.tenants) != "map[a:true]" {
		t.Errorf("samples came for %v", w.prom.tenants)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range families {
		have[f.GetName()] = true
	}
	for _, name := range []string{
		"loki_prometheus_rule_evaluations_total", "loki_prometheus_rule_evaluation_failures_total", "loki_prometheus_rule_evaluation_duration_seconds",
		"loki_prometheus_rule_group_duration_seconds", "loki_prometheus_rule_group_iterations_missed_total", "loki_prometheus_rule_group_iterations_total",
		"loki_prometheus_rule_group_interval_seconds", "loki_prometheus_rule_group_last_duration_seconds", "loki_prometheus_rule_group_last_evaluation_timestamp_seconds",
		"loki_prometheus_rule_group_rules", "loki_prometheus_notifications_sent_total", "loki_prometheus_notifications_errors_total",
		"loki_prometheus_notifications_dropped_total", "loki_prometheus_notifications_queue_length", "loki_prometheus_notifications_queue_capacity",
		"loki_prometheus_notifications_alertmanagers_discovered", "loki_prometheus_notifications_latency_seconds",
		"loki_ruler_wal_samples_appended_total", "loki_ruler_wal_disk_size", "loki_ruler_wal_appender_ready",
		"loki_ruler_wal_prometheus_remote_storage_samples_total", "loki_ruler_wal_prometheus_remote_storage_samples_pending",
	} {
		if !have[name] {
			t.Errorf("metric %s is missing", name)
		}
	}
}

// TestRestart restarts the ruler in each state of an alert: it stays what it is, and nobody is told twice.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.answer.set(one)
	r, stop := w.start(Rulers{}, nil)
	group := strings.ReplaceAll(strings.ReplaceAll(alertGroup, "300ms", "2s"), "200ms", "1h")
	w.set(r, group)
	active := func() time.Time {
		t.Helper()
		w.await("an alert", func() bool { return len(w.states(r)) == 1 })
		return w.status(r)[0].Rules[0].Alerts[0].ActiveAt
	}
	since := active()
	stop()
	r, stop = w.start(Rulers{}, nil)
	if again := active(); !again.Equal(since) {
		t.Errorf("the alert is pending since %v after a restart, was %v", again, since)
	}
	w.await("firing", func() bool { return slices.Equal(w.states(r), []ruler.AlertState{ruler.Firing}) })
	w.await("a notification", func() bool { return len(w.am.all()) == 1 })
	if took := time.Since(since); took < 2*time.Second {
		t.Errorf("it fires after %v", took)
	}
	stop()
	r, stop = w.start(Rulers{}, nil)
	if again := active(); !again.Equal(since) || w.states(r)[0] != ruler.Firing {
		t.Errorf("the alert is %v since %v after a restart, was firing since %v", w.states(r), again, since)
	}
	// Now only keep_firing_for keeps it.
	w.answer.set(none)
	w.await("keep firing", func() bool { return !w.status(r)[0].Rules[0].Alerts[0].KeepFiringSince.IsZero() })
	stop()
	r, stop = w.start(Rulers{}, nil)
	if active(); w.states(r)[0] != ruler.Firing {
		t.Errorf("keep_firing_for does not keep the alert over a restart: %v", w.states(r))
	}
	if n := len(w.am.all()); n != 1 {
		t.Errorf("%d notifications within the resend delay, want 1", n)
	}
	// Without keep_firing_for it ends.
	w.set(r, strings.Replace(group, "keep_firing_for: 1h", "keep_firing_for: 0s", 1))
	w.await("its end", func() bool { return len(w.states(r)) == 0 })
	w.await("the notification of its end", func() bool { return len(w.am.all()) == 2 })
	stop()
}

// TestCatchUp stops the ruler for a while: what was not recorded meanwhile is recorded later, for its time.
func TestCatchUp(t *testing.T) {
	w := newWorld(t)
	w.answer.set(func(_ string, at time.Time) []logql.SeriesResult {
		return []logql.SeriesResult{{Points: []logql.Point{{Value: float64(at.UnixMilli())}}}}
	})
	r, stop := w.start(Rulers{}, nil)
	w.set(r, "name: g\nrules: [{record: m, expr: 'sum(rate({a=\"b\"}[1m]))'}]")
	samples := func() []prompb.Sample { return w.prom.of(`{__name__="m", cluster="c"}`) }
	w.await("samples", func() bool { return len(samples()) > 2 })
	stop()
	at := time.Now()
	w.await("a second", func() bool { return time.Since(at) > time.Second })
	_, stop = w.start(Rulers{}, nil)
	w.await("samples after the gap", func() bool { s := samples(); return s[len(s)-1].Timestamp > at.UnixMilli()+1200 })
	stop()
	all := samples()
	for i, s := range all {
		if s.Value != float64(s.Timestamp) {
			t.Errorf("the sample of %d has the value of %v", s.Timestamp, s.Value)
		}
		if i > 0 && s.Timestamp-all[i-1].Timestamp > 101 {
			t.Errorf("there is a gap of %d ms", s.Timestamp-all[i-1].Timestamp)
		}
		if i > 0 && s.Timestamp <= all[i-1].Timestamp {
			t.Errorf("the sample of %d comes behind that of %d", s.Timestamp, all[i-1].Timestamp)
		}
	}
}

// TestAlertmanagerAway has Alertmanager away when an alert begins and when it ends.
func TestAlertmanagerAway(t *testing.T) {
	w := newWorld(t)
	w.cfg.ResendDelay, w.cfg.Notify.Timeout = 200*time.Millisecond, 300*time.Millisecond
	w.am.setDown(true)
	w.answer.set(one)
	r, _ := w.start(Rulers{}, nil)
	w.set(r, alertGroup)
	w.await("firing", func() bool { return slices.Equal(w.states(r), []ruler.AlertState{ruler.Firing}) })
	w.am.setDown(false)
	w.await("a late notification", func() bool { return len(w.am.all()) > 0 })
	w.am.setDown(true)
	w.answer.set(none)
	w.await("its end", func() bool { return len(w.states(r)) == 0 })
	w.am.setDown(false)
	w.await("the late notification of its end", func() bool {
		all := w.am.all()
		return !all[len(all)-1].EndsAt.After(time.Now())
	})
}

// ring is a ring that a test changes.
type ring struct {
	mu   sync.Mutex
	view member.View
}

func (r *ring) View() member.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

func (r *ring) set(addrs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.view = member.Fixed(member.Options{}, addrs...).View()
}

// TestShards runs three rulers and ends one without a word: each alert is sent once per resend delay all the time,
// and each ruler knows of all groups.
func TestShards(t *testing.T) {
	w := newWorld(t)
	w.cfg.ResendDelay = time.Second
	w.answer.set(one)
	const n = 12
	for i := range n {
		g, err := ruler.ParseGroup("ns", []byte(strings.ReplaceAll(strings.ReplaceAll(alertGroup, "Errors", fmt.Sprint("Errors", i)), "name: g", fmt.Sprint("name: g", i))))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.store.SetGroup(t.Context(), "a", g); err != nil {
			t.Fatal(err)
		}
	}
	members := &ring{}
	addrs := []string{"one", "two", "three"}
	members.set(addrs...)
	all := map[string]*Ruler{}
	stops := map[string]func(){}
	dial := func(addr string) (ruler.Service, io.Closer, error) { return all[addr], nil, nil }
	dir := w.cfg.Dir
	for _, a := range addrs {
		w.cfg.Dir = dir + "/" + a
		r, err := New(w.cfg, w.store, w.bucket, w.answer, Rulers{Ring: members, Self: a, Dial: dial}, nil, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		all[a] = r
	}
	for _, a := range addrs {
		if err := services.StartAndAwaitRunning(t.Context(), all[a]); err != nil {
			t.Fatal(err)
		}
		stops[a] = sync.OnceFunc(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), all[a]); err != nil {
				t.Error(err)
			}
		})
		defer stops[a]()
	}
	fire := func(r *Ruler) int {
		firing := 0
		for _, g := range w.status(r) {
			if g.Rules[0].State == ruler.Firing {
				firing++
			}
		}
		return firing
	}
	w.await("all alerts to fire", func() bool { return fire(all["one"]) == n && fire(all["two"]) == n })
	for a, r := range all {
		mine, err := r.Status(user.InjectOrgID(t.Context(), "a"), ruler.StatusRequest{Local: true})
		if err != nil || len(mine) == 0 || len(mine) == n {
			t.Errorf("%s has %d of %d groups", a, len(mine), n)
		}
	}
	stops["two"]()
	members.set("one", "three")
	begun := time.Now()
	w.await("all alerts to fire again", func() bool { return fire(all["one"]) == n })
	w.await("five seconds", func() bool { return time.Since(begun) > 5*time.Second })
	stops["one"]()
	stops["three"]()
	// An alert is sent when the delay has passed, at the next evaluation: 1 s to 1.2 s apart, and later by what the
	// hand-over takes. Notes travel through a queue, so a bit less is no sign of a second sender.
	last := map[string]time.Time{}
	for _, p := range w.am.all() {
		name := p.Labels["alertname"]
		if before, ok := last[name]; ok {
			if apart := p.at.Sub(before); apart < 700*time.Millisecond || apart > 4*time.Second {
				t.Errorf("%s was sent %v after it was sent before", name, apart)
			}
		}
		last[name] = p.at
	}
	if len(last) != n {
		t.Errorf("%d alerts were sent, want %d", len(last), n)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t)
	lim := limits.Default()
	lim.RulerMaxRulesPerRuleGroup, lim.RulerMaxRuleGroupsPerTenant = 1, 2
	r, err := New(w.cfg, w.store, w.bucket, w.answer, Rulers{}, limits.Fixed(lim), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := user.InjectOrgID(t.Context(), "a")
	g := rulertest.Example("ns", "g")
	err = r.SetGroup(ctx, g)
	if !errors.Is(err, ruler.ErrLimit) || err.Error() != "per-user rules per rule group limit (limit: 1 actual: 2) exceeded" {
		t.Errorf("too many rules: %v", err)
	}
	g.Rules = g.Rules[:1]
	for i, want := range []bool{false, false, true} {
		g.Name = fmt.Sprint("g", i)
		if err := r.SetGroup(ctx, g); errors.Is(err, ruler.ErrLimit) != want {
			t.Errorf("group %d: %v", i, err)
		}
	}
	g.Name = "g1"
	if err := r.SetGroup(ctx, g); err != nil {
		t.Errorf("a group that is there can't be changed: %v", err)
	}
}

func TestTemplatesAreChecked(t *testing.T) {
	w := newWorld(t)
	r, _ := w.start(Rulers{}, nil)
	text := strings.Replace(alertGroup, "{{ $value }} errors", "{{ $valu }} errors", 1)
	g, err := ruler.ParseGroup("ns", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	err = r.SetGroup(user.InjectOrgID(t.Context(), "a"), g)
	if err == nil || !strings.HasPrefix(err.Error(), `line 4: group "g", rule 1 (Errors): annotation summary: `) || !strings.Contains(err.Error(), "$valu") {
		t.Errorf("a template that is wrong: %v", err)
	}
}

func TestFailuresAreShown(t *testing.T) {
	w := newWorld(t)
	w.answer.err = &logql.QueryError{Message: "too many series"}
	r, _ := w.start(Rulers{}, nil)
	w.set(r, alertGroup)
	w.await("an error", func() bool {
		s := w.status(r)
		return s[0].Rules[0].Health == ruler.HealthErr && strings.Contains(s[0].Rules[0].LastError, "too many series")
	})
}

func TestDelete(t *testing.T) {
	w := newWorld(t)
	w.answer.set(one)
	r, _ := w.start(Rulers{}, nil)
	w.set(r, "name: g\nrules: [{record: m, expr: 'sum(rate({a=\"b\"}[1m]))'}]")
	samples := func() []prompb.Sample { return w.prom.of(`{__name__="m", app="web", cluster="c"}`) }
	w.await("samples", func() bool { return len(samples()) > 2 })
	if err := r.DeleteGroup(user.InjectOrgID(t.Context(), "a"), "ns", "g"); err != nil {
		t.Fatal(err)
	}
	w.await("the end of the series", func() bool { s := samples(); return value.IsStaleNaN(s[len(s)-1].Value) })
	w.await("no state left", func() bool {
		found := false
		if err := w.bucket.Iter(t.Context(), "ruler-state/", func(string) error { found = true; return nil }, objstore.WithRecursiveIter()); err != nil {
			t.Fatal(err)
		}
		return !found && r.tenant("a") == nil
	})
}

func TestGrafanaLink(t *testing.T) {
	u, err := url.Parse("https://grafana.example/g/")
	if err != nil {
		t.Fatal(err)
	}
	link := generatorURL(&Config{ExternalURL: u, DatasourceUID: "uid1"}, `rate({a="b"}[1m])`)
	parsed, err := url.Parse(link)
	if err != nil || parsed.Path != "/g/explore" || !strings.Contains(parsed.Query().Get("left"), `"expr":"rate({a=\"b\"}[1m])"`) {
		t.Errorf("the link is %s", link)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{
		{PollInterval: -1},
		{SampleLines: -1},
		{Notify: NotifyConfig{Alertmanagers: []string{"alertmanager:9093"}}},
		{RemoteWrite: RemoteWriteConfig{Receivers: []*config.RemoteWriteConfig{{}}}},
	} {
		if _, err := New(cfg, nil, nil, nil, Rulers{}, nil, nil, nil); err == nil {
			t.Errorf("New takes %+v", cfg)
		}
	}
}
