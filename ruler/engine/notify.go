package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/grafana/dskit/backoff"
	"github.com/prometheus/client_golang/prometheus"
	common "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/notifier"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/util/strutil"
)

// NotifyConfig says who is told of alerts. The zero value tells nobody.
type NotifyConfig struct {
	// Alertmanagers are URLs, such as http://alertmanager:9093. All of them get all alerts. They speak version 2
	// of the API.
	Alertmanagers []string
	// Discovery looks the hosts of Alertmanagers up in the DNS as services (SRV records), such as
	// http://_http._tcp.alertmanager.default.svc.cluster.local.
	Discovery bool
	// RefreshInterval is how often. 0 means 1m.
	RefreshInterval time.Duration
	// Client holds TLS and credentials. The zero value has none.
	Client common.HTTPClientConfig
	// Timeout of a notification, retries included. 0 means 10s.
	Timeout time.Duration
	// QueueCapacity is how many alerts of a tenant may wait; then the oldest are dropped. 0 means 10000.
	QueueCapacity int
	// Relabel changes the labels of alerts before they are sent, or drops alerts.
	Relabel []*relabel.Config
}

func (c *NotifyConfig) check() error {
	if c.RefreshInterval == 0 {
		c.RefreshInterval = time.Minute
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if c.QueueCapacity == 0 {
		c.QueueCapacity = 10_000
	}
	var errs []error
	for _, text := range c.Alertmanagers {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			errs = append(errs, fmt.Errorf("%q is not the URL of an Alertmanager; write http://host:9093", text))
		}
	}
	if c.RefreshInterval < 0 || c.Timeout < 0 || c.QueueCapacity < 0 {
		errs = append(errs, errors.New("RefreshInterval, Timeout and QueueCapacity of notifications can't be negative"))
	}
	return errors.Join(errs...)
}

// notifications is the notifier of a tenant.
type notifications struct {
	cfg     NotifyConfig
	urls    []*url.URL
	manager *notifier.Manager
	log     *slog.Logger
}

func newNotifications(cfg NotifyConfig, external labels.Labels, log *slog.Logger, reg prometheus.Registerer) (*notifications, error) {
	n := &notifications{cfg: cfg, log: log}
	n.manager = notifier.NewManager(&notifier.Options{
		QueueCapacity: cfg.QueueCapacity, DrainOnShutdown: true, Do: doAgain, Registerer: reg,
	}, model.UTF8Validation, log)
	conf := &config.Config{GlobalConfig: config.GlobalConfig{ExternalLabels: external, MetricNameValidationScheme: model.UTF8Validation}}
	conf.AlertingConfig.AlertRelabelConfigs = cfg.Relabel
	for _, text := range cfg.Alertmanagers {
		u, err := url.Parse(text)
		if err != nil {
			return nil, err
		}
		am := config.DefaultAlertmanagerConfig
		am.HTTPClientConfig = cfg.Client
		if u.User != nil {
			password, _ := u.User.Password()
			am.HTTPClientConfig.BasicAuth = &common.BasicAuth{Username: u.User.Username(), Password: common.Secret(password)}
		}
		am.Scheme, am.PathPrefix = u.Scheme, u.Path
		am.APIVersion, am.Timeout = config.AlertmanagerAPIVersionV2, model.Duration(cfg.Timeout)
		n.urls = append(n.urls, u)
		conf.AlertingConfig.AlertmanagerConfigs = append(conf.AlertingConfig.AlertmanagerConfigs, &am)
	}
	if err := n.manager.ApplyConfig(conf); err != nil {
		return nil, err
	}
	return n, nil
}

// run sends notifications until ctx is done and, for as long as one may take, what waits then.
func (n *notifications) run(ctx context.Context) {
	targets := make(chan map[string][]*targetgroup.Group)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.manager.Run(targets)
	}()
	tell := func() {
		select {
		case targets <- n.targets(ctx):
		case <-ctx.Done():
		}
	}
	tell()
	if n.cfg.Discovery {
		tick := time.NewTicker(n.cfg.RefreshInterval)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-tick.C:
				tell()
			case <-ctx.Done():
			}
		}
	}
	<-ctx.Done()
	n.manager.Stop()
	<-done
}

// targets returns the addresses of the Alertmanagers, under the names that the notifier gives to them.
func (n *notifications) targets(ctx context.Context) map[string][]*targetgroup.Group {
	all := map[string][]*targetgroup.Group{}
	for i, u := range n.urls {
		hosts := []string{u.Host}
		if n.cfg.Discovery {
			hosts = nil
			_, records, err := net.DefaultResolver.LookupSRV(ctx, "", "", u.Hostname())
			if err != nil && ctx.Err() == nil {
				n.log.Warn("Alertmanagers can't be looked up", "name", u.Hostname(), "err", err)
				continue // those that are known stay
			}
			for _, r := range records {
				hosts = append(hosts, net.JoinHostPort(strings.TrimSuffix(r.Target, "."), fmt.Sprint(r.Port)))
			}
			slices.Sort(hosts)
		}
		g := &targetgroup.Group{Source: u.String()}
		for _, h := range hosts {
			g.Targets = append(g.Targets, model.LabelSet{model.AddressLabel: model.LabelValue(h)})
		}
		all[fmt.Sprintf("config-%d", i)] = []*targetgroup.Group{g}
	}
	return all
}

// doAgain sends a request, again while it fails for reasons that may pass and there is time left.
func doAgain(ctx context.Context, client *http.Client, req *http.Request) (*http.Response, error) {
	if client == nil {
		client = http.DefaultClient
	}
	retry := backoff.New(ctx, backoff.Config{MinBackoff: 200 * time.Millisecond, MaxBackoff: 2 * time.Second, MaxRetries: 4})
	for {
		again := req.Clone(ctx)
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			again.Body = body
		}
		resp, err := client.Do(again)
		if err == nil && resp.StatusCode < http.StatusInternalServerError && resp.StatusCode != http.StatusTooManyRequests {
			return resp, nil
		}
		retry.Wait()
		if !retry.Ongoing() {
			return resp, err
		}
		if err == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
			_ = resp.Body.Close()
		}
	}
}

// notify is the rules.NotifyFunc of a group.
func (g *group) notify(_ context.Context, query string, alerts ...*rules.Alert) {
	if g.catchingUp.Load() || len(alerts) == 0 {
		return
	}
	link := generatorURL(&g.tenant.r.cfg, query)
	out := make([]*notifier.Alert, len(alerts))
	for i, a := range alerts {
		out[i] = &notifier.Alert{StartsAt: a.FiredAt, EndsAt: a.ValidUntil, Labels: a.Labels, Annotations: a.Annotations, GeneratorURL: link}
		if !a.ResolvedAt.IsZero() {
			out[i].EndsAt = a.ResolvedAt
		}
	}
	g.tenant.notify.manager.Send(out...)
}

// generatorURL returns where people see what an alert has found.
func generatorURL(cfg *Config, query string) string {
	base := strings.TrimRight(cfg.ExternalURL.String(), "/")
	if cfg.DatasourceUID == "" {
		return base + strutil.TableLinkForExpression(query)
	}
	type m = map[string]any
	pane, err := json.Marshal(m{
		"datasource": cfg.DatasourceUID,
		"queries":    []m{{"refId": "A", "expr": query, "queryType": "range", "datasource": m{"type": "loki", "uid": cfg.DatasourceUID}}},
		"range":      m{"from": "now-1h", "to": "now"},
	})
	if err != nil {
		return base
	}
	return base + "/explore?left=" + url.QueryEscape(string(pane))
}
