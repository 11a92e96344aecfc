// Package engine evaluates rules, on Prometheus' own rules manager, notifier and remote-write client, with LogQL
// in place of PromQL. It is the implementation of ruler.Service, and stands apart from it because of what these
// link.
//
// # What runs
//
// Each group of rules that belongs to this process has a rules manager of its own, so that a group can be handed
// over to another process without a word to the others. Those of a tenant share a notifier (to Alertmanager) and a
// queue of samples (to Prometheus, see package remotewrite): results of recording rules, and the series ALERTS.
//
// # Whose is a group
//
// All rulers look at the same store. Which of them evaluates a group follows from the group's name and who is in
// the ring. A ruler drops what is no longer its own at once and takes what is new a little later, so that two
// never have it at a time.
//
// # What survives
//
// There are no series to restore alerts from, as Prometheus does it. Instead the state of a group is an object
// in the bucket: its alerts with everything that is known about them, among it when each was sent last, and when the
// group was evaluated last. Whoever evaluates the group next goes on from there: alerts stay pending or firing for
// as long as they have been, nothing is sent twice, and evaluations that were missed meanwhile are made up for,
// because the lines of that time are still there.
package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/limits"
	"example.com/loki/logql"
	"example.com/loki/ring/member"
	"example.com/loki/ruler"
)

// Config of a ruler. The zero value is a good default: it evaluates, and tells nobody.
type Config struct {
	// Dir is where samples wait for remote write. Required with RemoteWrite.
	Dir string

	// EvaluationInterval is how often groups are evaluated that don't say so themselves. 0 means 1m.
	EvaluationInterval time.Duration
	// PollInterval is how often the store is looked at for changes that other processes have made. 0 means 1m.
	PollInterval time.Duration
	// MaxJitter spreads evaluations: each group begins so much later at most, always the same. The time that
	// queries look at does not change. 0 means not at all; more than half of a group's interval is cut to that.
	MaxJitter time.Duration

	// OutageTolerance is for how long nobody may have evaluated a group until its state counts no more: alerts
	// begin anew, and evaluations that were missed are not made up for. 0 means 1h.
	OutageTolerance time.Duration
	// CatchUp is how many missed evaluations are made up for at most; earlier ones count as missed. 0 means 120,
	// negative none.
	CatchUp int
	// StateInterval is how often the state of a group is kept at least while only the time of its last evaluation
	// changes; other changes are kept at once. 0 means 15s.
	StateInterval time.Duration

	// ResendDelay is how often an alert is sent that goes on firing. 0 means 1m.
	ResendDelay time.Duration
	// Settle is how long a ruler waits, after one has come or gone, before it takes groups from others. 0 means 5s.
	Settle time.Duration

	// ExternalURL is where people find what an alert is about, such as that of Grafana.
	ExternalURL *url.URL
	// DatasourceUID makes links of alerts lead into Grafana's Explore with this data source.
	DatasourceUID string
	// ExternalLabels are added to all alerts and samples.
	ExternalLabels labels.Labels

	// SampleLines is how many lines {{ template "lines" . }} shows in an annotation at most. 0 means 5.
	SampleLines int

	// EnabledTenants are the only ones whose rules are evaluated, if there are any; DisabledTenants are left out.
	EnabledTenants, DisabledTenants []string

	Notify      NotifyConfig
	RemoteWrite RemoteWriteConfig
}

func (c Config) check() (Config, error) {
	c.EvaluationInterval = cmp.Or(c.EvaluationInterval, time.Minute)
	c.PollInterval = cmp.Or(c.PollInterval, time.Minute)
	c.OutageTolerance = cmp.Or(c.OutageTolerance, time.Hour)
	c.CatchUp = cmp.Or(c.CatchUp, 120)
	c.StateInterval = cmp.Or(c.StateInterval, 15*time.Second)
	c.ResendDelay = cmp.Or(c.ResendDelay, time.Minute)
	c.Settle = cmp.Or(c.Settle, 5*time.Second)
	c.SampleLines = cmp.Or(c.SampleLines, 5)
	if c.ExternalURL == nil {
		c.ExternalURL = &url.URL{}
	}
	var errs []error
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"EvaluationInterval", c.EvaluationInterval}, {"PollInterval", c.PollInterval}, {"MaxJitter", c.MaxJitter},
		{"OutageTolerance", c.OutageTolerance}, {"StateInterval", c.StateInterval}, {"ResendDelay", c.ResendDelay},
		{"Settle", c.Settle},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("%s is %s; it can't be negative", d.name, d.value))
		}
	}
	if c.SampleLines < 0 {
		errs = append(errs, fmt.Errorf("SampleLines is %d; it can't be negative", c.SampleLines))
	}
	if len(c.RemoteWrite.Receivers) > 0 && c.Dir == "" {
		errs = append(errs, errors.New("Dir is empty; samples need a place to wait for remote write"))
	}
	errs = append(errs, c.Notify.check())
	return c, errors.Join(errs...)
}

// Querier runs queries: a frontend.Service, of this process or of another one.
type Querier interface {
	Query(ctx context.Context, p *logql.Params) (*logql.Result, error)
}

// Rulers are those who share the work. The zero value is a ruler alone.
type Rulers struct {
	Ring member.Reader
	Self string // the address of this one in the ring
	// Dial returns the ruler at an address. The Closer may be nil.
	Dial func(addr string) (ruler.Service, io.Closer, error)
}

// Ruler is the ruler.Service of this process.
type Ruler struct {
	services.Service
	cfg     Config
	store   ruler.Store
	state   objstore.Bucket
	querier Querier
	rulers  Rulers
	limits  limits.Provider
	log     *slog.Logger
	reg     prometheus.Registerer
	metrics *metrics
	changed chan struct{} // the store was changed here; of capacity 1

	mu      sync.Mutex
	tenants map[string]*tenant
	clients map[string]*peer // by address
}

var _ ruler.Service = (*Ruler)(nil)

// New returns a ruler of the rules in a store. What must survive it keeps in the bucket state, under
// ruler-state/. It must be started before its first use. rulers may be zero; lim, logger and reg may be nil.
func New(cfg Config, store ruler.Store, state objstore.Bucket, q Querier, rulers Rulers, lim limits.Provider, logger *slog.Logger, reg prometheus.Registerer) (*Ruler, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("ruler: %w", err)
	}
	if lim == nil {
		lim = limits.Fixed(limits.Default())
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Ruler{
		cfg: cfg, store: store, state: state, querier: q, rulers: rulers, limits: lim, log: logger, reg: reg,
		metrics: newMetrics(reg), changed: make(chan struct{}, 1), tenants: map[string]*tenant{}, clients: map[string]*peer{},
	}
	r.Service = services.NewBasicService(nil, r.running, r.stopping)
	return r, nil
}

// ringCheck is how often the ring is looked at.
const ringCheck = time.Second

// running looks at the store and the ring and starts and stops groups accordingly.
func (r *Ruler) running(ctx context.Context) error {
	poll := time.NewTicker(r.cfg.PollInterval)
	defer poll.Stop()
	check := time.NewTicker(ringCheck)
	defer check.Stop()
	s := newShards(r.cfg.Settle, r.rulers, time.Now())
	r.sync(ctx, s)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
		case <-r.changed:
		case <-check.C:
			if !s.look(time.Now()) {
				continue
			}
		}
		r.sync(ctx, s)
	}
}

func (r *Ruler) stopping(error) error {
	r.mu.Lock()
	all := r.tenants
	r.tenants = map[string]*tenant{}
	clients := r.clients
	r.clients = map[string]*peer{}
	r.mu.Unlock()
	var wg sync.WaitGroup
	errs := make(chan error, len(all))
	for _, t := range all {
		wg.Go(func() { errs <- t.stop() })
	}
	wg.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	for _, c := range clients {
		failed = errors.Join(failed, c.close())
	}
	return failed
}

// serves tells whether the rules of a tenant are evaluated.
func (r *Ruler) serves(id string) bool {
	return (len(r.cfg.EnabledTenants) == 0 || slices.Contains(r.cfg.EnabledTenants, id)) && !slices.Contains(r.cfg.DisabledTenants, id)
}

// sync makes what runs equal to what is in the store and belongs here.
func (r *Ruler) sync(ctx context.Context, s *shards) {
	ids, err := r.store.Tenants(ctx)
	if err != nil {
		r.failed(ctx, "rules can't be listed; those that are known go on", err)
		return
	}
	there := map[string]bool{}
	for _, id := range ids {
		if !r.serves(id) {
			continue
		}
		there[id] = true
		groups, err := r.store.Groups(ctx, id, "")
		if err != nil {
			r.failed(ctx, "rules of a tenant can't be read; those that are known go on", err, "tenant", id)
			continue
		}
		all := map[groupKey]bool{}
		var own []ruler.Group
		size := r.limits(id).RulerTenantShardSize
		for _, g := range groups {
			all[keyOf(&g)] = true
			if s.owns(id, &g, size) {
				own = append(own, g)
			}
		}
		t := r.tenant(id)
		if t == nil {
			if len(own) == 0 {
				continue
			}
			if t, err = r.newTenant(id); err != nil {
				r.failed(ctx, "rules of a tenant can't be evaluated", err, "tenant", id)
				continue
			}
		}
		t.update(own, all)
		if len(own) == 0 && t.idle() {
			r.remove(id)
		}
	}
	r.mu.Lock()
	var gone []string
	for id := range r.tenants {
		if !there[id] {
			gone = append(gone, id)
		}
	}
	r.mu.Unlock()
	for _, id := range gone {
		r.tenant(id).update(nil, nil)
		if r.tenant(id).idle() {
			r.remove(id)
		}
	}
}

func (r *Ruler) failed(ctx context.Context, msg string, err error, args ...any) {
	if ctx.Err() != nil {
		return
	}
	r.metrics.syncFailures.Inc()
	r.log.Error(msg, append(args, "err", err)...)
}

func (r *Ruler) tenant(id string) *tenant {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tenants[id]
}

func (r *Ruler) remove(id string) {
	r.mu.Lock()
	t := r.tenants[id]
	delete(r.tenants, id)
	r.mu.Unlock()
	if err := t.stop(); err != nil {
		r.log.Error("rules of a tenant did not stop in good order", "tenant", id, "err", err)
	}
}
