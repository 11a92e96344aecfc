// Package store keeps rows in segments: immutable objects in a bucket, each with many streams of one
// tenant over some span of time, laid out in columns (docs/format/segment.md).
//
// Put turns sorted rows into a segment. Select finds, from labels, time ranges and filters that are
// small enough to keep in memory, the pages that a query has to look at, and yields them as batches
// whose columns are read from the bucket when they are asked for.
//
// The bucket is the truth about which segments there are. The catalog is a copy of that list in
// memory, and optionally in a file so that a start need not read the footer of each segment; it is
// brought up to date from the bucket at the start and at intervals. Of indexes there may be copies in
// a folder (Config.IndexDir). Nothing else is kept outside the bucket.
//
// What must hold: a segment is visible whole or not at all, and never beside one that replaces it;
// a row that was stored is found or the query fails; memory is bounded by Config, and by what
// callers hold.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"
)

// Config of a store. The zero value works.
type Config struct {
	// CatalogFile is a bbolt file that remembers what is known of segments over a restart. Empty
	// means none: then each start reads the footer of each segment. It may be deleted at any time.
	// Two stores must not share it.
	CatalogFile string

	// Writer is the name under which segments are put, at most 255 bytes: that of the ingester in a cluster
	// where several put copies of the same rows, so that statistics can tell copies from other rows. Empty
	// where nobody else writes.
	Writer string

	// Digests lets segments that are put say what they hold in a form that makes copies of other writers cheap to tell
	// apart, for about a hundredth of their size: see Digests in docs/format/segment.md. It is for replication, and needs a
	// Writer.
	Digests bool

	// IndexDir is a folder for copies of the indexes of segments, so that after a restart they need not be
	// fetched from the bucket again. Empty means none. It may be deleted at any time. A copy is made when a segment
	// is opened, and when one of others is found whose index was read to enter it in the catalog.
	IndexDir string

	// IndexDirBytes bounds the size of these copies, and with it the disk that they take. 0 means 4 GiB: the
	// indexes of some TB of lines.
	IndexDirBytes int64

	// KeepIndexes, unless nil, tells of which tenants indexes are copied before anybody asks for them.
	KeepIndexes func(tenant string) bool

	// RefreshInterval is how often the bucket is listed to find segments written or removed by
	// others. 0 means a minute, negative never. Where ingesters are other processes it must not be longer than
	// SharedRefresh.
	RefreshInterval time.Duration

	// CacheBytes bounds the memory for decoded columns. 0 means 48 MiB: enough for pages that queries ask
	// for again and again. A scan finds nothing in a cache of any affordable size, and twice what the
	// cache holds is what the garbage collector lets the process take.
	CacheBytes int64

	// CacheIdle is how long decoded columns are kept that no query asks for; a quarter of it may be added. 0 means
	// 30 s, negative that only others push them out.
	CacheIdle time.Duration

	// IndexCacheBytes bounds the memory for indexes, statistics and filters of open segments. 0 means
	// 64 MiB.
	IndexCacheBytes int64

	// CompressionLevel is 1 (fastest), 2 (default of zstd), 3 (better) or 4 (best). 0 means 1: it is
	// within a few percent of 2 on log lines, and a third faster.
	CompressionLevel int

	// PageBytes is the raw size of lines at which a page ends. 0 means 512 KiB. Larger pages compress
	// a little better (2 % at 1 MiB), smaller ones cost less where a query wants metadata or times of few
	// of their rows; lines are read in blocks of 64 KiB whatever it is.
	PageBytes int

	// TempDir holds segments being written that are larger than SpoolBytes, in files without names. Empty means os.TempDir().
	TempDir string

	// SpoolBytes is the compressed size up to which a segment being written is kept in memory. 0 means
	// 32 MiB.
	SpoolBytes int

	// OpenConcurrency bounds how many segments one call opens at once. 0 means 8.
	OpenConcurrency int
}

// SharedRefresh is the RefreshInterval of a store whose bucket ingesters of other processes write to. Longer than that
// nothing may go unseen that an ingester has written and, because it was killed, doesn't know of any more.
const SharedRefresh = 10 * time.Second

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	c.RefreshInterval = cmp.Or(c.RefreshInterval, time.Minute)
	c.CacheIdle = cmp.Or(c.CacheIdle, 30*time.Second)
	c.CacheBytes = cmp.Or(c.CacheBytes, 48<<20)
	c.IndexDirBytes = cmp.Or(c.IndexDirBytes, 4<<30)
	c.IndexCacheBytes = cmp.Or(c.IndexCacheBytes, 64<<20)
	c.CompressionLevel = cmp.Or(c.CompressionLevel, 1)
	c.PageBytes = cmp.Or(c.PageBytes, pageRawTarget)
	c.SpoolBytes = cmp.Or(c.SpoolBytes, 32<<20)
	c.OpenConcurrency = cmp.Or(c.OpenConcurrency, 8)
	c.TempDir = cmp.Or(c.TempDir, os.TempDir())
	var errs []error
	if c.CompressionLevel < 1 || c.CompressionLevel > 4 {
		errs = append(errs, fmt.Errorf("CompressionLevel %d is not in 1 to 4", c.CompressionLevel))
	}
	if len(c.Writer) > maxWriterName {
		errs = append(errs, fmt.Errorf("Writer has %d bytes, more than %d", len(c.Writer), maxWriterName))
	}
	if c.PageBytes < 4<<10 || c.PageBytes > 64<<20 {
		errs = append(errs, fmt.Errorf("PageBytes %d is not in 4 KiB to 64 MiB", c.PageBytes))
	}
	for _, f := range []struct {
		name  string
		value int64
	}{{"CacheBytes", c.CacheBytes}, {"IndexCacheBytes", c.IndexCacheBytes}, {"IndexDirBytes", c.IndexDirBytes}, {"SpoolBytes", int64(c.SpoolBytes)}, {"OpenConcurrency", int64(c.OpenConcurrency)}} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s %d is negative", f.name, f.value))
		}
	}
	return c, errors.Join(errs...)
}

// Store is a Service over a bucket, and a dskit service: the catalog is loaded while it starts, so it
// answers from the moment it is running.
type Store struct {
	services.Service

	cfg     Config
	bucket  objstore.Bucket
	parts   objstore.BucketReader // what segments are read from
	files   *openFiles            // that parts is, nil if the bucket has none
	log     *slog.Logger
	metrics *metrics
	codec   *codec
	columns *columnReader
	open    *cache[string, *segment]
	catalog *catalog
	copies  *copies

	reported atomic.Pointer[CorruptError] // the last one: columns that need another one pass on what it says
}

var _ Service = (*Store)(nil)

// New returns a store over a bucket, which stays the caller's to close. logger and reg may be nil.
func New(cfg Config, bucket objstore.Bucket, logger *slog.Logger, reg prometheus.Registerer) (*Store, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	m := newMetrics(reg)
	s := &Store{
		cfg: cfg, log: logger, metrics: m, codec: newCodec(zstd.EncoderLevel(cfg.CompressionLevel)),
		bucket: instrument(bucket, reg),
	}
	s.parts = s.bucket
	if s.files = newOpenFiles(bucket, s.bucket, m.hits.WithLabelValues("files"), m.misses.WithLabelValues("files")); s.files != nil {
		s.parts = s.files
	}
	s.open = newCache[string, *segment](cfg.IndexCacheBytes, nil, m.hits.WithLabelValues("index"), m.misses.WithLabelValues("index"))
	columns := newCache[columnKey, *columnData](cfg.CacheBytes, nil, m.hits.WithLabelValues("columns"), m.misses.WithLabelValues("columns"))
	s.columns = newColumnReader(s.codec, columns, func(n int64) { m.readBytes.Add(float64(n)) })
	s.columns.report = s.report
	m.watch(reg, s.open.stats, s.columns.cache.stats)
	s.copies = newCopies(cfg, logger, m)
	s.catalog = newCatalog(s.bucket, logger, m, cfg.CatalogFile, s.copies)
	s.Service = services.NewBasicService(s.starting, s.running, s.stopping)
	return s, nil
}

// starting opens the catalog file and lists the bucket.
func (s *Store) starting(ctx context.Context) error {
	if err := s.copies.open(); err != nil {
		return err
	}
	if err := s.catalog.openFile(); err != nil {
		return err
	}
	if err := s.catalog.refresh(ctx); err != nil {
		return errors.Join(fmt.Errorf("store: list segments: %w", err), s.catalog.close())
	}
	return nil
}

// running lists the bucket now and then, drops columns that nobody has asked for, and closes files that nobody reads.
func (s *Store) running(ctx context.Context) error {
	var loops sync.WaitGroup
	if s.cfg.RefreshInterval > 0 {
		loops.Go(func() {
			every(ctx, func() time.Duration { return jitter(s.cfg.RefreshInterval) }, func() {
				if err := s.catalog.refresh(ctx); err != nil && ctx.Err() == nil {
					s.log.Error("listing segments failed; going on with those known", "err", err)
				}
			})
		})
	}
	if s.cfg.CacheIdle > 0 {
		loops.Go(func() {
			every(ctx, func() time.Duration { return s.cfg.CacheIdle / idleTicks }, func() { s.columns.cache.age() })
		})
	}
	if s.files != nil {
		loops.Go(func() {
			every(ctx, func() time.Duration { return openFileIdle / idleTicks }, s.files.age)
		})
	}
	<-ctx.Done()
	loops.Wait()
	return nil
}

// every calls f after each interval until ctx is done.
func every(ctx context.Context, interval func() time.Duration, f func()) {
	for {
		timer := time.NewTimer(interval())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		f()
	}
}

func (s *Store) stopping(error) error {
	err := s.catalog.close()
	s.columns.cache.purge()
	s.open.purge()
	s.files.close()
	return err
}

// Refresh lists the bucket now, so that segments written by others are seen.
func (s *Store) Refresh(ctx context.Context) error { return s.catalog.refresh(ctx) }

// Listed returns when the last listing of the bucket that succeeded began: segments that were written before it are
// known. It is zero if there was none.
func (s *Store) Listed() time.Time {
	if t := s.catalog.listed.Load(); t != nil {
		return *t
	}
	return time.Time{}
}

// Tenants returns all tenants that have segments, sorted.
func (s *Store) Tenants() []string { return s.catalog.tenants() }

// segment returns an open segment from the cache, which is loaded.
func (s *Store) segment(ctx context.Context, x *selected) (*segment, error) {
	return s.cached(ctx, x, true)
}

// unloaded is segment, but the segment need not be loaded.
func (s *Store) unloaded(ctx context.Context, x *selected) (*segment, error) {
	return s.cached(ctx, x, false)
}

func (s *Store) cached(ctx context.Context, x *selected, load bool) (*segment, error) {
	h, err := s.open.get(ctx, x.path, func() (*segment, int64, error) {
		seg, err := s.openCopied(ctx, x)
		if err != nil {
			return nil, 0, err
		}
		return seg, seg.memory(), nil
	})
	if err != nil {
		s.report(err)
		return nil, err
	}
	defer h.release() // segments are left to the garbage collector
	if load && !h.val.loaded() {
		if err := h.val.load(); err != nil {
			s.open.forget(x.path)
			return nil, s.report(err)
		}
		s.open.weigh(h, h.val.memory())
	}
	return h.val, nil
}

// openCopied opens a segment by the copy of its index, or makes one.
func (s *Store) openCopied(ctx context.Context, x *selected) (*segment, error) {
	if s.copies == nil {
		end, err := readEnd(ctx, s.parts, x.path, x.info.SizeBytes)
		if err != nil {
			return nil, err
		}
		return openEnd(s.parts, s.codec, x.path, x.info.SizeBytes, end)
	}
	name := copyName{x.tenant, x.info.ID}
	if end := s.copies.get(name); end != nil {
		seg, err := openEnd(s.parts, s.codec, x.path, x.info.SizeBytes, end)
		if err == nil && seg.info.ID != x.info.ID {
			err = fmt.Errorf("it is of segment %s", seg.info.ID)
		}
		if err == nil {
			s.metrics.copiesRead.Inc()
			return seg, nil
		}
		s.log.Warn("copy of an index is damaged; reading the segment's own", "segment", x.path, "err", err)
		s.copies.remove(name)
	}
	end, err := readEnd(ctx, s.parts, x.path, x.info.SizeBytes)
	if err != nil {
		return nil, err
	}
	seg, err := openEnd(s.parts, s.codec, x.path, x.info.SizeBytes, end)
	if err == nil {
		s.copies.put(name, end)
	}
	return seg, err
}

// report logs and counts damage. It passes the error through.
func (s *Store) report(err error) error {
	var c *CorruptError
	if errors.As(err, &c) && s.reported.Swap(c) != c {
		s.files.forget(c.Object) // what restores it may be another file
		s.metrics.corrupt.Inc()
		s.log.Error("segment is damaged; queries that need it fail until it is restored or removed",
			"object", c.Object, "section", c.Section, "offset", c.Offset, "reason", c.Reason)
	}
	return err
}

// closeQuietly closes what has only been read.
func closeQuietly(c io.Closer) { _ = c.Close() }
