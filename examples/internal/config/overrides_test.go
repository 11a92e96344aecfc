package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestOverrides(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("overrides:\n  shop:\n    max_query_series: 7\n    cardinality_limit: 1\n    retention_stream: []\n  bank: {}\nconfigs:\n  shop: {}\n")
	c, err := load(t, "", "-runtime-config.file", file, "-querier.max-query-series=3", "-querier.max-query-lookback=1h")
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.Overrides()
	if err != nil {
		t.Fatal(err)
	}
	for tenant, want := range map[string]int{"shop": 7, "bank": 3, "other": 3} {
		if l := o.Limits(tenant); l.MaxQuerySeries != want || l.MaxQueryLookback != time.Hour {
			t.Errorf("%s has %d series and %v back, want %d and 1h", tenant, l.MaxQuerySeries, l.MaxQueryLookback, want)
		}
	}

	write("overrides:\n  shop:\n    max_query_seris: 8\n")
	if _, _, err := o.Reload(); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), "overrides of shop: line 3: unknown key") ||
		!strings.Contains(err.Error(), "did you mean limits_config.max_query_series?") {
		t.Errorf("Reload of a mistake = %v", err)
	}
	if got := o.Limits("shop").MaxQuerySeries; got != 7 {
		t.Errorf("after a mistake shop has %d series, want 7 as before", got)
	}
	write("overrides:\n  shop:\n    max_query_series: 9\n    cardinality_limit: 1\n")
	changed, ignored, err := o.Reload()
	if err != nil || !changed || len(ignored) != 1 || o.Limits("shop").MaxQuerySeries != 9 {
		t.Errorf("Reload = %v, %q, %v; shop has %d series", changed, ignored, err, o.Limits("shop").MaxQuerySeries)
	}
	if changed, _, err = o.Reload(); err != nil || changed {
		t.Errorf("Reload of the same = %v, %v", changed, err)
	}

	c.RuntimeFile = file + ".missing"
	if _, err := c.Overrides(); err == nil {
		t.Error("a missing file went unnoticed")
	}
}

func TestOverridesAreReadAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		c := Default()
		c.RuntimeFile = file
		o, err := c.Overrides()
		if err != nil {
			t.Fatal(err)
		}
		reg := prometheus.NewRegistry()
		if err := o.Register(reg); err != nil {
			t.Fatal(err)
		}
		good := func(want float64) {
			t.Helper()
			got, err := reg.Gather()
			if err != nil || len(got) != 1 || got[0].GetName() != "loki_runtime_config_last_reload_successful" || got[0].Metric[0].GetGauge().GetValue() != want {
				t.Errorf("metrics: %v, %v; want %g", got, err, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var b bytes.Buffer
		var wg sync.WaitGroup
		wg.Go(func() { o.Run(ctx, slog.New(slog.NewTextHandler(&b, nil))) })

		if err := os.WriteFile(file, []byte("overrides: {shop: {max_query_series: 5}}"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(c.RuntimePeriod + time.Second) // of the bubble's clock
		synctest.Wait()
		if got := o.Limits("shop").MaxQuerySeries; got != 5 {
			t.Errorf("shop has %d series, want 5", got)
		}
		good(1)
		if err := os.WriteFile(file, []byte("overrides: 7"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * c.RuntimePeriod)
		synctest.Wait()
		good(0)
		if err := os.WriteFile(file, []byte("overrides: {shop: {max_query_series: 5}}"), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * c.RuntimePeriod)
		synctest.Wait()
		good(1)
		cancel()
		wg.Wait()
		if n := strings.Count(b.String(), "has mistakes"); n != 1 {
			t.Errorf("a mistake is logged %d times:\n%s", n, b.String())
		}
		if n := strings.Count(b.String(), "were read again"); n != 2 {
			t.Errorf("what was read is logged %d times, want once for each change and once for the mistake that is gone:\n%s", n, b.String())
		}
	})
}
