package config

import (
	"context"
	"io"
	"log/slog"
	"strings"

	"example.com/loki"
	"example.com/loki/limits"
	"example.com/loki/store"
)

// Engine returns what the library wants to know of the configuration. Where Loki thinks in other
// terms than the engine, it translates:
//
//   - ingester.chunk_target_size is the size of one stream's chunk. Here all streams of a tenant share
//     a part, and 64 chunks are a segment.
//   - ingester.max_chunk_age and chunk_idle_period bound how long lines stay out of a segment.
//   - ingester.wal.enabled=false does not switch the write-ahead log off: pushes no longer wait until
//     it is on disk.
//   - a directory of chunks is one of segments.
func (c *Config) Engine(logger *slog.Logger, level *slog.LevelVar) (loki.Config, error) {
	e := loki.Config{
		Dir:         c.Dir,
		AuthEnabled: c.AuthEnabled,
		Limits:      limits.Fixed(c.Limits),
		Logger:      logger,
		LogLevel:    level,
		Pprof:       c.Pprof,
		Effective:   func() any { return c.Document() },
		Defaults:    func() any { return Default().Document() },
	}
	if c.StoreDir != "" {
		bucket, err := store.NewFilesystemBucket(c.StoreDir)
		if err != nil {
			return loki.Config{}, err
		}
		e.Bucket = bucket
	}
	e.Distributor.MaxBody = int64(c.Writing.MaxBodySize)
	e.Distributor.MaxDecompressed = int64(c.Writing.MaxDecompressedSize)
	e.Scheduler.Concurrency = c.Reading.MaxConcurrent
	e.Frontend.SlowQuery = c.Reading.LogSlowQueries
	e.Ingester.Dir = c.WALDir
	return e, nil
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
