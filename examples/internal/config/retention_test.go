package config

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loki/limits"
)

const retentionFile = `
compactor:
  retention_enabled: true
  compaction_interval: 5m
  retention_delete_delay: 30m
  delete_request_cancel_period: 1h
  retention_max_bytes: 10GB
  retention_max_disk_share: 0.8
limits_config:
  retention_period: 30d
  retention_stream:
    - selector: '{namespace="dev"}'
      priority: 1
      period: 24h
    - selector: '{level="debug", app=~"a|b"}'
      priority: 2
      period: 2w
  retention_bytes: 1GB
  retention_disk_share: 0.1
  deletion_mode: filter-only
`

func TestRetention(t *testing.T) {
	c, err := load(t, retentionFile)
	if err != nil {
		t.Fatal(err)
	}
	want := []limits.StreamRetention{
		{Selector: `{namespace="dev"}`, Priority: 1, Period: 24 * time.Hour},
		{Selector: `{level="debug", app=~"a|b"}`, Priority: 2, Period: 14 * 24 * time.Hour},
	}
	l := c.Limits
	if l.RetentionPeriod != 30*24*time.Hour || !reflect.DeepEqual(l.RetentionStream, want) || l.RetentionBytes != 1<<30 ||
		l.RetentionDiskShare != 0.1 || l.DeletionMode != limits.DeletionFilterOnly {
		t.Errorf("limits = %+v", l)
	}
	if len(c.Ignored) > 0 {
		t.Errorf("ignored: %q", c.Ignored)
	}
	e, err := c.Engine(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := e.Compactor
	if k.KeepExpired || k.Interval != 5*time.Minute || k.DeleteDelay != 30*time.Minute || k.CancelPeriod != time.Hour || k.MaxBytes != 10<<30 || k.MaxDiskShare != 0.8 {
		t.Errorf("compactor = %+v", k)
	}

	var b strings.Builder
	if err := c.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	again, err := load(t, b.String())
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	if !reflect.DeepEqual(again.Limits, c.Limits) || again.Compactor != c.Compactor {
		t.Errorf("read again: %+v\nwant %+v", again.Limits, c.Limits)
	}
}

// TestRetentionNotEnabled keeps what Loki would keep.
func TestRetentionNotEnabled(t *testing.T) {
	c, err := load(t, strings.Replace(retentionFile, "retention_enabled: true", "retention_enabled: false", 1))
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Engine(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !e.Compactor.KeepExpired {
		t.Error("lines are dropped by age")
	}
	for _, want := range []string{"retention_period", "retention_stream"} {
		if !slices.ContainsFunc(c.Ignored, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("nothing is said of %s: %q", want, c.Ignored)
		}
	}
}

func TestRetentionMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"retention_stream: [{selector: '{a=', period: 1d}]":         "selector {a=",
		"retention_stream: [{selector: '{a=\"b\"}', period: soon}]": "period",
		"retention_stream: [{selector: '{a=\"b\"}', perod: 1d}]":    "perod",
		"retention_stream: '{a=\"b\"}'":                             "retention_stream",
		"deletion_mode: perhaps":                                    "not one of disabled",
		"retention_bytes: much":                                     "not a size",
	} {
		if _, err := load(t, "limits_config:\n  "+text+"\n"); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestRetentionOfTenants gives a tenant rules of its own in place of all of those of everyone.
func TestRetentionOfTenants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "runtime.yaml")
	text := "overrides:\n  a:\n    retention_period: 1w\n    retention_stream: [{selector: '{x=\"y\"}', priority: 3, period: 2d}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := load(t, retentionFile, "-runtime-config.file", file)
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.Overrides()
	if err != nil {
		t.Fatal(err)
	}
	a, b := o.Limits("a"), o.Limits("b")
	if a.RetentionPeriod != 7*24*time.Hour || len(a.RetentionStream) != 1 || a.RetentionStream[0].Priority != 3 {
		t.Errorf("limits of a: %+v", a)
	}
	if b.RetentionPeriod != 30*24*time.Hour || len(b.RetentionStream) != 2 {
		t.Errorf("limits of b: %+v", b)
	}
}
