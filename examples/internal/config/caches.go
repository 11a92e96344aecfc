package config

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/cache"
	"example.com/loki/cache/memcached"
	"example.com/loki/internal/tlsfile"
)

// Cache says how answers are kept, if they are: in memory, or in memcached if there are addresses.
type Cache struct {
	Enabled  bool
	Embedded bool
	MaxMB    int
	MaxItems int
	TTL      time.Duration

	Prefix      string
	Addresses   []string
	Host        string // with Service in place of Addresses: a name with SRV records
	Service     string
	Expiration  time.Duration // 0: Validity
	Validity    time.Duration
	Timeout     time.Duration
	IdleConns   int
	MaxItemSize int
	Update      time.Duration
	MaxFailures int
	RetryAfter  time.Duration
	TLS         tlsfile.Config
	TLSEnabled  bool
}

func defaultCache(prefix string) Cache {
	return Cache{
		Embedded: true, MaxMB: 100, TTL: time.Hour, Prefix: prefix, Service: "memcached", Validity: time.Hour,
		Timeout: 100 * time.Millisecond, IdleConns: 16, Update: time.Minute, MaxFailures: 10, RetryAfter: 10 * time.Second,
	}
}

// indexCache is a cache of answers from indexes. These are small, and soon computed.
func indexCache(prefix string) Cache {
	c := defaultCache(prefix)
	c.Enabled, c.MaxMB = true, 16
	return c
}

// cacheSettings are those of one cache.
func cacheSettings(c *Cache, enabledKey, enabledFlag, block, flag, what string) []setting {
	key := "query_range." + block + ".cache."
	client := key + "memcached_client."
	mem := flag + "memcached."
	return []setting{
		{"query_range." + enabledKey, enabledFlag, "keep answers to " + what, boolean(&c.Enabled)},
		{key + "embedded_cache.enabled", flag + "embedded-cache.enabled", "… in memory", boolean(&c.Embedded)},
		{key + "embedded_cache.max_size_mb", flag + "embedded-cache.max-size-mb", "MiB of them", number(&c.MaxMB)},
		{key + "embedded_cache.max_size_items", flag + "embedded-cache.max-size-items", "number of them; 0 for no bound", number(&c.MaxItems)},
		{key + "embedded_cache.ttl", flag + "embedded-cache.ttl", "how long", duration(&c.TTL)},
		{key + "prefix", "", "begins each key in memcached", text(&c.Prefix)},
		{key + "default_validity", flag + "default-validity", "how long in memcached", duration(&c.Validity)},
		{key + "memcached.expiration", mem + "expiration", "the same; 0 for default_validity", duration(&c.Expiration)},
		{client + "addresses", mem + "addresses", "memcached servers: host:port, dns+host:port, dnssrv+name", list(&c.Addresses)},
		{client + "host", mem + "hostname", "a name with SRV records of servers", text(&c.Host)},
		{client + "service", mem + "service", "the service of these records", text(&c.Service)},
		{client + "timeout", mem + "timeout", "for an exchange", duration(&c.Timeout)},
		{client + "max_idle_conns", mem + "max-idle-conns", "connections to a server that stay open", number(&c.IdleConns)},
		{client + "max_item_size", mem + "max-item-size", "bytes of the largest value; 0 for 1 MiB less 1 KiB", size(&c.MaxItemSize)},
		{client + "update_interval", mem + "update-interval", "how often names are looked up", duration(&c.Update)},
		{client + "circuit_breaker_consecutive_failures", mem + "circuit-breaker-consecutive-failures", "failures after which servers are left alone", number(&c.MaxFailures)},
		{client + "circuit_breaker_timeout", mem + "circuit-breaker-timeout", "… for so long", duration(&c.RetryAfter)},
		{client + "tls_enabled", mem + "tls-enabled", "use TLS", boolean(&c.TLSEnabled)},
		{client + "tls_cert_path", mem + "tls-cert-path", "own certificate", text(&c.TLS.Cert)},
		{client + "tls_key_path", mem + "tls-key-path", "its key", text(&c.TLS.Key)},
		{client + "tls_ca_path", mem + "tls-ca-path", "who signs the servers' certificates", text(&c.TLS.CA)},
		{client + "tls_server_name", mem + "tls-server-name", "their name", text(&c.TLS.ServerName)},
		{client + "tls_insecure_skip_verify", mem + "tls-insecure-skip-verify", "trust any", boolean(&c.TLS.InsecureSkipVerify)},
	}
}

// Caches are those of a program. The caller closes them.
type Caches struct {
	Results, Instant        cache.Cache // nil: answers are not kept
	Labels, Series, Volumes cache.Cache // of indexes; never nil
	clients                 []*memcached.Client
}

// Close closes connections.
func (c *Caches) Close() error {
	var errs []error
	for _, m := range c.clients {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// Caches makes the caches of answers.
func (c *Config) Caches(logger *slog.Logger, reg prometheus.Registerer) (*Caches, error) {
	volumes := c.Reading.VolumeResults
	if !volumes.Enabled {
		volumes = c.Reading.StatsResults
	}
	all := &Caches{}
	for _, one := range []struct {
		name string
		cfg  Cache
		to   *cache.Cache
	}{
		{"results", c.Reading.Results, &all.Results},
		{"instant-metric-results", c.Reading.InstantResults, &all.Instant},
		{"label-results", c.Reading.LabelResults, &all.Labels},
		{"series-results", c.Reading.SeriesResults, &all.Series},
		{"volume-results", volumes, &all.Volumes},
	} {
		made, err := one.cfg.open(one.name, logger, reg)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("query_range: cache of %s: %w", one.name, err), all.Close())
		}
		if m, ok := made.(*memcached.Client); ok {
			all.clients = append(all.clients, m)
		}
		*one.to = made
	}
	for _, c := range []*cache.Cache{&all.Labels, &all.Series, &all.Volumes} {
		if *c == nil {
			*c = cache.None()
		}
	}
	return all, nil
}

// open returns nil if nothing shall be kept.
func (c *Cache) open(name string, logger *slog.Logger, reg prometheus.Registerer) (cache.Cache, error) {
	addresses := c.Addresses
	if len(addresses) == 0 && c.Host != "" {
		addresses = []string{"dnssrv+_" + strings.TrimPrefix(c.Service, "_") + "._tcp." + c.Host}
	}
	switch {
	case !c.Enabled:
		return nil, nil
	case len(addresses) > 0:
		cfg := memcached.Config{
			Name: name, Addresses: addresses, Prefix: c.Prefix, TTL: c.Expiration, Timeout: c.Timeout, MaxIdleConns: c.IdleConns,
			MaxItemSize: c.MaxItemSize, ResolveEvery: c.Update, MaxFailures: c.MaxFailures, RetryAfter: c.RetryAfter,
		}
		if cfg.TTL == 0 {
			cfg.TTL = c.Validity
		}
		if c.TLSEnabled {
			var err error
			if cfg.TLS, err = tlsfile.Client(c.TLS); err != nil {
				return nil, err
			}
		}
		m, err := memcached.New(cfg, logger, reg)
		if err != nil {
			return nil, err // not m: a nil pointer would be no nil cache
		}
		return m, nil
	case c.Embedded:
		m, err := cache.New(cache.Config{Name: name, MaxBytes: int64(c.MaxMB) << 20, MaxItems: c.MaxItems, TTL: c.TTL}, reg)
		if err != nil {
			return nil, err
		}
		return m, nil
	}
	return nil, errors.New("there is neither an embedded cache nor an address of memcached")
}
