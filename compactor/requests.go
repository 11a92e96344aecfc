package compactor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/thanos-io/objstore"
)

// Request is a delete request.
type Request struct {
	ID         string
	Query      string
	Start, End int64 // nanoseconds since 1970, both inclusive
	Created    time.Time

	// Segments is how many segments had to be looked at in the last pass, Done how many of them hold none of
	// the rows (any more).
	Segments, Done int

	// Started tells that the removal has begun. Cleared is when all segments were done, zero before; Processed
	// when no object was left that holds a row.
	Started            bool
	Cleared, Processed time.Time

	// Flushed tells that the heads hold no row that was pushed before the request was made.
	Flushed bool
}

// Status is as Loki puts it: "received", "<n>% Complete" or "processed".
func (r *Request) Status() string {
	switch {
	case !r.Processed.IsZero():
		return "processed"
	case r.Started && r.Segments > 0 && r.Done > 0:
		return fmt.Sprintf("%d%% Complete", min(99, 100*r.Done/r.Segments))
	}
	return "received"
}

// requests is the list of delete requests of all tenants: in the bucket, and in memory.
type requests struct {
	bucket objstore.Bucket
	log    *slog.Logger

	writing sync.Mutex // held while the bucket is read or written; order: writing before mu

	mu      sync.RWMutex
	all     map[string]map[string]*request // guarded by mu; the requests are immutable
	inForce map[string][]*Predicate        // guarded by mu; the slices are immutable
}

// request is a Request with what it names.
type request struct {
	Request
	predicate *Predicate
}

const requestsDir = "deletes"

// requestPath is hexadecimal where a tenant could be anything.
func requestPath(tenant, id string) string {
	return path.Join(requestsDir, hex.EncodeToString([]byte(tenant)), id+".json")
}

func newRequests(b objstore.Bucket, log *slog.Logger) *requests {
	return &requests{
		bucket: b, log: log, all: make(map[string]map[string]*request),
		inForce: make(map[string][]*Predicate),
	}
}

// Deleted implements Deletes.
func (q *requests) Deleted(tenant string) []*Predicate {
	q.mu.RLock()
	defer q.mu.RUnlock()
	return q.inForce[tenant]
}

// load reads the requests from the bucket.
func (q *requests) load(ctx context.Context) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	all := make(map[string]map[string]*request)
	err := q.bucket.Iter(ctx, requestsDir+"/", func(name string) error {
		dir, file := path.Split(strings.TrimPrefix(name, requestsDir+"/"))
		tenant, err := hex.DecodeString(strings.TrimSuffix(dir, "/"))
		id, isRequest := strings.CutSuffix(file, ".json")
		if err != nil || !isRequest || len(tenant) == 0 {
			q.log.Warn("object is no delete request; ignored", "object", name)
			return nil
		}
		r, err := q.read(ctx, name, id)
		if err != nil {
			if q.bucket.IsObjNotFoundErr(err) {
				return nil // cancelled by another process
			}
			return err
		}
		t := string(tenant)
		if all[t] == nil {
			all[t] = make(map[string]*request)
		}
		all[t][id] = r
		return nil
	}, objstore.WithRecursiveIter())
	if err != nil {
		return fmt.Errorf("compactor: read delete requests: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all, q.inForce = all, make(map[string][]*Predicate)
	for t := range all {
		q.publish(t)
	}
	return nil
}

func (q *requests) read(ctx context.Context, name, id string) (*request, error) {
	rc, err := q.bucket.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return readRequest(rc, name, id)
}

// readRequest reads the object of a request and closes it.
func readRequest(rc io.ReadCloser, name, id string) (*request, error) {
	data, err := io.ReadAll(io.LimitReader(rc, 4<<20))
	if err = errors.Join(err, rc.Close()); err != nil {
		return nil, err
	}
	r := &request{}
	if err := json.Unmarshal(data, &r.Request); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.ID != id {
		return nil, fmt.Errorf("%s: it is request %s", name, r.ID)
	}
	if r.predicate, err = NewPredicate(r.Query, r.Start, r.End); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r.predicate.id = id
	return r, nil
}

// publish needs mu.
func (q *requests) publish(tenant string) {
	var list []*Predicate
	for _, r := range q.all[tenant] {
		if r.Processed.IsZero() {
			list = append(list, r.predicate)
		}
	}
	if len(list) == 0 {
		delete(q.inForce, tenant)
		return
	}
	slices.SortFunc(list, func(a, b *Predicate) int { return strings.Compare(a.id, b.id) })
	q.inForce[tenant] = list
}

// put writes a request, then lets it count. It needs q.writing.
func (q *requests) put(ctx context.Context, tenant string, r *request) error {
	data, err := json.Marshal(&r.Request)
	if err != nil {
		return err
	}
	if err := q.bucket.Upload(ctx, requestPath(tenant, r.ID), bytes.NewReader(data)); err != nil {
		return fmt.Errorf("compactor: write delete request: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.all[tenant] == nil {
		q.all[tenant] = make(map[string]*request)
	}
	q.all[tenant][r.ID] = r
	q.publish(tenant)
	return nil
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
	return r.Request, q.put(ctx, tenant, r)
}

// update changes a request unless it was cancelled meanwhile.
func (q *requests) update(ctx context.Context, tenant, id string, change func(*Request)) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.mu.RLock()
	old := q.all[tenant][id]
	q.mu.RUnlock()
	if old == nil {
		return nil
	}
	r := *old
	change(&r.Request)
	if r.Request == old.Request {
		return nil
	}
	return q.put(ctx, tenant, &r)
}

// remove cancels a request.
func (q *requests) remove(ctx context.Context, tenant, id string, force bool) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	q.mu.RLock()
	r := q.all[tenant][id]
	q.mu.RUnlock()
	switch {
	case r == nil:
		return ErrNotFound
	case !r.Processed.IsZero(), r.Started && !force:
		return ErrTooLate
	}
	name := requestPath(tenant, id)
	if err := q.bucket.Delete(ctx, name); err != nil && !q.bucket.IsObjNotFoundErr(err) {
		return fmt.Errorf("compactor: remove delete request: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.all[tenant], id)
	q.publish(tenant)
	return nil
}

// discard forgets a processed request.
func (q *requests) discard(ctx context.Context, tenant, id string) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	if err := q.bucket.Delete(ctx, requestPath(tenant, id)); err != nil && !q.bucket.IsObjNotFoundErr(err) {
		return fmt.Errorf("compactor: remove delete request: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.all[tenant], id)
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
