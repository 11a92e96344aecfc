package compactor

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/grafana/dskit/services"
	"github.com/thanos-io/objstore"
)

// Reader tells queriers in other processes than the compactor's which rows are deleted. It reads the
// requests from the bucket when it starts and then at intervals, so a new request takes that long to be in
// force there.
type Reader struct {
	services.Service
	requests *requests
	interval time.Duration
	log      *slog.Logger
}

var _ Deletes = (*Reader)(nil)

// NewReader returns a reader of the delete requests in a bucket. An interval of 0 means 15s. logger may be nil.
func NewReader(b objstore.Bucket, interval time.Duration, logger *slog.Logger) (*Reader, error) {
	if interval < 0 {
		return nil, errors.New("compactor: the interval of a reader is negative")
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	r := &Reader{requests: newRequests(b, logger), interval: cmp.Or(interval, 15*time.Second), log: logger}
	r.Service = services.NewTimerService(r.interval, r.requests.load, r.refresh, nil)
	return r, nil
}

func (r *Reader) refresh(ctx context.Context) error {
	if err := r.requests.load(ctx); err != nil && ctx.Err() == nil {
		r.log.Error("delete requests cannot be read; going on with those known", "err", err)
	}
	return nil
}

// Deleted implements Deletes.
func (r *Reader) Deleted(tenant string) []*Predicate { return r.requests.Deleted(tenant) }
