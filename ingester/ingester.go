// Package ingester holds the newest log entries: it takes pushes, makes them durable in a write-ahead log,
// answers queries about them, and turns them into segments of the store.
//
// # Data flow
//
//	Push ─ encode, compress ─► committer ─ one write, one sync ─► log file
//	        (caller)              │
//	                              └─ append ─► part ─ full, old or idle ─► cutter ─► store.Put
//	                                            ▲                                       │
//	Select, Labels, Volumes, Tail ──────────────┴── parts stored lately ────────────────┘
//
// All streams of a tenant go to one open part, which is named by a ULID at once. A part that is
// sealed takes no more pushes and is cut: written as the segment of the same name. Until that is in
// the catalog the part answers from memory, and from then on the store does; see Service.Select and
// docs/architecture.md.
//
// # What always holds
//
//   - A push that returned nil is in the log (as durable as Config.Sync says) and in each answer from
//     then on.
//   - Rows are appended in the order of the log, so a replay gives the same heads.
//   - No lock is held across I/O. Readers copy slice headers under a lock and read without one.
//   - What is in memory is bounded by Config.MaxHeadBytes; pushes wait when it is reached.
//   - One folder has one ingester.
package ingester

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/grafana/dskit/services"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"example.com/loki/ingester/internal/logfile"
	"example.com/loki/internal/pace"
	"example.com/loki/limits"
	"example.com/loki/store"
)

// Sync says when the write-ahead log is made durable.
type Sync uint8

const (
	// SyncAlways syncs before a push is acknowledged; pushes that come at the same time share a sync.
	// Nothing acknowledged is lost when the process or the machine dies.
	SyncAlways Sync = iota
	// SyncInterval syncs every Config.SyncEvery. A machine that loses power loses at most what was
	// acknowledged since; a process that dies loses nothing.
	SyncInterval
	// SyncNever leaves it to the operating system. A process that dies loses nothing; a machine that
	// loses power may lose what was acknowledged in the last half minute or so.
	SyncNever
)

// Config of an ingester. Only Dir is required.
type Config struct {
	// Dir holds the write-ahead log. It is created if it does not exist. Two ingesters cannot share it.
	Dir string

	// Name tells the ingester from others that keep copies of the same entries: statistics count copies
	// once. It must be the Writer of the store. Empty where nobody else keeps copies.
	Name string

	// Sync says when the log is made durable; the zero value is SyncAlways.
	Sync Sync
	// SyncEvery is the interval of SyncInterval. 0 means 100ms.
	SyncEvery time.Duration

	// SegmentTarget is the number of line bytes at which a part is cut. 0 means 64 MiB: large enough
	// to amortise an upload, small enough to be written in seconds.
	SegmentTarget int64
	// MaxAge cuts a part that was opened so long ago, whatever its size. 0 means 2h, as Loki's
	// max_chunk_age: it bounds how long entries depend on this machine's disk alone. Memory and the
	// length of a replay are bounded by MaxHeadBytes and WALTarget, so a shorter time would only make
	// small segments of tenants that send little. Negative: never.
	MaxAge time.Duration
	// MaxIdle cuts a part that got no push for so long. 0 means 30m, as Loki's chunk_idle_period.
	// Negative: never.
	MaxIdle time.Duration
	// WALTarget is the size in bytes of all log files together beyond which the oldest parts are cut,
	// so that their files can go. It bounds the time of a replay. 0 means 512 MiB, nearly two gigabytes of
	// lines.
	WALTarget int64
	// WALFileSize is the size in bytes at which a new log file is begun. 0 means 16 MiB.
	WALFileSize int64
	// WALCompression is how records of the log are compressed; the zero value is CompressS2.
	WALCompression Compression
	// MaxHeadBytes bounds the memory for parts and waiting pushes. From three quarters of it on the
	// largest parts are cut; when it is reached pushes wait (those that are under way may exceed it).
	// 0 means 192 MiB. It should be several
	// times SegmentTarget.
	MaxHeadBytes int64

	// HandoverWindow is how long after a part became a segment queries may still come whose
	// snapshot of the catalog is older. It must be longer than any query runs. 0 means 1h; an engine that is all there
	// is takes 5m, as all its queries see a segment when it is written.
	HandoverWindow time.Duration
	// FlushOnStop is how long a stop may take to turn all parts into segments. 0: it does not try;
	// the log keeps the entries until the next start.
	FlushOnStop time.Duration
	// CutConcurrency is how many segments are written at once. 0 means 2.
	CutConcurrency int
	// CheckEvery is how often the ages of parts are looked at. 0 means 10s.
	CheckEvery time.Duration
	// RetryWrite is how long pushes are refused, after the log could not be written, before it is
	// tried again. 0 means 500ms.
	RetryWrite time.Duration
	// TailBuffer is how many entries wait for a tail reader before it loses some. 0 means 10000.
	TailBuffer int

	// StreamShare is which part of the streams that a tenant may have one ingester may hold: the replication factor
	// divided by the number of ingesters, at most 1. It is called for pushes with new streams. nil means 1.
	StreamShare func() float64

	// Pace shares the processors between pushes and other work. The engine fills it in; nil means that all run at once.
	Pace *pace.Pace

	// Now is the clock; nil means time.Now.
	Now func() time.Time

	// create replaces the making of log files, for tests of failing disks.
	create logfile.Create
}

// check returns a copy with defaults filled in, or every problem at once.
func (c Config) check() (Config, error) {
	c.SyncEvery = cmp.Or(c.SyncEvery, 100*time.Millisecond)
	c.SegmentTarget = cmp.Or(c.SegmentTarget, 64<<20)
	c.MaxAge = cmp.Or(c.MaxAge, 2*time.Hour)
	c.MaxIdle = cmp.Or(c.MaxIdle, 30*time.Minute)
	c.WALTarget = cmp.Or(c.WALTarget, 512<<20)
	c.WALFileSize = cmp.Or(c.WALFileSize, 16<<20)
	c.MaxHeadBytes = cmp.Or(c.MaxHeadBytes, 192<<20)
	c.HandoverWindow = cmp.Or(c.HandoverWindow, time.Hour)
	c.CutConcurrency = cmp.Or(c.CutConcurrency, 2)
	c.CheckEvery = cmp.Or(c.CheckEvery, 10*time.Second)
	c.RetryWrite = cmp.Or(c.RetryWrite, 500*time.Millisecond)
	c.TailBuffer = cmp.Or(c.TailBuffer, 10000)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.create == nil {
		c.create = logfile.CreateFile
	}
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("Dir is empty"))
	}
	if c.Sync > SyncNever {
		errs = append(errs, fmt.Errorf("Sync %d is none of the constants", c.Sync))
	}
	if c.WALCompression > CompressNone {
		errs = append(errs, fmt.Errorf("WALCompression %d is none of the constants", c.WALCompression))
	}
	if c.SegmentTarget > 1<<30 {
		errs = append(errs, fmt.Errorf("SegmentTarget %d is above 1 GiB", c.SegmentTarget))
	}
	for _, v := range []struct {
		name  string
		value int64
	}{
		{"SyncEvery", int64(c.SyncEvery)}, {"SegmentTarget", c.SegmentTarget}, {"WALTarget", c.WALTarget},
		{"WALFileSize", c.WALFileSize}, {"MaxHeadBytes", c.MaxHeadBytes}, {"HandoverWindow", int64(c.HandoverWindow)},
		{"CutConcurrency", int64(c.CutConcurrency)}, {"CheckEvery", int64(c.CheckEvery)}, {"RetryWrite", int64(c.RetryWrite)},
		{"TailBuffer", int64(c.TailBuffer)},
	} {
		if v.value < 0 {
			errs = append(errs, fmt.Errorf("%s is negative", v.name))
		}
	}
	if c.FlushOnStop < 0 {
		errs = append(errs, errors.New("FlushOnStop is negative"))
	}
	return c, errors.Join(errs...)
}

// Ingester is the Service in process. It is a dskit service: it replays its log while it starts, and
// answers ErrNotReady until then and after it was stopped.
type Ingester struct {
	services.Service

	cfg     Config
	store   store.Service
	limits  limits.Provider
	logger  *slog.Logger
	metrics *metrics
	codec   *codec
	ids     *idSource
	writers []string // of the volumes of its parts: Config.Name, if it has one

	encoders sync.Pool // of *encoder
	records  sync.Pool // of *[]byte: memory of records
	buffers  headBuffers

	phase                   atomic.Int32
	replayDone, replayTotal atomic.Int64 // bytes

	gate     gate
	queue    chan *pendingPush
	truncate chan struct{} // capacity 1: log files may be deletable
	cutter   cutter
	lock     *flock.Flock
	com      *committer

	walFile  atomic.Int64 // the log file that is written to
	walSize  atomic.Int64
	needRoom atomic.Bool  // the disk of the log is full
	memory   atomic.Int64 // of parts and pending pushes
	freed    notifier     // memory has shrunk

	mu      sync.RWMutex // order: mu before tenant.mu
	tenants map[string]*tenant
}

var _ Service = (*Ingester)(nil)

const (
	phaseNew int32 = iota
	phaseReplay
	phaseRunning
	phaseStopped
)

// New makes an ingester. provider, logger and reg may be nil: Loki's default limits, no logs, no metrics.
func New(cfg Config, st store.Service, provider limits.Provider, logger *slog.Logger, reg prometheus.Registerer) (*Ingester, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("ingester: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if provider == nil {
		provider = limits.Fixed(limits.Default())
	}
	codec, err := newCodec(cfg.WALCompression)
	if err != nil {
		return nil, fmt.Errorf("ingester: %w", err)
	}
	i := &Ingester{
		cfg:      cfg,
		store:    st,
		limits:   provider,
		logger:   logger,
		metrics:  newMetrics(reg),
		codec:    codec,
		ids:      newIDSource(),
		encoders: sync.Pool{New: func() any { return new(encoder) }},
		gate:     gate{closed: make(chan struct{})},
		queue:    make(chan *pendingPush, 256),
		truncate: make(chan struct{}, 1),
		cutter:   cutter{wakeup: make(chan struct{}, 1)},
		lock:     flock.New(filepath.Join(cfg.Dir, "lock")),
		tenants:  make(map[string]*tenant),
	}
	if cfg.Name != "" {
		i.writers = []string{cfg.Name}
	}
	i.Service = services.NewBasicService(i.starting, i.running, i.stopping)
	return i, nil
}

// Ready returns nil while the ingester runs, else ErrNotReady and how far its start is.
func (i *Ingester) Ready() error {
	switch i.phase.Load() {
	case phaseRunning:
		return nil
	case phaseReplay:
		done, total := i.replayDone.Load(), i.replayTotal.Load()
		if total <= 0 {
			return fmt.Errorf("%w: opening the write-ahead log", ErrNotReady)
		}
		return fmt.Errorf("%w: replaying the write-ahead log: %d%%", ErrNotReady, min(100*done/total, 99))
	case phaseStopped:
		return fmt.Errorf("%w: stopped", ErrNotReady)
	}
	return fmt.Errorf("%w: not started", ErrNotReady)
}

// starting opens the folder and replays the log. When it fails it closes what it opened: dskit calls
// stopping only after a start that succeeded.
func (i *Ingester) starting(ctx context.Context) (err error) {
	i.phase.Store(phaseReplay)
	defer func() {
		if err != nil {
			i.phase.Store(phaseStopped)
			i.codec.close()
			err = errors.Join(fmt.Errorf("ingester: %w", err), i.lock.Unlock()) // does nothing if it is not locked
		}
	}()
	if err := i.openDir(); err != nil {
		return err
	}
	files, err := logfile.List(i.cfg.Dir)
	if err != nil {
		return err
	}
	if files, err = i.replay(ctx, files); err != nil {
		return fmt.Errorf("replay write-ahead log: %w", err)
	}
	log := logfile.Open(i.cfg.Dir, files, i.cfg.create)
	i.com = &committer{Ingester: i, log: log}
	i.walFile.Store(int64(log.Index()))
	i.com.removeFiles()
	i.gate.open()
	i.phase.Store(phaseRunning)
	return nil
}

// openDir makes sure that the folder is there, can be written, and is ours.
func (i *Ingester) openDir() error {
	if err := os.MkdirAll(i.cfg.Dir, 0o755); err != nil {
		return fmt.Errorf("folder of the write-ahead log: %w", err)
	}
	ok, err := i.lock.TryLock()
	if err != nil {
		return fmt.Errorf("folder of the write-ahead log cannot be written: %w", err)
	}
	if !ok {
		return fmt.Errorf("%w: %s (is another process, or another engine in this one, using it?)", ErrLocked, i.cfg.Dir)
	}
	return nil
}

// running owns every goroutine of the ingester: when it returns, none is left.
func (i *Ingester) running(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		i.com.run()
		return nil
	})
	for range i.cfg.CutConcurrency {
		g.Go(func() error { return i.work(ctx, false) })
	}
	g.Go(func() error { return i.sweep(ctx) })
	<-ctx.Done()
	i.phase.Store(phaseStopped)
	// Pushes that the committer has are answered, later ones refused.
	i.gate.close(func() { close(i.queue) })
	return g.Wait()
}

// stopping cuts what it may, and closes the log. What is not cut is replayed at the next start.
func (i *Ingester) stopping(error) error {
	i.phase.Store(phaseStopped)
	i.gate.close(func() { close(i.queue) })
	if i.cfg.FlushOnStop > 0 {
		i.flushOnStop()
	}
	i.codec.close()
	return errors.Join(i.com.close(), i.lock.Unlock())
}
