// Package remotewrite is a durable queue of samples in front of Prometheus' remote-write client.
//
// What is appended is in a write-ahead log before Append returns. Each receiver has a place in the log, kept on
// disk, up to which it has acknowledged everything; it gets the rest in order, however long it was away and
// whatever was restarted meanwhile. The queue that Prometheus itself has in front of its client forgets on a
// restart what was not delivered; this is why it is not used here.
//
// After a crash a few samples may be sent again. Receivers take them for what they are: the same.
package remotewrite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"
)

// Sample is a point of a series.
type Sample struct {
	Labels labels.Labels
	Time   int64 // milliseconds since 1970
	Value  float64
}

// Config of a queue.
type Config struct {
	// Dir holds the log and the receivers' places in it. Required; one queue at a time can use it.
	Dir string
	// Receivers get every sample. They are told apart by their Name, which must not be empty.
	Receivers []*config.RemoteWriteConfig
	// ExternalLabels are added to all series that don't have them.
	ExternalLabels labels.Labels
	// MaxAge is how long a sample waits for a receiver before it is dropped. 0 means 4h.
	MaxAge time.Duration
	// Drain is how long Run may go on sending after its context has ended. 0 means 5s. What is left stays in
	// the log.
	Drain time.Duration
}

// segmentSize bounds a file of the log, in bytes.
const segmentSize = 2 << 20

// Queue is a log and those who send from it. Its methods may be called from several goroutines.
type Queue struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	senders []*sender

	mu  sync.Mutex // guards wal's rotation against the choice of what to remove
	wal *wlog.WL
}

// Open opens the log. It starts nothing: see Run. logger and reg may be nil.
func Open(cfg Config, logger *slog.Logger, reg prometheus.Registerer) (*Queue, error) {
	cfg.MaxAge = cmp.Or(cfg.MaxAge, 4*time.Hour)
	cfg.Drain = cmp.Or(cfg.Drain, 5*time.Second)
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Dir == "" {
		return nil, errors.New("remotewrite: Dir is empty")
	}
	q := &Queue{cfg: cfg, log: logger, metrics: newMetrics(reg)}
	dir := filepath.Join(cfg.Dir, "wal")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("remotewrite: %w", err)
	}
	for _, r := range cfg.Receivers {
		s, err := newSender(q, r)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(q.senders, func(o *sender) bool { return o.name == s.name }) {
			return nil, fmt.Errorf("remotewrite: two receivers have the name %q", s.name)
		}
		q.senders = append(q.senders, s)
	}
	var err error
	if q.wal, err = wlog.NewSize(logger, nil, dir, segmentSize, compression.Snappy); err != nil {
		return nil, fmt.Errorf("remotewrite: open the log: %w", err)
	}
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("remotewrite: %w", err), q.wal.Close())
	}
	for _, s := range q.senders {
		s.start(dir, max(first, 0), last)
	}
	q.metrics.ready.Set(1)
	return q, nil
}

// Append adds samples to the log and returns when they are on disk.
func (q *Queue) Append(samples []Sample) error {
	if len(samples) == 0 {
		return nil
	}
	req := prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, len(samples))}
	newest := int64(math.MinInt64)
	for i, s := range samples {
		req.Timeseries[i] = prompb.TimeSeries{
			Labels:  prompb.FromLabels(s.Labels, nil),
			Samples: []prompb.Sample{{Timestamp: s.Time, Value: s.Value}},
		}
		newest = max(newest, s.Time)
	}
	rec, err := req.Marshal()
	if err != nil {
		return fmt.Errorf("remotewrite: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.wal.Log(rec); err != nil {
		return fmt.Errorf("remotewrite: %w", err)
	}
	if err := q.wal.Sync(); err != nil {
		return fmt.Errorf("remotewrite: %w", err)
	}
	q.metrics.appended.Add(float64(len(samples)))
	q.metrics.highest.Set(float64(newest) / 1000)
	for _, s := range q.senders {
		s.pending.Add(float64(len(samples)))
		s.wake()
	}
	return nil
}

// Run sends until ctx is done.
func (q *Queue) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range q.senders {
		all.Go(func() { s.run(ctx) })
	}
	all.Wait()
}

// Close closes the log. Run must have returned.
func (q *Queue) Close() error {
	q.metrics.ready.Set(0)
	for _, s := range q.senders {
		s.close()
	}
	if err := q.wal.Close(); err != nil {
		return fmt.Errorf("remotewrite: close the log: %w", err)
	}
	return nil
}

// written returns the file that is being written.
func (q *Queue) written() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	last, _, err := q.wal.LastSegmentAndOffset()
	if err != nil {
		return 0
	}
	return last
}

// clean removes files that all receivers are past.
func (q *Queue) clean() {
	q.mu.Lock()
	defer q.mu.Unlock()
	keep := math.MaxInt
	for _, s := range q.senders {
		keep = min(keep, s.at().Segment)
	}
	if err := q.wal.Truncate(keep); err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.log.Warn("remote write: files that are not needed any more can't be removed", "dir", q.wal.Dir(), "err", err)
	}
	if size, err := q.wal.Size(); err == nil {
		q.metrics.disk.Set(float64(size))
	}
}
