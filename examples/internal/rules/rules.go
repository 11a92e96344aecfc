// Package rules makes the ruler of the example servers. It is apart from package program, so that only those
// servers link it that can run a ruler.
package rules

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	common "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	prometheus "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"
	"gopkg.in/yaml.v3"

	"example.com/loki"
	"example.com/loki/examples/internal/config"
	"example.com/loki/ruler"
	"example.com/loki/ruler/engine"
)

// Builder returns what makes the ruler that a configuration describes.
func Builder(c *config.Config) (loki.RulerBuilder, error) {
	cfg, err := Config(c)
	if err != nil {
		return nil, err
	}
	return func(parts *loki.Collaborators) (ruler.Service, error) {
		return engine.New(cfg, Store(c, parts.Bucket), parts.Bucket, parts.Frontend, engine.Rulers(parts.Rulers), parts.Limits, parts.Logger, parts.Registerer)
	}, nil
}

// Config returns how the ruler works that a configuration describes.
func Config(c *config.Config) (engine.Config, error) {
	cfg, err := engineConfig(c)
	if err != nil {
		return cfg, fmt.Errorf("%w:\n%w", config.ErrUsage, err)
	}
	return cfg, nil
}

// Store returns where the rules are: in the bucket or in a folder.
func Store(c *config.Config, bucket objstore.Bucket) ruler.Store {
	if dir := c.LocalRules(); dir != "" {
		return ruler.NewLocalStore(dir)
	}
	return ruler.NewBucketStore(bucket)
}

func engineConfig(c *config.Config) (engine.Config, error) {
	r := &c.Ruler
	external, err := url.Parse(r.ExternalURL)
	if err != nil {
		return engine.Config{}, fmt.Errorf("ruler.external_url: %w", err)
	}
	cfg := engine.Config{
		Dir: c.RulerWAL(), EvaluationInterval: r.EvaluationInterval, PollInterval: r.PollInterval, MaxJitter: r.MaxJitter,
		OutageTolerance: r.OutageTolerance, ResendDelay: r.ResendDelay, ExternalURL: external, DatasourceUID: r.DatasourceUID,
		ExternalLabels: labels.FromMap(r.ExternalLabels), EnabledTenants: r.EnabledTenants, DisabledTenants: r.DisabledTenants,
	}
	cfg.Notify, err = notifyConfig(r)
	if err != nil || !r.RemoteWrite {
		return cfg, err
	}
	cfg.RemoteWrite = engine.RemoteWriteConfig{AddTenant: r.AddTenant, MaxAge: r.WALMaxAge}
	for _, name := range slices.Sorted(maps.Keys(r.Clients)) {
		client := prometheus.DefaultRemoteWriteConfig
		if err := yaml.Unmarshal([]byte(r.Clients[name]), &client); err != nil {
			return cfg, fmt.Errorf("ruler.remote_write.clients.%s: %w", name, err)
		}
		client.Name = name
		if client.RemoteTimeout == 0 {
			client.RemoteTimeout = model.Duration(30 * time.Second)
		}
		for _, rc := range client.WriteRelabelConfigs {
			rc.NameValidationScheme = model.UTF8Validation
		}
		cfg.RemoteWrite.Receivers = append(cfg.RemoteWrite.Receivers, &client)
	}
	return cfg, nil
}

func notifyConfig(r *config.Ruler) (engine.NotifyConfig, error) {
	n := engine.NotifyConfig{
		Alertmanagers: r.Alertmanagers(), Discovery: r.AlertmanagerDiscovery, RefreshInterval: r.AlertmanagerRefresh,
		Timeout: r.NotificationTimeout, QueueCapacity: r.QueueCapacity, Client: common.DefaultHTTPClientConfig,
	}
	am := &r.Alertmanager
	n.Client.TLSConfig = common.TLSConfig{
		CertFile: am.CertFile, KeyFile: am.KeyFile, CAFile: am.CAFile, ServerName: am.ServerName, InsecureSkipVerify: am.SkipVerify,
	}
	if am.Username != "" {
		n.Client.BasicAuth = &common.BasicAuth{Username: am.Username, Password: common.Secret(am.Password)}
	}
	if am.Credentials != "" || am.CredentialsFile != "" {
		n.Client.Authorization = &common.Authorization{Type: am.AuthType, Credentials: common.Secret(am.Credentials), CredentialsFile: am.CredentialsFile}
	}
	if err := n.Client.Validate(); err != nil {
		return n, fmt.Errorf("ruler.alertmanager_client: %w", err)
	}
	if r.AlertRelabel != "" {
		if err := yaml.Unmarshal([]byte(r.AlertRelabel), &n.Relabel); err != nil {
			return n, fmt.Errorf("ruler.alert_relabel_configs: %w", err)
		}
		for _, rc := range n.Relabel {
			rc.NameValidationScheme = model.UTF8Validation
			if err := rc.Validate(model.UTF8Validation); err != nil {
				return n, fmt.Errorf("ruler.alert_relabel_configs: %w", err)
			}
		}
	}
	return n, nil
}
