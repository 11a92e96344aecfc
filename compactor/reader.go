package compactor

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/thanos-io/objstore"

	"example.com/loki/limits"
)

// ReaderConfig of a Reader. The zero value is a good default.
type ReaderConfig struct {
	// Interval is how often the requests are read: a new one takes that long to be in force at most. 0 means 10s.
	Interval time.Duration

	// File keeps a copy of the requests, so that the reader starts while the bucket does not answer, and need not read
	// all of them. It may be deleted while no reader runs. Empty: there is none.
	File string
}

// followEvery is how often requests are read that other processes have taken, unless a Config says otherwise.
const followEvery = 10 * time.Second

// Reader tells queriers in other processes than the compactor's which rows are deleted. It reads the
// requests from the bucket when it starts and then at intervals: the list of them, and those that are new.
type Reader struct {
	services.Service
	requests *requests
}

var _ Deletes = (*Reader)(nil)

// NewReader returns a reader of the delete requests in a bucket. lim and logger may be nil.
func NewReader(cfg ReaderConfig, b objstore.Bucket, lim limits.Provider, logger *slog.Logger) (*Reader, error) {
	if cfg.Interval < 0 {
		return nil, errors.New("compactor: the interval of a reader is negative")
	}
	if lim == nil {
		lim = limits.Fixed(limits.Default())
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Reader{requests: newRequests(b, lim, cfg.File, logger)}
	running := func(ctx context.Context) error {
		r.requests.keepUp(ctx, cmp.Or(cfg.Interval, followEvery))
		return nil
	}
	r.Service = services.NewBasicService(r.requests.open, running, func(error) error { return r.requests.close() })
	return r, nil
}

// Deleted implements Deletes.
func (r *Reader) Deleted(tenant string) []*Predicate { return r.requests.Deleted(tenant) }

// Generation implements Deletes.
func (r *Reader) Generation(tenant string) string { return r.requests.Generation(tenant) }
