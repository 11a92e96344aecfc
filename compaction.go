package loki

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/grafana/dskit/services"

	"example.com/loki/compactor"
	"example.com/loki/store"
)

// deletesModule reads what others delete, where the process has no compactor.
const deletesModule = "delete-requests"

// openBucket makes the bucket of an engine that was given none: a folder.
func (e *Engine) openBucket() error {
	if e.parts.Bucket = e.cfg.Bucket; e.parts.Bucket != nil {
		return nil
	}
	dir := filepath.Join(e.cfg.Dir, "store")
	bucket, err := store.NewFilesystemBucket(dir)
	if err != nil {
		return err
	}
	e.parts.Bucket = bucket
	if e.parts.Config.Compactor.DiskUsage == nil {
		e.parts.Config.Compactor.DiskUsage = compactor.DiskUsage(dir)
	}
	return nil
}

// deletes makes the reader of delete requests.
func (e *Engine) deletes() (services.Service, error) {
	cfg := e.cfg.Deletes
	if cfg.File == "" {
		cfg.File = filepath.Join(e.cfg.Dir, "deletes.db")
	}
	r, err := compactor.NewReader(cfg, e.parts.Bucket, e.cfg.Limits, e.cfg.Logger)
	if err != nil {
		return nil, err
	}
	e.parts.Deletes = r
	return r, nil
}

func buildCompactor(c *Collaborators) (compactor.Service, error) {
	st, ok := c.Store.(store.Keeper)
	if !ok {
		return nil, errors.New("the store is not a store.Keeper, so its segments can't be looked after; replace the compactor too (ReplaceCompactor)")
	}
	cfg := c.Config.Compactor
	if cfg.Now == nil {
		cfg.Now = c.Config.Now
	}
	if cfg.File == "" {
		cfg.File = filepath.Join(c.Config.Dir, "deletes.db")
	}
	if cfg.Flush == nil && c.Ingester != nil {
		cfg.Flush = c.Ingester.Flush
	}
	if cfg.Owns == nil {
		cfg.Owns = c.owns
	}
	if cfg.FollowEvery == 0 {
		cfg.FollowEvery = c.Config.Deletes.Interval
		if c.plan.single() {
			cfg.FollowEvery = -1
		}
	}
	// Ingesters may serve a stored part themselves within their window: it must not be dropped meanwhile.
	window := c.handoverWindow()
	if cfg.MinAge == 0 {
		cfg.MinAge = window + 5*time.Minute
	}
	if cfg.MinAge <= window {
		return nil, fmt.Errorf("Config.Compactor.MinAge %s must be longer than Config.Ingester.HandoverWindow %s", cfg.MinAge, window)
	}
	return compactor.New(cfg, st, c.Bucket, c.Limits, c.Logger, c.Registerer)
}

// handoverWindow is for how long ingesters serve what they have stored to queries that do not see it in the store. In an
// engine that is all there is, a segment is seen at once: only queries that are just about to read need it.
func (c *Collaborators) handoverWindow() time.Duration {
	switch w := c.Config.Ingester.HandoverWindow; {
	case w != 0:
		return w
	case c.plan.single():
		return 5 * time.Minute
	}
	return time.Hour
}

// DeleteRequest is a request to delete rows, and how far it is.
type DeleteRequest = compactor.Request

// Delete asks for the deletion of the lines that a LogQL log query selects from start to end, both inclusive.
// When it returns, queries and tails of this engine don't see them any more; other processes of a cluster
// follow within Config.Deletes.Interval. They are removed from the store after
// Config.Compactor.CancelPeriod; until then the request can be cancelled. The error is compactor.ErrBadRequest
// if the query or the times are wrong, and ErrNotHere if the engine has no compactor.
func (e *Engine) Delete(ctx context.Context, query string, start, end time.Time) (DeleteRequest, error) {
	return look(e, ctx, func(ctx context.Context, c compactor.Service) (DeleteRequest, error) {
		return c.Delete(ctx, query, start.UnixNano(), end.UnixNano())
	})
}

// Deletes returns the delete requests of the tenant, oldest first. Processed ones stay in the list for
// Config.Compactor.KeepRequests.
func (e *Engine) Deletes(ctx context.Context) ([]DeleteRequest, error) {
	return look(e, ctx, func(ctx context.Context, c compactor.Service) ([]DeleteRequest, error) { return c.Requests(ctx) })
}

// CancelDelete takes back a delete request: compactor.ErrNotFound if there is none of that ID,
// compactor.ErrTooLate if its lines are being removed. With force what has not been removed is kept.
func (e *Engine) CancelDelete(ctx context.Context, id string, force bool) error {
	_, err := look(e, ctx, func(ctx context.Context, c compactor.Service) (struct{}, error) {
		return struct{}{}, c.Cancel(ctx, id, force)
	})
	return err
}

// RetentionPreview returns what retention will drop within that time, as far as it can be told now, in the order
// in which it goes.
func (e *Engine) RetentionPreview(ctx context.Context, within time.Duration) ([]compactor.Planned, error) {
	return look(e, ctx, func(ctx context.Context, c compactor.Service) ([]compactor.Planned, error) {
		return c.Preview(ctx, within)
	})
}

// Compact makes a pass of the compactor now, over all tenants: it drops what is expired, removes what is deleted and
// merges segments, as far as these are old enough (see compactor.Config). It is not needed: passes are made each
// Config.Compactor.Interval.
func (e *Engine) Compact(ctx context.Context) error {
	_, err := look(e, ctx, func(ctx context.Context, c compactor.Service) (struct{}, error) {
		r, ok := c.(interface{ Run(context.Context) error })
		if !ok {
			return struct{}{}, notHere(Compactor)
		}
		return struct{}{}, r.Run(ctx)
	})
	return err
}

// look asks the compactor.
func look[T any](e *Engine, ctx context.Context, ask func(context.Context, compactor.Service) (T, error)) (T, error) {
	var none T
	ctx, done, err := e.enter(ctx)
	if err != nil {
		return none, err
	}
	defer done()
	if e.parts.Compactor == nil {
		return none, notHere(Compactor)
	}
	res, err := ask(ctx, e.parts.Compactor)
	return res, ended(ctx, err)
}
