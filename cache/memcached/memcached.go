// Package memcached keeps values in memcached servers, which several processes can share.
package memcached

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"example.com/loki/cache"
)

// Config of a client. Only Addresses are required.
type Config struct {
	// Name becomes the label "cache" of the metrics. Clients with one registerer need names that differ.
	Name string

	// Addresses of servers: "host:port", "dns+host:port" for all addresses of a name, or
	// "dnssrv+name" for what SRV records name. A key has one server; if the servers change, few keys
	// move.
	Addresses []string

	// Prefix begins each key, so that several users of a server don't meet. At most 150 bytes without
	// spaces.
	Prefix string

	// TTL is how long a value is kept at most. 0 means 1h.
	TTL time.Duration

	// Timeout is for connecting and for each exchange with a server. 0 means 100ms.
	Timeout time.Duration

	// MaxIdleConns is how many connections to a server stay open. 0 means 16.
	MaxIdleConns int

	// MaxItemSize is the size in bytes of the largest value that is sent. 0 means 1 MiB less 1 KiB, what
	// memcached takes by default.
	MaxItemSize int

	// ResolveEvery is how often names are looked up again. 0 means 1m.
	ResolveEvery time.Duration

	// After MaxFailures exchanges in a row have failed, there are none for RetryAfter. 0 means 10 and
	// 10s.
	MaxFailures int
	RetryAfter  time.Duration

	// TLS, unless nil, is used for connections.
	TLS *tls.Config

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) check() (Config, error) {
	c.TTL = cmp.Or(c.TTL, time.Hour)
	c.Timeout = cmp.Or(c.Timeout, 100*time.Millisecond)
	c.MaxIdleConns = cmp.Or(c.MaxIdleConns, 16)
	c.MaxItemSize = cmp.Or(c.MaxItemSize, 1<<20-1<<10)
	c.ResolveEvery = cmp.Or(c.ResolveEvery, time.Minute)
	c.MaxFailures = cmp.Or(c.MaxFailures, 10)
	c.RetryAfter = cmp.Or(c.RetryAfter, 10*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	var errs []error
	if len(c.Addresses) == 0 {
		errs = append(errs, errors.New("Addresses is empty"))
	}
	if len(c.Prefix) > 150 {
		errs = append(errs, fmt.Errorf("Prefix has %d bytes, at most 150 are allowed", len(c.Prefix)))
	}
	for _, b := range []byte(c.Prefix) {
		if b <= ' ' || b == 0x7f {
			errs = append(errs, fmt.Errorf("Prefix %q has a space or a control character", c.Prefix))
			break
		}
	}
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"TTL", int64(c.TTL)}, {"Timeout", int64(c.Timeout)}, {"MaxIdleConns", int64(c.MaxIdleConns)},
		{"MaxItemSize", int64(c.MaxItemSize)}, {"ResolveEvery", int64(c.ResolveEvery)},
		{"MaxFailures", int64(c.MaxFailures)}, {"RetryAfter", int64(c.RetryAfter)},
	} {
		if v.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", v.name))
		}
	}
	return c, errors.Join(errs...)
}

// Client is a cache.Cache of memcached servers. It has no goroutines. An exchange that fails is a miss.
type Client struct {
	cfg     Config
	rpc     *memcache.Client
	servers *servers
	metrics *metrics
	log     *slog.Logger

	mu       sync.Mutex
	failures int       // in a row
	closed   time.Time // until when there are no exchanges
}

var _ cache.Cache = (*Client)(nil)

// New returns a client. It connects when it is used. logger and reg may be nil.
func New(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Client, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("memcached: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, servers: &servers{cfg: cfg}, metrics: newMetrics(cfg.Name, reg), log: logger}
	c.rpc = memcache.NewFromSelector(c.servers)
	c.rpc.Timeout, c.rpc.MaxIdleConns = cfg.Timeout, cfg.MaxIdleConns
	dialer := &net.Dialer{Timeout: cfg.Timeout}
	c.rpc.DialContext = dialer.DialContext
	if cfg.TLS != nil {
		c.rpc.DialContext = (&tls.Dialer{NetDialer: dialer, Config: cfg.TLS}).DialContext
	}
	return c, nil
}

// Close closes the connections that are open.
func (c *Client) Close() error { return c.rpc.Close() }

// name returns the key as servers see it: theirs must be short and without spaces.
func (c *Client) name(key string) string {
	sum := sha256.Sum256([]byte(key))
	return c.cfg.Prefix + hex.EncodeToString(sum[:])
}

// Get implements cache.Cache.
func (c *Client) Get(ctx context.Context, keys ...string) [][]byte {
	values := make([][]byte, len(keys))
	if len(keys) == 0 || ctx.Err() != nil || !c.usable() {
		return values
	}
	c.metrics.fetched.Add(float64(len(keys)))
	c.servers.refresh(ctx)
	names := make([]string, len(keys))
	asked := make([]string, 0, len(keys))
	seen := make(map[string]bool, len(keys))
	for i, key := range keys {
		names[i] = c.name(key)
		if !seen[names[i]] {
			seen[names[i]] = true
			asked = append(asked, names[i])
		}
	}
	items, err := c.rpc.GetMulti(asked)
	c.report("get", err)
	for i, name := range names {
		if it := items[name]; it != nil {
			values[i] = it.Value
			if it.Value == nil {
				values[i] = []byte{}
			}
			c.metrics.hits.Inc()
		}
	}
	return values
}

// Set implements cache.Cache.
func (c *Client) Set(ctx context.Context, key string, value []byte) {
	if len(value) > c.cfg.MaxItemSize || ctx.Err() != nil || !c.usable() {
		return
	}
	c.servers.refresh(ctx)
	seconds := max(1, min(int64(c.cfg.TTL/time.Second), 30*24*3600)) // beyond 30 days it would be a date
	c.report("set", c.rpc.Set(&memcache.Item{Key: c.name(key), Value: value, Expiration: int32(seconds)}))
}

// usable tells that there shall be exchanges.
func (c *Client) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failures < c.cfg.MaxFailures || !c.cfg.Now().Before(c.closed)
}

// report counts how exchanges end.
func (c *Client) report(operation string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		if c.failures >= c.cfg.MaxFailures {
			c.log.Info("memcached answers again", "cache", c.cfg.Name)
		}
		c.failures = 0
		return
	}
	c.metrics.failures.WithLabelValues(operation).Inc()
	if c.failures++; c.failures >= c.cfg.MaxFailures {
		if c.failures == c.cfg.MaxFailures {
			c.log.Warn("memcached does not answer; queries go on without", "cache", c.cfg.Name, "err", err)
		}
		c.closed = c.cfg.Now().Add(c.cfg.RetryAfter)
	}
}

type metrics struct {
	fetched, hits prometheus.Counter
	failures      *prometheus.CounterVec
}

func newMetrics(name string, reg prometheus.Registerer) *metrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"cache": name}, reg)
	}
	f := promauto.With(reg)
	return &metrics{
		fetched:  f.NewCounter(prometheus.CounterOpts{Name: "loki_cache_fetched_keys_total", Help: "Keys that a cache was asked for."}),
		hits:     f.NewCounter(prometheus.CounterOpts{Name: "loki_cache_hits_total", Help: "Keys that a cache had a value for."}),
		failures: f.NewCounterVec(prometheus.CounterOpts{Name: "loki_memcache_failures_total", Help: "Exchanges with memcached servers that failed."}, []string{"operation"}),
	}
}
