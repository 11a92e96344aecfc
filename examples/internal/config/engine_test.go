package config

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"example.com/loki/ingester"
	"example.com/loki/limits"
)

func TestEngine(t *testing.T) {
	dir := t.TempDir()
	c, err := load(t, "", "-common.path-prefix", dir, "-local.chunk-directory", filepath.Join(dir, "s"), "-ingester.wal-dir", filepath.Join(dir, "w"),
		"-ingester.chunk-target-size=3MB", "-ingester.max-chunk-age=1h", "-ingester.chunks-idle-period=5m", "-ingester.wal-enabled=false", "-ingester.wal-compression=zstd",
		"-ingester.flush-on-shutdown", "-server.graceful-shutdown-timeout=7s", "-querier.query-timeout=2h", "-querier.max-query-series=9",
		"-distributor.max-recv-msg-size=1MB", "-querier.max-concurrent=3", "-auth.enabled")
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Engine(limits.Fixed(c.Limits), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.Dir != dir || !e.AuthEnabled || e.Bucket == nil || e.Limits("any").MaxQuerySeries != 9 || e.Distributor.MaxBody != 1<<20 || e.Scheduler.Concurrency != 3 {
		t.Errorf("engine = %+v", e)
	}
	i := e.Ingester
	want := ingester.Config{Dir: filepath.Join(dir, "w"), Sync: ingester.SyncInterval, WALCompression: ingester.CompressZstd, SegmentTarget: 128 << 20, MaxHeadBytes: 512 << 20,
		MaxAge: time.Hour, MaxIdle: 5 * time.Minute, FlushOnStop: 7 * time.Second, HandoverWindow: 4 * time.Hour}
	if i.Dir != want.Dir || i.Sync != want.Sync || i.WALCompression != want.WALCompression || i.SegmentTarget != want.SegmentTarget || i.MaxHeadBytes != want.MaxHeadBytes ||
		i.MaxAge != want.MaxAge || i.MaxIdle != want.MaxIdle || i.FlushOnStop != want.FlushOnStop || i.HandoverWindow != want.HandoverWindow {
		t.Errorf("ingester = %+v\nwant %+v", i, want)
	}

	e, err = Default().Engine(nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if i := e.Ingester; i.Sync != ingester.SyncAlways || i.SegmentTarget != 0 || i.FlushOnStop != 0 || e.Bucket != nil || e.AuthEnabled {
		t.Errorf("defaults = %+v", e)
	}

	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c.StoreDir = filepath.Join(blocked, "s")
	if _, err := c.Engine(limits.Fixed(c.Limits), nil, nil); err == nil {
		t.Error("a folder that cannot be made went unnoticed")
	}
}

func TestLogger(t *testing.T) {
	for format, want := range map[string][]string{
		"logfmt": {"ts=", "level=warn", `msg="settings of Loki`, "names=\"-a b.c\""},
		"json":   {`"ts":"`, `"level":"warn"`},
	} {
		c := Default()
		c.LogFormat, c.Ignored = format, []string{"-a", "b.c"}
		var b bytes.Buffer
		log, level := c.Logger(&b)
		c.WarnIgnored(t.Context(), log)
		for _, w := range want {
			if !strings.Contains(b.String(), w) {
				t.Errorf("%s lacks %s: %s", format, w, b.String())
			}
		}
		b.Reset()
		log.Debug("quiet")
		if b.Len() > 0 {
			t.Errorf("level info logs %s", b.String())
		}
		_ = level.UnmarshalText([]byte("debug"))
		if log.Debug("loud"); b.Len() == 0 {
			t.Error("the level cannot be changed")
		}
	}
}
