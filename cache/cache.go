// Package cache keeps values by key for a while. What is in it may be gone at any time, so nobody may
// depend on it, and a cache that fails is one that has nothing.
//
// New makes one in memory. Package memcached has one that several processes can share.
package cache

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Cache keeps values. Its methods may be called from several goroutines.
type Cache interface {
	// Get returns the values of keys, nil for those that are not there. It waits no longer than ctx
	// allows. The values must not be changed.
	Get(ctx context.Context, keys ...string) [][]byte

	// Set keeps a value, which must not be changed any more. It may keep it for no time at all.
	Set(ctx context.Context, key string, value []byte)
}

// Config of a cache in memory. The zero value is a good default.
type Config struct {
	// Name becomes the label "cache" of the metrics. Caches with one registerer need names that differ.
	Name string

	// MaxBytes bounds the memory for keys and values. 0 means 100 MiB. A value larger than a 64th of it is
	// not kept.
	MaxBytes int64

	// MaxItems bounds the number of values. 0 means no bound.
	MaxItems int

	// TTL is how long a value is kept at most. 0 means 1h.
	TTL time.Duration

	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

func (c Config) check() (Config, error) {
	var errs []error
	if c.MaxBytes < 0 {
		errs = append(errs, fmt.Errorf("MaxBytes is %d; it can't be negative", c.MaxBytes))
	}
	if c.MaxItems < 0 {
		errs = append(errs, fmt.Errorf("MaxItems is %d; it can't be negative", c.MaxItems))
	}
	if c.TTL < 0 {
		errs = append(errs, fmt.Errorf("TTL is %s; it can't be negative", c.TTL))
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = 100 << 20
	}
	if c.TTL == 0 {
		c.TTL = time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, errors.Join(errs...)
}

// shards is how many parts a cache has, each with a lock and an equal share of the room.
const shards = 16

// itemCost is about what a value costs beside its bytes and those of its key.
const itemCost = 160

// Memory is a Cache in memory. The values that were used longest ago go first. It has no goroutine and
// needs no end.
type Memory struct {
	cfg     Config
	seed    maphash.Seed
	metrics *metrics
	shards  [shards]shard
}

var _ Cache = (*Memory)(nil)

type shard struct {
	mu    sync.Mutex
	items map[string]*list.Element // of *item
	order *list.List               // used last first
	bytes int64
}

type item struct {
	key     string
	value   []byte
	expires time.Time
}

func (i *item) size() int64 { return int64(len(i.key)+len(i.value)) + itemCost }

// New returns a cache in memory. reg may be nil.
func New(cfg Config, reg prometheus.Registerer) (*Memory, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	m := &Memory{cfg: cfg, seed: maphash.MakeSeed(), metrics: newMetrics(cfg.Name, reg)}
	for i := range m.shards {
		m.shards[i].items, m.shards[i].order = map[string]*list.Element{}, list.New()
	}
	return m, nil
}

func (m *Memory) shard(key string) *shard { return &m.shards[maphash.String(m.seed, key)%shards] }

// Get implements Cache.
func (m *Memory) Get(_ context.Context, keys ...string) [][]byte {
	values := make([][]byte, len(keys))
	now := m.cfg.Now()
	hits := 0
	for i, key := range keys {
		s := m.shard(key)
		s.mu.Lock()
		if e, ok := s.items[key]; ok {
			if it := e.Value.(*item); now.Before(it.expires) {
				values[i] = it.value
				s.order.MoveToFront(e)
				hits++
			} else {
				m.drop(s, e, reasonExpired)
			}
		}
		s.mu.Unlock()
	}
	m.metrics.fetched.Add(float64(len(keys)))
	m.metrics.hits.Add(float64(hits))
	return values
}

// Set implements Cache.
func (m *Memory) Set(_ context.Context, key string, value []byte) {
	if value == nil {
		value = []byte{} // nil stands for nothing
	}
	it := &item{key: key, value: value, expires: m.cfg.Now().Add(m.cfg.TTL)}
	if it.size() > m.cfg.MaxBytes/64 {
		m.metrics.evicted.WithLabelValues(reasonLarge).Inc()
		return
	}
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.items[key]; ok {
		m.drop(s, e, reasonReplaced)
	}
	s.items[key] = s.order.PushFront(it)
	s.bytes += it.size()
	m.metrics.added.Inc()
	m.metrics.entries.Inc()
	m.metrics.bytes.Add(float64(it.size()))
	perShard := (m.cfg.MaxItems + shards - 1) / shards
	for s.bytes > m.cfg.MaxBytes/shards || m.cfg.MaxItems > 0 && s.order.Len() > perShard {
		m.drop(s, s.order.Back(), reasonFull)
	}
}

// drop takes a value out. The caller holds the lock.
func (m *Memory) drop(s *shard, e *list.Element, reason string) {
	it := s.order.Remove(e).(*item)
	delete(s.items, it.key)
	s.bytes -= it.size()
	m.metrics.entries.Dec()
	m.metrics.bytes.Sub(float64(it.size()))
	m.metrics.evicted.WithLabelValues(reason).Inc()
}

// Why a value goes.
const (
	reasonFull     = "full"
	reasonExpired  = "expired"
	reasonReplaced = "replaced"
	reasonLarge    = "too_large"
)

type metrics struct {
	fetched, hits, added prometheus.Counter
	entries, bytes       prometheus.Gauge
	evicted              *prometheus.CounterVec
}

func newMetrics(name string, reg prometheus.Registerer) *metrics {
	if reg != nil {
		reg = prometheus.WrapRegistererWith(prometheus.Labels{"cache": name}, reg)
	}
	f := promauto.With(reg)
	return &metrics{
		fetched: f.NewCounter(prometheus.CounterOpts{Name: "loki_cache_fetched_keys_total", Help: "Keys that a cache was asked for."}),
		hits:    f.NewCounter(prometheus.CounterOpts{Name: "loki_cache_hits_total", Help: "Keys that a cache had a value for."}),
		added:   f.NewCounter(prometheus.CounterOpts{Name: "loki_embeddedcache_added_new_total", Help: "Values that were put into a cache in memory."}),
		entries: f.NewGauge(prometheus.GaugeOpts{Name: "loki_embeddedcache_entries", Help: "Values in a cache in memory."}),
		bytes:   f.NewGauge(prometheus.GaugeOpts{Name: "loki_embeddedcache_memory_bytes", Help: "Bytes that a cache in memory takes."}),
		evicted: f.NewCounterVec(prometheus.CounterOpts{Name: "loki_embeddedcache_evicted_total", Help: "Values that left a cache in memory, or were not let in."}, []string{"reason"}),
	}
}
