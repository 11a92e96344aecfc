package compactor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/thanos-io/objstore"

	"example.com/loki/internal/boltcache"
	"example.com/loki/limits"
)

// Request is a delete request.
type Request struct {
	ID         string
	Query      string
	Start, End int64 // nanoseconds since 1970, both inclusive
	Created    time.Time

	// Cancelled is when it was taken back although the removal had begun. Zero: it was not.
	Cancelled time.Time

	Progress
}

// Progress is how far the rows of a request are removed.
type Progress struct {
	// Segments is how many segments had to be looked at in the last pass, Done how many of them hold none of
	// the rows (any more).
	Segments, Done int

	// Started tells that the removal has begun. Cleared is when all segments were done, zero before; Processed
	// when no object was left that holds a row.
	Started            bool
	Cleared, Processed time.Time

	// Flushed is when it was known that ingesters hold no row any more that was pushed before the request was made: all of
	// these are in segments that were begun by then. Zero before.
	Flushed time.Time `json:",omitzero"`
}

// Status is as Loki puts it: "received", "<n>% Complete" or "processed".
func (r *Request) Status() string {
	switch {
	case r.over():
		return "processed"
	case r.Started && r.Segments > 0 && r.Done > 0:
		return fmt.Sprintf("%d%% Complete", min(99, 100*r.Done/r.Segments))
	}
	return "received"
}

// over tells that no more rows are removed.
func (r *Request) over() bool { return !r.Processed.IsZero() || !r.Cancelled.IsZero() }

// ended is when it was over.
func (r *Request) ended() time.Time {
	if r.Processed.IsZero() {
		return r.Cancelled
	}
	return r.Processed
}

// requests is the list of delete requests of all tenants: in the bucket, in memory, and in a file that
// spares reading them all again.
//
// Each is two objects, so that no two processes write the same one: whoever is asked writes the request
// itself, who works on the tenant writes its progress. Who cancels looks for progress after the request is gone,
// who begins looks for the request after the progress is written: one of them sees the other.
type requests struct {
	bucket  objstore.Bucket
	limits  limits.Provider
	file    *boltcache.File
	log     *slog.Logger
	objects objects // guarded by writing
	noted   bool    // guarded by writing: the file has been written since it was opened

	writing sync.Mutex // held while the bucket is read or written; order: writing before mu

	mu      sync.RWMutex
	all     map[string]map[string]*request // guarded by mu; the requests are immutable
	inForce map[string]inForce             // guarded by mu
}

// inForce are the predicates of a tenant. It is immutable.
type inForce struct {
	predicates []*Predicate
	generation string // a hash of their names
}

// request is a Request with what it names.
type request struct {
	Request
	predicate *Predicate
}

func newRequests(b objstore.Bucket, lim limits.Provider, file string, log *slog.Logger) *requests {
	return &requests{
		bucket: b, limits: lim, file: boltcache.New(file, log), log: log, objects: make(objects),
		all: make(map[string]map[string]*request), inForce: make(map[string]inForce),
	}
}

// open opens the file and reads the requests from the bucket. While the bucket does not answer, those in the file count.
func (q *requests) open(ctx context.Context) error {
	if err := q.file.Open(); err != nil {
		return fmt.Errorf("compactor: file of delete requests: %w", err)
	}
	q.writing.Lock()
	var known bool
	if q.objects, known = q.remembered(); known {
		q.noted = true
		q.show()
	}
	q.writing.Unlock()
	err := q.load(ctx)
	if err == nil {
		return nil
	}
	if !known || ctx.Err() != nil {
		return errors.Join(err, q.close())
	}
	q.log.Warn("delete requests cannot be read; going on with those in the file", "err", err)
	return nil
}

func (q *requests) close() error { return q.file.Close() }

// Deleted implements Deletes.
func (q *requests) Deleted(tenant string) []*Predicate { return q.effective(tenant).predicates }

// Generation implements Deletes.
func (q *requests) Generation(tenant string) string { return q.effective(tenant).generation }

func (q *requests) effective(tenant string) inForce {
	q.mu.RLock()
	f := q.inForce[tenant]
	q.mu.RUnlock()
	if len(f.predicates) > 0 && q.limits(tenant).DeletionMode == limits.DeletionDisabled {
		return inForce{}
	}
	return f
}

// load reads what has changed in the bucket.
func (q *requests) load(ctx context.Context) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	if err := q.follow(ctx); err != nil {
		return fmt.Errorf("compactor: read delete requests: %w", err)
	}
	q.show()
	return nil
}

// keepUp loads again and again until ctx is done.
func (q *requests) keepUp(ctx context.Context, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := q.load(ctx); err != nil && ctx.Err() == nil {
			q.log.Error("delete requests cannot be read; going on with those known", "err", err)
		}
	}
}

// show lets the requests in q.objects count. It needs q.writing.
func (q *requests) show() {
	all := make(map[string]map[string]*request)
	for name, o := range q.objects {
		if o.request == nil {
			continue
		}
		r := *o.request
		if p := q.objects[progressPath(name.tenant, name.id)]; p != nil && p.progress != nil {
			r.Progress = *p.progress
		}
		if all[name.tenant] == nil {
			all[name.tenant] = make(map[string]*request)
		}
		all[name.tenant][name.id] = &r
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all, q.inForce = all, make(map[string]inForce)
	for t := range all {
		q.publish(t)
	}
}

// publish needs mu.
func (q *requests) publish(tenant string) {
	var list []*Predicate
	for _, r := range q.all[tenant] {
		if !r.over() {
			list = append(list, r.predicate)
		}
	}
	if len(list) == 0 {
		delete(q.inForce, tenant)
		return
	}
	slices.SortFunc(list, func(a, b *Predicate) int { return strings.Compare(a.id, b.id) })
	h := xxhash.New()
	for _, p := range list {
		_, _ = h.WriteString(p.id) // never fails
	}
	q.inForce[tenant] = inForce{list, strconv.FormatUint(h.Sum64(), 16)}
}

// set lets a request count.
func (q *requests) set(tenant string, r *request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all[tenant] == nil {
		q.all[tenant] = make(map[string]*request)
	}
	q.all[tenant][r.ID] = r
	q.publish(tenant)
}

// drop lets a request count no more.
func (q *requests) drop(tenant, id string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.all[tenant], id)
	q.publish(tenant)
}

func (q *requests) get(tenant, id string) *request {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.all[tenant][id]
}

// add makes a request.
func (q *requests) add(ctx context.Context, tenant string, p *Predicate, query string, now time.Time) (Request, error) {
	id, err := ulid.New(ulid.Timestamp(now), ulid.DefaultEntropy())
	if err != nil {
		return Request{}, err
	}
	own := *p
	own.id = id.String()
	r := &request{Request: Request{ID: own.id, Query: query, Start: p.Start, End: p.End, Created: now}, predicate: &own}
	q.writing.Lock()
	defer q.writing.Unlock()
	if err := q.put(ctx, requestPath(tenant, r.ID), storedRequest{r.ID, r.Query, r.Start, r.End, r.Created, time.Time{}}); err != nil {
		return Request{}, err
	}
	q.set(tenant, r)
	return r.Request, nil
}

// advance notes the progress of a request, and tells whether the request stands: it may have been cancelled
// meanwhile, also by another process, which is looked for if there is progress.
func (q *requests) advance(ctx context.Context, tenant, id string, change func(*Progress)) (stands bool, err error) {
	q.writing.Lock()
	defer q.writing.Unlock()
	old := q.get(tenant, id)
	if old == nil || !old.Cancelled.IsZero() {
		return false, nil
	}
	r := *old
	change(&r.Progress)
	if r.Progress == old.Progress {
		return true, nil
	}
	if err := q.put(ctx, progressPath(tenant, id), r.Progress); err != nil {
		return false, err
	}
	now, err := q.readRequest(ctx, requestPath(tenant, id))
	switch {
	case q.bucket.IsObjNotFoundErr(err):
		q.drop(tenant, id)
		return false, q.remove(ctx, progressPath(tenant, id))
	case err != nil:
		return false, fmt.Errorf("compactor: read delete request: %w", err)
	}
	r.Cancelled = now.Cancelled
	q.set(tenant, &r)
	return r.Cancelled.IsZero(), nil
}

// cancel takes a request back. One whose rows are being removed, which needs force, stays in the list.
func (q *requests) cancel(ctx context.Context, tenant, id string, force bool, now time.Time) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	r := q.get(tenant, id)
	if r == nil {
		return ErrNotFound
	}
	started, err := q.started(ctx, tenant, id)
	if err != nil {
		return err
	}
	stored := storedRequest{r.ID, r.Query, r.Start, r.End, r.Created, time.Time{}}
	switch {
	case r.over(), started && !force:
		return ErrTooLate
	case started:
		stored.Cancelled = now
		if err := q.put(ctx, requestPath(tenant, id), stored); err != nil {
			return err
		}
		next := *r
		next.Cancelled = now
		q.set(tenant, &next)
		return nil
	}
	if err := q.remove(ctx, requestPath(tenant, id)); err != nil {
		return err
	}
	if started, err = q.started(ctx, tenant, id); err != nil || started {
		return cmp.Or(err, q.put(ctx, requestPath(tenant, id), stored), ErrTooLate)
	}
	q.drop(tenant, id)
	return q.remove(ctx, progressPath(tenant, id))
}

// started tells whether the removal of rows has begun, as the bucket says.
func (q *requests) started(ctx context.Context, tenant, id string) (bool, error) {
	p, err := q.readProgress(ctx, progressPath(tenant, id))
	if q.bucket.IsObjNotFoundErr(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("compactor: read delete request: %w", err)
	}
	return p.Started, nil
}

// discard forgets a request that is over.
func (q *requests) discard(ctx context.Context, tenant, id string) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	for _, p := range []objectName{requestPath(tenant, id), progressPath(tenant, id)} {
		if err := q.remove(ctx, p); err != nil {
			return err
		}
	}
	q.drop(tenant, id)
	return nil
}

// list returns the requests of a tenant, oldest first.
func (q *requests) list(tenant string) []*request {
	q.mu.RLock()
	defer q.mu.RUnlock()
	out := make([]*request, 0, len(q.all[tenant]))
	for _, r := range q.all[tenant] {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *request) int {
		return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID))
	})
	return out
}

// tenants returns all tenants with requests.
func (q *requests) tenants() []string {
	q.mu.RLock()
	defer q.mu.RUnlock()
	var out []string
	for t := range q.all {
		out = append(out, t)
	}
	return out
}

// tenantOf returns the tenant of a context.
func tenantOf(ctx context.Context) (string, error) {
	t, err := user.ExtractOrgID(ctx)
	if err != nil {
		return "", fmt.Errorf("compactor: %w", err)
	}
	return t, nil
}
