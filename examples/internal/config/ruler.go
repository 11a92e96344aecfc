package config

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Ruler says how rules are evaluated and who is told. Zero means the ruler's default.
type Ruler struct {
	StorageType        string // local, filesystem or s3; empty: where the segments are
	LocalDir           string // of rules in files
	EvaluationInterval time.Duration
	PollInterval       time.Duration
	MaxJitter          time.Duration
	OutageTolerance    time.Duration
	ResendDelay        time.Duration
	EvaluationMode     string // local or remote
	Frontend           string // address of a query frontend
	ExternalURL        string
	DatasourceUID      string
	ExternalLabels     map[string]string
	EnabledTenants     []string
	DisabledTenants    []string
	EnableAPI          bool

	AlertmanagerURL       string // several: with commas
	AlertmanagerDiscovery bool
	AlertmanagerRefresh   time.Duration
	NotificationTimeout   time.Duration
	QueueCapacity         int
	Alertmanager          AlertmanagerClient
	AlertRelabel          string // YAML of Prometheus' alert_relabel_configs

	RemoteWrite bool
	AddTenant   bool
	Clients     map[string]string // YAML of Prometheus' remote_write, by name
	WALDir      string
	WALMaxAge   time.Duration
}

// AlertmanagerClient is what Alertmanagers want to see.
type AlertmanagerClient struct {
	CertFile, KeyFile, CAFile, ServerName string
	SkipVerify                            bool
	Username, Password                    string
	AuthType, Credentials                 string
	CredentialsFile                       string
}

func rulerSettings(c *Config) []setting {
	r, am := &c.Ruler, &c.Ruler.Alertmanager
	const k, f = "ruler.", "ruler."
	return []setting{
		{k + "storage.type", f + "storage.type", "local, filesystem or s3; empty: rules are where the segments are", text(&r.StorageType)},
		{k + "storage.local.directory", f + "storage.local.directory", "folder of rules that others write: DIR/TENANT/FILE", text(&r.LocalDir)},
		{"ruler_storage.backend", "ruler-storage.backend", "the same as storage.type", text(&r.StorageType)},
		{"ruler_storage.local.directory", "ruler-storage.local.directory", "the same", text(&r.LocalDir)},
		{"common.storage.filesystem.rules_directory", "common.storage.filesystem.rules-directory", "the same, and storage.type local", text(&r.LocalDir)},
		{k + "enable_api", f + "enable-api", "serve the API for rules", boolean(&r.EnableAPI)},
		{k + "evaluation_interval", f + "evaluation-interval", "of groups that don't say; 0 for 1m", duration(&r.EvaluationInterval)},
		{k + "poll_interval", f + "poll-interval", "how often rules are looked for; 0 for 1m", duration(&r.PollInterval)},
		{k + "evaluation.mode", f + "evaluation.mode", "local: own queriers; remote: ask a query frontend", text(&r.EvaluationMode)},
		{k + "evaluation.query_frontend.address", f + "evaluation.query-frontend.address", "query-frontend, over gRPC", text(&r.Frontend)},
		{k + "evaluation.max_jitter", f + "evaluation.max-jitter", "spread evaluations over this time", duration(&r.MaxJitter)},
		{k + "for_outage_tolerance", f + "for-outage-tolerance", "outage after which alerts begin anew; 0 for 1h", duration(&r.OutageTolerance)},
		{k + "resend_delay", f + "resend-delay", "how often a firing alert is sent; 0 for 1m", duration(&r.ResendDelay)},
		{k + "external_url", f + "external.url", "where people see alerts, such as Grafana", text(&r.ExternalURL)},
		{k + "datasource_uid", f + "datasource-uid", "of this server in Grafana, for links to Explore", text(&r.DatasourceUID)},
		{k + "external_labels", "", "labels of all alerts and samples (not in Loki)", dictionary(&r.ExternalLabels)},
		{k + "enabled_tenants", f + "enabled-tenants", "tenants with rules; empty for all", list(&r.EnabledTenants)},
		{k + "disabled_tenants", f + "disabled-tenants", "tenants without", list(&r.DisabledTenants)},
		{k + "alertmanager_url", f + "alertmanager-url", "Alertmanagers, separated by commas", text(&r.AlertmanagerURL)},
		{k + "enable_alertmanager_discovery", f + "alertmanager-discovery", "look them up as services in the DNS", boolean(&r.AlertmanagerDiscovery)},
		{k + "alertmanager_refresh_interval", f + "alertmanager-refresh-interval", "how often; 0 for 1m", duration(&r.AlertmanagerRefresh)},
		{k + "notification_timeout", f + "notification-timeout", "of a notification; 0 for 10s", duration(&r.NotificationTimeout)},
		{k + "notification_queue_capacity", f + "notification-queue-capacity", "alerts that wait; 0 for 10000", number(&r.QueueCapacity)},
		{k + "alertmanager_client.tls_cert_path", f + "alertmanager-client.tls-cert-path", "certificate to show", text(&am.CertFile)},
		{k + "alertmanager_client.tls_key_path", f + "alertmanager-client.tls-key-path", "its key", text(&am.KeyFile)},
		{k + "alertmanager_client.tls_ca_path", f + "alertmanager-client.tls-ca-path", "certificates to trust", text(&am.CAFile)},
		{k + "alertmanager_client.tls_server_name", f + "alertmanager-client.tls-server-name", "name to expect in certificates", text(&am.ServerName)},
		{k + "alertmanager_client.tls_insecure_skip_verify", f + "alertmanager-client.tls-insecure-skip-verify", "trust any certificate", boolean(&am.SkipVerify)},
		{k + "alertmanager_client.basic_auth_username", f + "alertmanager-client.basic-auth-username", "name", text(&am.Username)},
		{k + "alertmanager_client.basic_auth_password", f + "alertmanager-client.basic-auth-password", "password", secret(&am.Password)},
		{k + "alertmanager_client.type", f + "alertmanager-client.type", "of credentials; empty for Bearer", text(&am.AuthType)},
		{k + "alertmanager_client.credentials", f + "alertmanager-client.credentials", "token (not in Loki)", secret(&am.Credentials)},
		{k + "alertmanager_client.credentials_file", f + "alertmanager-client.credentials-file", "file with the token (not in Loki)", text(&am.CredentialsFile)},
		{k + "alert_relabel_configs", "", "as Prometheus has them (not in Loki)", document(&r.AlertRelabel)},
		{k + "remote_write.enabled", f + "remote-write.enabled", "send what rules record to the clients", boolean(&r.RemoteWrite)},
		{k + "remote_write.add_org_id_header", f + "remote-write.add-org-id-header", "… with X-Scope-OrgID", boolean(&r.AddTenant)},
		{k + "remote_write.client", "", "a client, as Prometheus' remote_write has them", documents(&r.Clients, "default")},
		{k + "remote_write.clients", "", "clients by name", documents(&r.Clients, "")},
		{k + "wal.dir", f + "wal.dir", "folder of samples that wait; empty: in the folder of all", text(&r.WALDir)},
		{k + "wal.max_age", f + "wal.max-age", "how long they wait; 0 for 4h", duration(&r.WALMaxAge)},
	}
}

func rulerLimits(c *Config) []setting {
	l := &c.Limits
	const k = "limits_config."
	return []setting{
		{k + "ruler_max_rules_per_rule_group", "ruler.max-rules-per-rule-group", "rules of a group; 0 for no limit", number(&l.RulerMaxRulesPerRuleGroup)},
		{k + "ruler_max_rule_groups_per_tenant", "ruler.max-rule-groups-per-tenant", "groups; 0 for no limit", number(&l.RulerMaxRuleGroupsPerTenant)},
		{k + "ruler_tenant_shard_size", "ruler.tenant-shard-size", "rulers that share the groups; 0 for all", number(&l.RulerTenantShardSize)},
		{k + "ruler_remote_write_disabled", "", "don't send what rules record", boolean(&l.RulerRemoteWriteDisabled)},
	}
}

// node is a value of which a file has YAML and a flag nothing.
func node(kind string, none func() bool, decode func(*yaml.Node) error, encode func() *yaml.Node) value {
	return value{kind: kind, none: none, decode: decode, encode: encode,
		set: func(string) error { return errors.New("this can be set in the file only") },
		get: func() string { return "" },
	}
}

// document keeps YAML as text, for those who know what is in it.
func document(p *string) value {
	return node("block", func() bool { return *p == "" }, func(n *yaml.Node) error {
		b, err := yaml.Marshal(n)
		*p = string(b)
		return err
	}, func() *yaml.Node { return parsed(*p) })
}

// parsed is the YAML that document has kept; it is valid.
func parsed(text string) *yaml.Node {
	var doc yaml.Node
	if yaml.Unmarshal([]byte(text), &doc) != nil || len(doc.Content) == 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	}
	return doc.Content[0]
}

// documents keeps YAML as text by name, or the whole under one name.
func documents(p *map[string]string, only string) value {
	// One client is shown among the others.
	return node("block", func() bool { return len(*p) == 0 || only != "" }, func(n *yaml.Node) error {
		all := map[string]yaml.Node{only: *n}
		if only == "" {
			all = nil
			if err := n.Decode(&all); err != nil {
				return errors.New("expected clients by name")
			}
		}
		*p = maps.Clone(*p)
		if *p == nil {
			*p = map[string]string{}
		}
		for name, n := range all {
			b, err := yaml.Marshal(&n)
			if err != nil {
				return err
			}
			(*p)[name] = string(b)
		}
		return nil
	}, func() *yaml.Node {
		out := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range slices.Sorted(maps.Keys(*p)) {
			out.Content = append(out.Content, scalar(name, "text"), redacted(parsed((*p)[name])))
		}
		return out
	})
}

// redacted replaces what is secret in the configuration of a client.
func redacted(n *yaml.Node) *yaml.Node {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		if v.Kind != yaml.ScalarNode {
			redacted(v)
			continue
		}
		switch key {
		case "password", "credentials", "bearer_token", "client_secret", "secret_key":
			n.Content[i+1] = scalar("********", "text")
		}
	}
	return n
}

func dictionary(p *map[string]string) value {
	return node("block", func() bool { return len(*p) == 0 }, func(n *yaml.Node) error {
		*p = nil
		return n.Decode(p)
	}, func() *yaml.Node {
		out := new(yaml.Node)
		if err := out.Encode(*p); err != nil {
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
		}
		return out
	})
}

// Alertmanagers returns their URLs.
func (r *Ruler) Alertmanagers() []string {
	var all []string
	for u := range strings.SplitSeq(r.AlertmanagerURL, ",") {
		if u = strings.TrimSpace(u); u != "" {
			all = append(all, u)
		}
	}
	return all
}

// LocalRules returns the folder of rules that are files; empty: rules are in the bucket.
func (c *Config) LocalRules() string {
	switch c.Ruler.StorageType {
	case "local", "":
		return c.Ruler.LocalDir
	}
	return ""
}

// RulerWAL is where samples wait.
func (c *Config) RulerWAL() string {
	if c.Ruler.WALDir != "" {
		return c.Ruler.WALDir
	}
	return filepath.Join(c.Dir, "ruler-wal")
}

// checkRuler refuses what makes no sense.
func (c *Config) checkRuler() error {
	r := &c.Ruler
	var errs []error
	switch r.StorageType {
	case "", "filesystem":
	case "local":
		if r.LocalDir == "" {
			errs = append(errs, errors.New("ruler.storage.type is local; set ruler.storage.local.directory"))
		}
	case "s3", "aws":
		if !c.UsesS3() {
			errs = append(errs, errors.New("ruler.storage.type is s3; rules are kept in the bucket of the segments: set common.storage.s3"))
		}
	default:
		errs = append(errs, fmt.Errorf("ruler.storage.type %q is not available here; use local, filesystem or s3", r.StorageType))
	}
	switch r.EvaluationMode {
	case "", "local":
	case "remote":
		if r.Frontend == "" {
			errs = append(errs, errors.New("ruler.evaluation.mode is remote; set ruler.evaluation.query_frontend.address"))
		}
	default:
		errs = append(errs, fmt.Errorf("ruler.evaluation.mode %q does not exist; use local or remote", r.EvaluationMode))
	}
	if _, err := url.Parse(r.ExternalURL); err != nil {
		errs = append(errs, fmt.Errorf("ruler.external_url: %w", err))
	}
	if r.RemoteWrite && len(r.Clients) == 0 {
		errs = append(errs, errors.New("ruler.remote_write is enabled; set ruler.remote_write.clients"))
	}
	for name, text := range r.Clients {
		if !bytes.Contains([]byte(text), []byte("url:")) {
			errs = append(errs, fmt.Errorf("ruler.remote_write.clients.%s has no url", name))
		}
	}
	return errors.Join(errs...)
}
