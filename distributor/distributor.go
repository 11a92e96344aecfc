// Package distributor takes pushes: it checks each stream and entry against the limits of the tenant,
// cleans names, adds the label service_name and the metadata detected_level, limits the rate, and hands
// what is left to an ingester.
//
//	HTTP body → internal/push → PushRequest → Push: labels → entries → rate limits → ingester
//
// What always holds: an entry that is refused never keeps others from being stored, except that labels
// which cannot be understood refuse the whole push, and nothing is stored of it. When Push returns nil,
// everything is as durable as the ingester makes it. Memory is bounded by Config, whatever is pushed.
package distributor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"

	"example.com/loki/ingester"
	"example.com/loki/internal/pace"
	"example.com/loki/limits"
)

// Config of a distributor. The zero value is good for most.
type Config struct {
	// MaxBody is the largest HTTP body in bytes as received; larger ones get 413. 0 means 100 MiB.
	MaxBody int64
	// MaxDecompressed is the largest HTTP body in bytes after decompression. Lists of entries made
	// from it may take as much again. 0 means 256 MiB.
	MaxDecompressed int64
	// MaxInflight is the memory in bytes that all HTTP pushes may take while they are read; a push
	// beyond it gets 503 and may be sent again. 0 means 640 MiB. It is raised to what one largest push
	// needs: twice MaxDecompressed plus MaxBody, and a thirtieth more.
	MaxInflight int64
	// StreamCache is the memory in bytes for label sets seen lately, and the same again for the rates of
	// streams. 0 means 16 MiB: some 30,000 label sets and 250,000 rates. Labels that are not kept are parsed again, which
	// costs little; the rate of a stream that is not kept starts anew.
	StreamCache int
	// MaxTenants is how many tenants have their rate and metrics kept. 0 means 10,000. Beyond it those
	// that did not push for longest are forgotten: their rate starts anew, their metrics vanish.
	MaxTenants int
	// Distributors is how many distributors are at work, this one among them: with the strategy "global" each takes
	// its part of a tenant's rate. It is called for each push and must be quick. nil means one.
	Distributors func() int
	// Pace shares the processors between pushes and other work. The engine fills it in; nil means that all run at once.
	Pace *pace.Pace
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) check() (Config, error) {
	c.MaxBody = cmp.Or(c.MaxBody, 100<<20)
	c.MaxDecompressed = cmp.Or(c.MaxDecompressed, 256<<20)
	c.MaxInflight = cmp.Or(c.MaxInflight, 640<<20)
	c.StreamCache = cmp.Or(c.StreamCache, 16<<20)
	c.MaxTenants = cmp.Or(c.MaxTenants, 10_000)
	if c.Now == nil {
		c.Now = time.Now
	}
	var errs []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxBody", c.MaxBody}, {"MaxDecompressed", c.MaxDecompressed}, {"MaxInflight", c.MaxInflight},
		{"StreamCache", int64(c.StreamCache)}, {"MaxTenants", int64(c.MaxTenants)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d is negative", f.name, f.value))
		}
	}
	return c, errors.Join(errs...)
}

// Pusher is what a distributor needs of an ingester.
type Pusher interface {
	Push(ctx context.Context, req *ingester.PushRequest) error
}

// Distributor is the Service in process. It is also a dskit service that has nothing to do while it
// runs: it starts no goroutine, and Push works whatever its state.
type Distributor struct {
	services.Service

	cfg      Config
	ingester Pusher
	limits   limits.Provider
	log      *slog.Logger
	metrics  *metrics

	scratch sync.Pool // *batch

	tenants cache[*tenantState] // by tenant
	streams *streamCache        // by tenant and labels as they were sent
	rates   *rateTable          // by tenant and hash of labels
	names   cache[string]       // clean names of metadata
}

var _ Service = (*Distributor)(nil)

// New returns a distributor that hands entries to an ingester. A nil logger is silent, and a nil
// registerer publishes no metrics.
func New(cfg Config, ingester Pusher, provider limits.Provider, logger *slog.Logger, reg prometheus.Registerer) (*Distributor, error) {
	cfg, err := cfg.check()
	if err == nil && (ingester == nil || provider == nil) {
		err = errors.New("an ingester and limits are needed")
	}
	if err != nil {
		return nil, fmt.Errorf("distributor: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	d := &Distributor{
		cfg:      cfg,
		ingester: ingester,
		limits:   provider,
		log:      logger,
		metrics:  newMetrics(reg),
	}
	d.tenants = cache[*tenantState]{max: cfg.MaxTenants * entryCost / 2, evict: func(t string, _ *tenantState) { d.metrics.forget(t) }}
	d.streams = newStreamCache(cfg.StreamCache)
	d.rates = newRateTable(cfg.StreamCache)
	d.names = cache[string]{max: 1 << 20}
	d.Service = services.NewIdleService(nil, nil).WithName("distributor")
	return d, nil
}

// distributors is how many distributors share a rate, at least one.
func (d *Distributor) distributors() int {
	if d.cfg.Distributors == nil {
		return 1
	}
	return max(d.cfg.Distributors(), 1)
}

// tenantState is what is kept of one tenant.
type tenantState struct {
	bytes, metadataBytes, lines prometheus.Counter

	mu     sync.Mutex
	limits *limits.Limits // those that the rest was made from
	shared int            // how many distributors the rate was divided by
	rate   *rate.Limiter
	levels *levelFinder // nil: levels are not wanted
}

func (d *Distributor) tenant(id string) *tenantState {
	return d.tenants.getOrPut(id, func() *tenantState {
		return &tenantState{
			bytes:         d.metrics.bytes.WithLabelValues(id),
			metadataBytes: d.metrics.metadataBytes.WithLabelValues(id),
			lines:         d.metrics.lines.WithLabelValues(id),
		}
	})
}

// follow makes the state follow the limits of the tenant, which may have changed, and returns what
// they are applied with.
func (t *tenantState) follow(l *limits.Limits, distributors int) (*rate.Limiter, *levelFinder) {
	if l.IngestionRateStrategy == limits.LocalRate {
		distributors = 1
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.limits == l && t.shared == distributors {
		return t.rate, t.levels
	}
	r, burst := rate.Inf, 0
	if l.IngestionRateMB > 0 {
		// As in Loki, each may take a burst of its own.
		r, burst = rate.Limit(l.IngestionRateMB*(1<<20)/float64(distributors)), int(l.IngestionBurstSizeMB*(1<<20))
	}
	switch {
	case t.rate == nil || t.rate.Burst() != burst:
		t.rate = rate.NewLimiter(r, burst)
	case t.rate.Limit() != r: // what was used up stays so when a distributor comes or goes
		t.rate.SetLimit(r)
	}
	t.shared = distributors
	switch {
	case !l.DiscoverLogLevels:
		t.levels = nil
	case t.levels == nil || !slices.Equal(t.levels.fields, l.LogLevelFields):
		t.levels = newLevelFinder(l.LogLevelFields)
	}
	t.limits = l
	return t.rate, t.levels
}

// Push implements Service.
func (d *Distributor) Push(ctx context.Context, req *PushRequest) error {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return fmt.Errorf("distributor: %w", err)
	}
	if len(req.Streams) == 0 {
		return ErrNoStreams
	}
	ctx, done := d.cfg.Pace.Push(ctx)
	defer done()
	state, lim := d.tenant(id), d.limits(id)
	limiter, levels := state.follow(lim, d.distributors())

	b := d.batch(id, lim, levels)
	defer d.release(b)
	for i := range req.Streams {
		if err := b.resolve(i, &req.Streams[i]); err != nil {
			d.discard(InvalidLabels, id, req.entries(), 0)
			return err
		}
	}
	for i := range req.Streams {
		b.take(b.resolved[i], req.Streams[i].Entries)
	}
	state.lines.Add(float64(b.lines))
	state.bytes.Add(float64(b.bytes))
	state.metadataBytes.Add(float64(b.metadataBytes))

	// The rate of the tenant comes before those of streams: what is refused here must use up neither.
	if b.accepted > 0 && !limiter.AllowN(b.now, b.acceptedBytes) {
		d.discard(RateLimited, id, b.accepted, b.acceptedBytes)
		return &RateLimitError{Tenant: id, Limit: int(limiter.Limit()), Burst: limiter.Burst(), Lines: b.accepted, Bytes: b.acceptedBytes}
	}
	b.limitStreams()
	for reason, n := range b.discarded {
		d.discard(reason, id, n.entries, n.bytes)
	}

	if out := b.request(); len(out.Streams) > 0 {
		if err := d.ingester.Push(ctx, out); err != nil {
			var limit *ingester.StreamLimitError
			if errors.As(err, &limit) {
				n := b.over(limit)
				d.discard(StreamLimit, id, n.entries, n.bytes)
			} else {
				d.metrics.appendFailures.Inc()
			}
			return d.joinRefusals(err, b)
		}
	}
	if b.refused.Refused > 0 || len(b.refused.Refusals) > 0 {
		e := b.refused
		e.Tenant, e.Stored = id, b.accepted
		return &e
	}
	return nil
}

// joinRefusals returns the error of an ingester that took not everything; if others were refused here
// already, the client is to know both.
func (d *Distributor) joinRefusals(err error, b *batch) error {
	if len(b.refused.Refusals) == 0 {
		return err
	}
	e := b.refused
	e.Tenant = b.tenant
	return errors.Join(err, &e)
}

func (d *Distributor) discard(reason Reason, tenant string, entries, bytes int) {
	d.metrics.discardedEntries.WithLabelValues(string(reason), tenant).Add(float64(entries))
	d.metrics.discardedSize.WithLabelValues(string(reason), tenant).Add(float64(bytes))
}

func (r *PushRequest) entries() (n int) {
	for i := range r.Streams {
		n += len(r.Streams[i].Entries)
	}
	return n
}
