package config

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"example.com/loki"
	"example.com/loki/compactor"
	"example.com/loki/ingester"
	"example.com/loki/limits"
	"example.com/loki/store"
)

// Engine returns what the library wants to know of the configuration; perTenant is usually that of
// Overrides. Where Loki thinks in other terms than the engine, it translates:
//
//   - ingester.chunk_target_size is the size of one stream's chunk. Here all streams of a tenant share
//     a segment, whose size follows in proportion: twice Loki's default means segments of twice their
//     usual size.
//   - ingester.max_chunk_age and chunk_idle_period bound how long lines stay out of a segment.
//   - ingester.wal.flush_on_shutdown writes segments for as long as requests may take to end.
//   - ingester.wal.enabled=false does not switch the write-ahead log off: pushes no longer wait until
//     it is on disk.
//   - a directory of chunks is one of segments.
//   - compactor.retention_enabled=false keeps what retention_period and retention_stream say to drop. Deletes
//     and limits of size don't need it.
func (c *Config) Engine(perTenant limits.Provider, logger *slog.Logger, level *slog.LevelVar) (loki.Config, error) {
	e := loki.Config{
		Dir:         c.Dir,
		AuthEnabled: c.AuthEnabled,
		Limits:      perTenant,
		Logger:      logger,
		LogLevel:    level,
		Pprof:       c.Pprof,
		HideRules:   !c.Ruler.EnableAPI,
		Effective:   func() any { return c.Document() },
		Defaults:    func() any { return Default().Document() },
	}
	e.Cluster.Addresses = c.addresses()
	e.Cluster.SchedulerRing = c.Cluster.SchedulerRing && c.ringed()
	e.Cluster.IndexGatewayRing = c.Cluster.IndexGatewayMode == "ring" && c.ringed()
	if c.UsesS3() {
		e.Store.IndexDir = c.Reading.IndexDir
	}
	var err error
	if e.Cluster.GRPC, err = c.grpcClient(); err != nil {
		return loki.Config{}, err
	}
	if c.StoreDir != "" && !c.UsesS3() {
		bucket, err := store.NewFilesystemBucket(c.StoreDir)
		if err != nil {
			return loki.Config{}, err
		}
		e.Bucket = bucket
		e.Compactor.DiskUsage = compactor.DiskUsage(c.StoreDir)
	}
	e.Distributor.MaxBody = int64(c.Writing.MaxBodySize)
	e.Distributor.MaxDecompressed = int64(c.Writing.MaxDecompressedSize)
	e.Scheduler.Concurrency = c.Reading.MaxConcurrent
	e.Worker.Parallelism = c.Reading.MaxConcurrent
	e.Frontend.SlowQuery = c.Reading.LogSlowQueries
	e.Frontend.TailMaxDuration = c.Reading.TailMaxDuration
	e.Frontend.MaxRetries = c.Reading.MaxRetries
	if c.Reading.MaxRetries == 0 {
		e.Frontend.MaxRetries = -1
	}
	e.Frontend.MultiTenant = c.Reading.MultiTenant
	c.ingester(&e.Ingester)
	c.compactor(&e)
	c.Tuning.apply(&e)
	return e, nil
}

func (c *Config) ingester(i *ingester.Config) {
	i.Dir = c.WALDir
	i.MaxAge = c.Ingester.MaxChunkAge
	i.MaxIdle = c.Ingester.ChunkIdlePeriod
	if n := c.Ingester.ChunkTargetSize; n > 0 && n != defaultChunkTarget {
		const usual = 64 << 20
		i.SegmentTarget = min(max(int64(float64(usual)/defaultChunkTarget*float64(n)), 1<<20), 1<<30)
		i.MaxHeadBytes = max(256<<20, 4*i.SegmentTarget)
	}
	if !c.Ingester.WALEnabled {
		i.Sync = ingester.SyncInterval
	}
	for _, with := range []ingester.Compression{ingester.CompressS2, ingester.CompressZstd, ingester.CompressNone} {
		if with.String() == c.Ingester.WALCompression {
			i.WALCompression = with
		}
	}
	if c.Ingester.FlushOnShutdown {
		i.FlushOnStop = c.Server.ShutdownTimeout
	}
	// A part must be remembered for longer than the longest query runs. The engine's default is long enough unless queries may be
	// very long.
	i.HandoverWindow = c.Ingester.HandoverWindow
	if long := 2 * c.Limits.QueryTimeout; i.HandoverWindow == 0 && long > 5*time.Minute {
		i.HandoverWindow = max(time.Hour, long)
	}
}

func (c *Config) compactor(e *loki.Config) {
	k := &e.Compactor
	k.Interval, k.MinAge, k.DeleteDelay, k.CancelPeriod = c.Compactor.Interval, c.Compactor.MinAge, c.Compactor.DeleteDelay, c.Compactor.CancelPeriod
	k.KeepExpired, k.DryRun = !c.Compactor.RetentionEnabled, c.Compactor.DryRun
	k.MaxBytes, k.MaxDiskShare = c.Compactor.MaxBytes, c.Compactor.MaxDiskShare
	k.MaxSegmentBytes, k.BytesPerSecond, k.VerifyEvery = c.Compactor.MaxSegment, c.Compactor.Rate, c.Compactor.VerifyInterval
	k.MinShare = c.Compactor.MinShare
	k.HeadAge = max(3*time.Hour, c.Ingester.MaxChunkAge+time.Hour)
	e.Deletes.Interval = c.Compactor.PollInterval
}

// Logger returns a logger that writes to w as the configuration says, with the names that Loki gives to
// what every line has, and the level that can be changed while it runs.
func (c *Config) Logger(w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(c.LogLevel)) // checked by Load
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.TimeKey:
			a.Key = "ts"
		case slog.LevelKey:
			a.Value = slog.StringValue(strings.ToLower(a.Value.String()))
		}
		return a
	}}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts)), level
	}
	return slog.New(slog.NewTextHandler(w, opts)), level
}

// WarnIgnored logs one line that lists what was set and has no effect, if there is anything.
func (c *Config) WarnIgnored(ctx context.Context, logger *slog.Logger) {
	if len(c.Ignored) > 0 {
		logger.WarnContext(ctx, "settings of Loki that have no effect here", "names", strings.Join(c.Ignored, " "))
	}
}
