package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"

	"example.com/loki/limits"
)

// Overrides are the limits of single tenants, from the file that runtime_config.file names:
//
//	overrides:
//	  shop:
//	    ingestion_rate_mb: 10
//
// What a tenant's block does not name is as limits_config says. The file is read again from time to
// time; a version with mistakes in it is refused as a whole, and the one before stays in force.
type Overrides struct {
	files    []string
	period   time.Duration
	base     limits.Limits
	byTenant atomic.Pointer[map[string]*limits.Limits]
	loaded   []string // texts of the version in force; used by one goroutine at a time
	refused  atomic.Bool
}

// Register shows in a registry whether the file that was read last is in force, as Loki does. Without a file there
// is nothing to show.
func (o *Overrides) Register(reg prometheus.Registerer) error {
	if len(o.files) == 0 {
		return nil
	}
	return reg.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "loki_runtime_config_last_reload_successful",
		Help: "Whether the last attempt to read the limits of tenants has succeeded: 1, or 0 while older ones stay in force.",
	}, func() float64 {
		if o.refused.Load() {
			return 0
		}
		return 1
	}))
}

// Overrides reads the file for the first time. Without a file all tenants have the same limits.
func (c *Config) Overrides() (*Overrides, error) {
	o := &Overrides{period: c.RuntimePeriod, base: c.Limits}
	o.byTenant.Store(&map[string]*limits.Limits{})
	if c.RuntimeFile == "" {
		return o, nil
	}
	o.files = strings.Split(c.RuntimeFile, ",")
	_, _, err := o.Reload()
	return o, err
}

// Limits is a limits.Provider.
func (o *Overrides) Limits(tenant string) *limits.Limits {
	if l, ok := (*o.byTenant.Load())[tenant]; ok {
		return l
	}
	return &o.base
}

// Run reads the file again and again until ctx is done. It returns at once if there is no file.
func (o *Overrides) Run(ctx context.Context, logger *slog.Logger) {
	if len(o.files) == 0 || o.period <= 0 {
		return
	}
	tick := time.NewTicker(o.period)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changed, ignored, err := o.Reload()
		o.refused.Store(err != nil)
		switch {
		case err != nil && err.Error() != last: // once, not every ten seconds
			last = err.Error()
			logger.Error("the limits of tenants are not changed: the runtime configuration has mistakes", "err", err)
		case err == nil && (changed || last != ""):
			last = ""
			logger.Info("limits of tenants were read again", "tenants", len(*o.byTenant.Load()), "without_effect", strings.Join(ignored, " "))
		}
	}
}

// Reload reads the file now. It tells whether it has changed, and which of its settings have no effect.
func (o *Overrides) Reload() (changed bool, ignored []string, err error) {
	var texts []string
	for _, name := range o.files {
		b, err := os.ReadFile(strings.TrimSpace(name))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil, fmt.Errorf("read runtime configuration: no such file: %s", name)
		}
		if err != nil {
			return false, nil, fmt.Errorf("read runtime configuration: %w", err)
		}
		texts = append(texts, string(b))
	}
	if o.loaded != nil && slices.Equal(texts, o.loaded) {
		return false, nil, nil
	}
	byTenant := map[string]*limits.Limits{}
	for i, text := range texts { // later files win
		more, err := parseOverrides(text, o.base, byTenant)
		if err != nil {
			return false, nil, fmt.Errorf("%w: %s:\n%w", ErrUsage, o.files[i], err)
		}
		ignored = append(ignored, more...)
	}
	o.loaded = texts
	o.byTenant.Store(&byTenant)
	return true, ignored, nil
}

// parseOverrides reads documents of overrides into byTenant; later ones win. It returns what has no effect.
func parseOverrides(text string, base limits.Limits, byTenant map[string]*limits.Limits) ([]string, error) {
	scratch := Default()
	l := newLoader(scratch)
	d := yaml.NewDecoder(strings.NewReader(text))
	for {
		var doc struct {
			Overrides map[string]yaml.Node `yaml:"overrides"`
		}
		if err := d.Decode(&doc); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return nil, err
		}
		w := &walker{loader: l}
		for _, tenant := range slices.Sorted(maps.Keys(doc.Overrides)) {
			n := doc.Overrides[tenant]
			scratch.Limits = base
			if before, ok := byTenant[tenant]; ok {
				scratch.Limits = *before
			}
			known := len(w.errs)
			w.block(&n, "limits_config")
			for i, err := range w.errs[known:] {
				w.errs[known+i] = fmt.Errorf("overrides of %s: %w", tenant, err)
			}
			own := scratch.Limits
			byTenant[tenant] = &own
		}
		if err := errors.Join(w.errs...); err != nil {
			return nil, err
		}
	}
	slices.Sort(scratch.Ignored)
	return slices.Compact(scratch.Ignored), nil
}
