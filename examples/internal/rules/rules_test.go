package rules

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loki/examples/internal/config"
)

func load(t *testing.T, text string, flags ...string) (*config.Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Load(append([]string{"-config.file", file}, flags...), os.LookupEnv)
}

func TestConfig(t *testing.T) {
	c, err := load(t, `
ruler:
  storage:
    type: local
    local: {directory: /etc/rules}
  evaluation_interval: 30s
  external_url: https://grafana.example
  datasource_uid: abc
  external_labels: {cluster: c}
  alertmanager_url: http://one:9093, https://two/alertmanager
  alertmanager_client: {basic_auth_username: u, basic_auth_password: p}
  alert_relabel_configs:
    - {action: labeldrop, regex: tmp_.*}
  evaluation: {max_jitter: 5s}
  remote_write:
    enabled: true
    add_org_id_header: false
    clients:
      prom:
        url: http://prom/api/v1/write
        headers: {X-Scope-OrgID: a}
        basic_auth: {username: x, password: very secret}
        queue_config: {max_samples_per_send: 7}
        write_relabel_configs:
          - {source_labels: [__name__], action: keep, regex: 'a:.*'}
      second: {url: http://second/write, remote_timeout: 5s}
  wal: {dir: /wal, max_age: 2h}
limits_config:
  ruler_max_rules_per_rule_group: 9
`, "-ruler.resend-delay=2m")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Ignored) > 0 {
		t.Errorf("ignored: %v", c.Ignored)
	}
	e, err := engineConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	if c.LocalRules() != "/etc/rules" || e.EvaluationInterval != 30*time.Second || e.ResendDelay != 2*time.Minute || e.DatasourceUID != "abc" ||
		e.ExternalURL.Host != "grafana.example" || e.ExternalLabels.Get("cluster") != "c" || e.MaxJitter != 5*time.Second || e.Dir != "/wal" {
		t.Errorf("got %+v", e)
	}
	n := e.Notify
	if len(n.Alertmanagers) != 2 || n.Alertmanagers[1] != "https://two/alertmanager" || n.Client.BasicAuth.Username != "u" || len(n.Relabel) != 1 {
		t.Errorf("notifications: %+v", n)
	}
	w := e.RemoteWrite
	if len(w.Receivers) != 2 || w.AddTenant || w.MaxAge != 2*time.Hour {
		t.Fatalf("remote write: %+v", w)
	}
	r := w.Receivers[0]
	if r.Name != "prom" || r.URL.String() != "http://prom/api/v1/write" || r.QueueConfig.MaxSamplesPerSend != 7 || r.QueueConfig.MinBackoff == 0 ||
		len(r.WriteRelabelConfigs) != 1 || string(r.HTTPClientConfig.BasicAuth.Password) != "very secret" {
		t.Errorf("receiver: %+v", r)
	}
	if c.Limits.RulerMaxRulesPerRuleGroup != 9 {
		t.Errorf("limits: %+v", c.Limits)
	}
	if _, err := Builder(c); err != nil {
		t.Error(err)
	}
	var shown strings.Builder
	if err := c.WriteYAML(&shown); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(shown.String(), "very secret") || !strings.Contains(shown.String(), "http://second/write") {
		t.Errorf("what is shown:\n%s", shown.String())
	}
}

// TestMistakes holds that what can't be meant is refused, with what to do.
func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"ruler: {storage: {type: gcs}}":                                         "not available here",
		"ruler: {storage: {type: local}}":                                       "set ruler.storage.local.directory",
		"ruler: {storage: {type: s3}}":                                          "set common.storage.s3",
		"ruler: {evaluation: {mode: remote}}":                                   "set ruler.evaluation.query_frontend.address",
		"ruler: {evaluation: {mode: far}}":                                      "use local or remote",
		"ruler: {remote_write: {enabled: true}}":                                "set ruler.remote_write.clients",
		"ruler: {remote_write: {enabled: true, clients: {a: {name: b}}}}":       "clients.a has no url",
		"ruler: {remote_write: {enabled: true, clients: {a: {url: 'x', b: c}}}": "",
		"ruler: {alert_relabel_configs: [{action: fly}]}":                       "ruler.alert_relabel_configs",
	} {
		c, err := load(t, text)
		if err == nil {
			_, err = Builder(c)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", text, err, want)
		}
	}
}
