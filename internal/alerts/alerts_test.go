package alerts

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// server is the program under test, built by TestMain.
var server string

func TestMain(m *testing.M) {
	if os.Getenv("LOKI_RULES") == "" {
		fmt.Println("skipped: set LOKI_RULES=1")
		return
	}
	os.Exit(process.Main(m, &server))
}

// outage is how long Prometheus and Alertmanager are away.
const outage = time.Minute

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	return strconv.Itoa(process.Ports(t, 1)[0])
}

// await waits until f holds.
func await(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline := time.After(3 * time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%s: waited in vain: %v", what, err)
		case <-tick.C:
		}
	}
}

// get fetches JSON.
func get(t *testing.T, url string, into any) error {
	t.Helper()
	status, body, err := process.Do(t.Context(), "GET", url, "", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("GET %s: %d %s", url, status, body)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// program is a server of others, on a port and a folder of its own that it keeps when it is started again.
type program struct {
	*process.Process
	t    *testing.T
	bin  string
	args []string
	URL  string
}

func newProgram(t *testing.T, bin, config string, args func(config, dir, port string) []string) *program {
	t.Helper()
	path, err := exec.LookPath(bin)
	if err != nil {
		t.Fatalf("%v: apt-get install %s", err, bin)
	}
	dir, port := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, bin: path, args: args(file, filepath.Join(dir, "data"), port), URL: "http://127.0.0.1:" + port}
	p.start()
	return p
}

func (p *program) start() {
	p.t.Helper()
	p.Process = process.Launch(p.t, p.bin, p.args...)
	await(p.t, p.bin+" to be ready", func() error {
		status, _, err := process.Do(p.t.Context(), "GET", p.URL+"/-/ready", "", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	})
}

func (p *program) stop() {
	p.t.Helper()
	if _, err := p.Terminate(); err != nil {
		p.t.Fatal(err)
	}
}

// push pushes a line with a time.
func push(t *testing.T, base, line string, at time.Time) {
	t.Helper()
	body := fmt.Sprintf(`{"streams":[{"stream":{"app":"shop"},"values":[["%d",%q]]}]}`, at.UnixNano(), line)
	status, text, err := process.Do(t.Context(), "POST", base+"/loki/api/v1/push", "application/json", []byte(body))
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("push: %d %s %v", status, text, err)
	}
}

func setRules(t *testing.T, base, group string) {
	t.Helper()
	status, text, err := process.Do(t.Context(), "POST", base+"/loki/api/v1/rules/ns", "application/yaml", []byte(group))
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("rules: %d %s %v", status, text, err)
	}
}

// active returns the alerts that an Alertmanager has as active, with an annotation.
func active(t *testing.T, am string) (map[string]string, error) {
	var all []struct{ Labels, Annotations map[string]string }
	if err := get(t, am+"/api/v2/alerts?active=true", &all); err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, a := range all {
		out[a.Labels["alertname"]] = a.Annotations["text"]
	}
	return out, nil
}

// samples returns the points of a series that a Prometheus has of the last minutes.
func samples(t *testing.T, prom, series string) (times, values []float64, err error) {
	var answer struct {
		Data struct {
			Result []struct{ Values [][2]any }
		}
	}
	if err := get(t, prom+"/api/v1/query?query="+url.QueryEscape(series+"[30m]"), &answer); err != nil {
		return nil, nil, err
	}
	if len(answer.Data.Result) != 1 {
		return nil, nil, fmt.Errorf("%d series of %s", len(answer.Data.Result), series)
	}
	for _, v := range answer.Data.Result[0].Values {
		f, err := strconv.ParseFloat(v[1].(string), 64)
		if err != nil {
			return nil, nil, err
		}
		times, values = append(times, v[0].(float64)), append(values, f)
	}
	return times, values, nil
}

// TestPrometheusAndAlertmanager follows lines to where they shall arrive: a line makes an alert in Alertmanager that
// ends again, and what is recorded is in Prometheus, all of it, although both are away for a minute in which the
// ruler is restarted and killed.
func TestPrometheusAndAlertmanager(t *testing.T) {
	prom := newProgram(t, "prometheus", "global: {scrape_interval: 1h}\n", func(config, dir, port string) []string {
		return []string{"--config.file=" + config, "--storage.tsdb.path=" + dir, "--web.listen-address=127.0.0.1:" + port, "--web.enable-remote-write-receiver"}
	})
	am := newProgram(t, "prometheus-alertmanager", "route: {receiver: none}\nreceivers: [{name: none}]\n", func(config, dir, port string) []string {
		return []string{"--config.file=" + config, "--storage.path=" + dir, "--web.listen-address=127.0.0.1:" + port, "--cluster.listen-address="}
	})
	dir := t.TempDir()
	config := filepath.Join(dir, "loki.yaml")
	text := fmt.Sprintf(`
auth_enabled: false
server: {http_listen_address: 127.0.0.1, http_listen_port: 0}
common: {path_prefix: %q}
ruler:
  evaluation_interval: 1s
  poll_interval: 1s
  resend_delay: 2s
  notification_timeout: 2s
  external_labels: {cluster: test}
  alertmanager_url: %s
  remote_write:
    enabled: true
    clients:
      prom: {url: %s/api/v1/write}
`, filepath.Join(dir, "data"), am.URL, prom.URL)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *process.Process { return process.Start(t, server, "-config.file", config) }
	loki := start()

	const recorded = `app:lines:count1h{app="shop",cluster="test"}`
	setRules(t, loki.URL, `
name: shop
rules:
  - alert: Errors
    expr: sum by (app) (count_over_time({app="shop"} |= "error" [15s])) > 0
    for: 2s
    annotations: {text: '{{ $labels.app }}: {{ template "lines" . }}'}
  - alert: Fatal
    expr: sum by (app) (count_over_time({app="shop"} |= "fatal" [20m])) > 0
    annotations: {text: '{{ template "lines" . }}'}
  - record: app:lines:count1h
    expr: sum by (app) (count_over_time({app="shop"}[1h]))
`)
	var lines []time.Time
	say := func(line string) {
		at := time.Now()
		push(t, loki.URL, line, at)
		lines = append(lines, at)
	}

	say("error: out of stock")
	await(t, "the alert in Alertmanager", func() error {
		all, err := active(t, am.URL)
		if err == nil && all["Errors"] != "shop: error: out of stock" {
			err = fmt.Errorf("alerts are %v", all)
		}
		return err
	})
	await(t, "the alert's end", func() error {
		all, err := active(t, am.URL)
		if err == nil && len(all) > 0 {
			err = fmt.Errorf("alerts are %v", all)
		}
		return err
	})
	await(t, "the alert's series in Prometheus", func() error {
		_, values, err := samples(t, prom.URL, `ALERTS{alertname="Errors",alertstate="firing",app="shop",cluster="test"}`)
		if err == nil && values[0] != 1 {
			err = fmt.Errorf("the values are %v", values)
		}
		return err
	})
	await(t, "the recorded series", func() error {
		_, values, err := samples(t, prom.URL, recorded)
		if err == nil && values[len(values)-1] != 1 {
			err = fmt.Errorf("the values are %v", values)
		}
		return err
	})
	checkMetrics(t, loki.URL)

	// Both away, and meanwhile the ruler, too: once in good order, once not.
	away := time.Now()
	prom.stop()
	am.stop()
	say("fatal: no more paper")
	say("error: while nobody listens")
	await(t, "both alerts to fire", func() error {
		firing, err := firing(t, loki.URL)
		if err == nil && firing != 2 {
			err = fmt.Errorf("%d fire", firing)
		}
		return err
	})
	if code, err := loki.Terminate(); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, loki.Output())
	}
	loki = start()
	await(t, "evaluations after the restart", func() error {
		firing, err := firing(t, loki.URL)
		if err == nil && firing == 0 {
			err = fmt.Errorf("none fires")
		}
		return err
	})
	loki.Kill()
	loki = start()
	say("info: back again")
	await(t, "a minute", func() error {
		if left := outage - time.Since(away); left > 0 {
			return fmt.Errorf("%v are left", left)
		}
		return nil
	})
	prom.start()
	am.start()
	back := time.Now()

	await(t, "the alert that began while Alertmanager was away", func() error {
		all, err := active(t, am.URL)
		if err == nil && (all["Fatal"] != "fatal: no more paper" || all["Errors"] != "") {
			err = fmt.Errorf("alerts are %v", all)
		}
		return err
	})
	// Everything is in Prometheus: a sample each second, with the lines that there were at its time.
	await(t, "all that was recorded", func() error {
		times, values, err := samples(t, prom.URL, recorded)
		if err != nil {
			return err
		}
		if last := times[len(times)-1]; last < float64(back.Unix()+5) {
			return fmt.Errorf("the last sample is from %v", time.Unix(int64(last), 0))
		}
		gaps := 0
		for i, at := range times {
			if i > 0 && at-times[i-1] > 1.002 {
				gaps++
				t.Logf("between %.3f and %.3f nothing was recorded; Prometheus was stopped at %d", times[i-1], at, away.Unix())
			}
			// A line may be pushed a moment after the evaluation for its time.
			low, high := 0.0, 0.0
			for _, l := range lines {
				age := at - float64(l.UnixMilli())/1000
				if age >= -0.01 {
					high++
				}
				if age > 10 {
					low++
				}
			}
			if values[i] < low || values[i] > high {
				t.Errorf("at %.3f there is a count of %v, want %v to %v", at, values[i], low, high)
			}
		}
		if gaps > 0 {
			t.Errorf("%d gaps among %d samples", gaps, len(times))
		}
		t.Logf("%d samples over %.0f s", len(times), times[len(times)-1]-times[0])
		return nil
	})
	if code, err := loki.Terminate(); err != nil || code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, loki.Output())
	}
}

// firing counts the rules that fire.
func firing(t *testing.T, base string) (n int, err error) {
	var answer struct {
		Data struct{ Alerts []struct{ State string } }
	}
	if err := get(t, base+"/prometheus/api/v1/alerts", &answer); err != nil {
		return 0, err
	}
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			n++
		}
	}
	return n, nil
}

// checkMetrics looks for what dashboards show.
func checkMetrics(t *testing.T, base string) {
	t.Helper()
	_, body, err := process.Do(t.Context(), "GET", base+"/metrics", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`loki_prometheus_rule_evaluations_total{rule_group="ns;shop",user="fake"} `,
		`loki_prometheus_rule_evaluation_failures_total{rule_group="ns;shop",user="fake"} 0`,
		`loki_prometheus_rule_group_iterations_missed_total{rule_group="ns;shop",user="fake"} `,
		`loki_prometheus_rule_group_last_duration_seconds{rule_group="ns;shop",user="fake"} `,
		`loki_prometheus_rule_group_rules{rule_group="ns;shop",user="fake"} 3`,
		`loki_prometheus_notifications_alertmanagers_discovered{user="fake"} 1`,
		`loki_prometheus_notifications_sent_total{alertmanager="`,
		`loki_prometheus_notifications_dropped_total{`,
		`loki_ruler_wal_appender_ready{tenant="fake"} 1`,
		`loki_ruler_wal_prometheus_remote_storage_samples_total{remote_name="prom",tenant="fake",url="`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
