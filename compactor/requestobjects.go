package compactor

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/thanos-io/objstore"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

const (
	requestsDir    = "deletes"
	requestSuffix  = ".json"
	progressSuffix = ".progress.json"

	maxRequestObject = 4 << 20
)

// objectName names an object about a delete request.
type objectName struct {
	tenant, id string
	progress   bool
}

func requestPath(tenant, id string) objectName  { return objectName{tenant, id, false} }
func progressPath(tenant, id string) objectName { return objectName{tenant, id, true} }

// String is the name in the bucket: hexadecimal where a tenant could be anything.
func (n objectName) String() string {
	suffix := requestSuffix
	if n.progress {
		suffix = progressSuffix
	}
	return path.Join(requestsDir, hex.EncodeToString([]byte(n.tenant)), n.id+suffix)
}

// parseObjectName is the inverse of String.
func parseObjectName(s string) (objectName, bool) {
	rest, ok := strings.CutPrefix(s, requestsDir+"/")
	dir, file := path.Split(rest)
	tenant, err := hex.DecodeString(strings.TrimSuffix(dir, "/"))
	n := objectName{tenant: string(tenant)}
	if n.id, n.progress = strings.CutSuffix(file, progressSuffix); !n.progress {
		var isRequest bool
		n.id, isRequest = strings.CutSuffix(file, requestSuffix)
		ok = ok && isRequest
	}
	return n, ok && err == nil && len(tenant) > 0 && n.id != ""
}

// storedRequest is what the object of a request holds.
type storedRequest struct {
	ID         string
	Query      string
	Start, End int64
	Created    time.Time
	Cancelled  time.Time `json:",omitzero"`
}

// objects are those of a bucket.
type objects map[objectName]*object

// object is one that was read.
type object struct {
	modified time.Time // as the bucket says; zero: it has to be read again
	data     []byte
	request  *request  // unless it is about progress
	progress *Progress // if it is about progress
	damage   error     // why it is neither
}

// settled is how long ago an object must have been written when it is read: one that is written again within
// the resolution of the bucket's clock would look the same.
const settled = time.Minute

// follow brings q.objects up to date with the bucket. It needs q.writing.
func (q *requests) follow(ctx context.Context) error {
	listed, err := q.listed(ctx, requestsDir)
	if err != nil {
		return err
	}
	next := make(objects, len(listed))
	changed := len(listed) != len(q.objects)
	for name, modified := range listed {
		if o := q.objects[name]; o != nil && !modified.IsZero() && o.modified.Equal(modified) {
			next[name] = o
			continue
		}
		data, err := readObject(ctx, q.bucket, name.String())
		if q.bucket.IsObjNotFoundErr(err) {
			continue // cancelled meanwhile
		}
		if err != nil {
			return err
		}
		o := decodeObject(name, data)
		if o.damage != nil {
			q.log.Error("delete request is damaged and not followed", "object", name.String(), "err", o.damage)
		}
		if !modified.IsZero() && time.Since(modified) >= settled {
			o.modified = modified
		}
		next[name] = o
		old := q.objects[name]
		changed = changed || old == nil || !old.modified.Equal(o.modified) || !bytes.Equal(old.data, o.data)
	}
	q.objects = next
	if changed || !q.noted {
		q.remember()
	}
	return nil
}

// listed returns when each object in a folder was written, zero where the bucket does not say.
func (q *requests) listed(ctx context.Context, dir string) (map[objectName]time.Time, error) {
	listed := make(map[objectName]time.Time)
	options := []objstore.IterOption{objstore.WithRecursiveIter()}
	if slices.Contains(q.bucket.SupportedIterOptions(), objstore.UpdatedAt) {
		options = append(options, objstore.WithUpdatedAt())
	}
	return listed, q.bucket.IterWithAttributes(ctx, dir+"/", func(a objstore.IterObjectAttributes) error {
		name, ok := parseObjectName(a.Name)
		if !ok {
			q.log.Warn("object is no delete request; ignored", "object", a.Name)
			return nil
		}
		modified, _ := a.LastModified()
		listed[name] = modified
		return nil
	}, options...)
}

// standing returns those of some requests that have not been taken back, as the bucket says now.
func (q *requests) standing(ctx context.Context, tenant string, list []*request) ([]*request, error) {
	if len(list) == 0 {
		return nil, nil
	}
	q.writing.Lock()
	defer q.writing.Unlock()
	listed, err := q.listed(ctx, path.Dir(requestPath(tenant, "").String()))
	if err != nil {
		return nil, fmt.Errorf("compactor: list delete requests: %w", err)
	}
	var out []*request
	for _, r := range list {
		name := requestPath(tenant, r.ID)
		modified, ok := listed[name]
		if !ok {
			q.drop(tenant, r.ID)
			continue
		}
		if o := q.objects[name]; o == nil || modified.IsZero() || !o.modified.Equal(modified) {
			now, err := q.readRequest(ctx, name)
			switch {
			case q.bucket.IsObjNotFoundErr(err):
				q.drop(tenant, r.ID)
				continue
			case err != nil:
				return nil, fmt.Errorf("compactor: read delete request: %w", err)
			case !now.Cancelled.IsZero():
				next := *r
				next.Cancelled = now.Cancelled
				q.set(tenant, &next)
				continue
			}
		}
		out = append(out, r)
	}
	return out, nil
}

func readObject(ctx context.Context, b objstore.BucketReader, name string) ([]byte, error) {
	rc, err := b.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(rc, maxRequestObject))
	return data, errors.Join(err, rc.Close())
}

// readRequest reads the object of a request as it is now.
func (q *requests) readRequest(ctx context.Context, name objectName) (*storedRequest, error) {
	data, err := readObject(ctx, q.bucket, name.String())
	if err != nil {
		return nil, err
	}
	r := &storedRequest{}
	return r, json.Unmarshal(data, r)
}

// readProgress reads how far a request is now.
func (q *requests) readProgress(ctx context.Context, name objectName) (*Progress, error) {
	data, err := readObject(ctx, q.bucket, name.String())
	if err != nil {
		return nil, err
	}
	p := &Progress{}
	return p, json.Unmarshal(data, p)
}

func decodeObject(name objectName, data []byte) *object {
	o := &object{data: data}
	if !name.progress {
		o.request, o.damage = decodeRequest(data, name.id)
		return o
	}
	p := &Progress{}
	if o.damage = json.Unmarshal(data, p); o.damage == nil {
		o.progress = p
	}
	return o
}

// decodeRequest compiles a stored request.
func decodeRequest(data []byte, id string) (*request, error) {
	var s storedRequest
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, err
	}
	if s.ID != id {
		return nil, fmt.Errorf("it is request %s", s.ID)
	}
	p, err := NewPredicate(s.Query, s.Start, s.End)
	if err != nil {
		return nil, err
	}
	p.id = id
	return &request{Request: Request{ID: s.ID, Query: s.Query, Start: s.Start, End: s.End, Created: s.Created, Cancelled: s.Cancelled}, predicate: p}, nil
}

// put writes an object. It needs q.writing.
func (q *requests) put(ctx context.Context, name objectName, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := q.bucket.Upload(ctx, name.String(), bytes.NewReader(data)); err != nil {
		return fmt.Errorf("compactor: write delete request: %w", err)
	}
	o := decodeObject(name, data)
	q.objects[name] = o
	q.file.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(fileBucket())
		if err != nil {
			return err
		}
		return o.note(b, name)
	})
	return nil
}

// remove removes an object; one that is gone is no error. It needs q.writing.
func (q *requests) remove(ctx context.Context, name objectName) error {
	if err := q.bucket.Delete(ctx, name.String()); err != nil && !q.bucket.IsObjNotFoundErr(err) {
		return fmt.Errorf("compactor: remove delete request: %w", err)
	}
	if q.objects[name] != nil {
		delete(q.objects, name)
		q.file.Update(func(tx *bbolt.Tx) error {
			if b := tx.Bucket(fileBucket()); b != nil {
				return b.Delete([]byte(name.String()))
			}
			return nil
		})
	}
	return nil
}

// sweep removes what was left of requests that were cancelled by a process that ended meanwhile, and returns which
// are damaged.
func (q *requests) sweep(ctx context.Context, owns func(tenant string) bool) error {
	q.writing.Lock()
	defer q.writing.Unlock()
	var errs []error
	for name, o := range q.objects {
		switch {
		case !owns(name.tenant):
		case o.damage != nil:
			errs = append(errs, fmt.Errorf("compactor: delete request %s is damaged and not followed: %w", name, o.damage))
		case name.progress && q.objects[requestPath(name.tenant, name.id)] == nil && !o.modified.IsZero() && time.Since(o.modified) > time.Hour:
			errs = append(errs, q.remove(ctx, name))
		}
	}
	return errors.Join(errs...)
}

func fileBucket() []byte { return []byte("requests") }

// remember writes q.objects into the file.
func (q *requests) remember() {
	q.noted = true
	q.file.Update(func(tx *bbolt.Tx) error {
		if err := tx.DeleteBucket(fileBucket()); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
		b, err := tx.CreateBucket(fileBucket())
		if err != nil {
			return err
		}
		for name, o := range q.objects {
			if err := o.note(b, name); err != nil {
				return err
			}
		}
		return nil
	})
}

// note writes an object into the file.
func (o *object) note(b *bbolt.Bucket, name objectName) error {
	var at int64
	if !o.modified.IsZero() {
		at = o.modified.UnixNano()
	}
	return b.Put([]byte(name.String()), append(binary.AppendVarint(nil, at), o.data...))
}

// remembered reads the file. known tells that it has what was in the bucket at some time.
func (q *requests) remembered() (all objects, known bool) {
	all = make(objects)
	q.file.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(fileBucket())
		if b == nil {
			return nil
		}
		known = true
		return b.ForEach(func(k, v []byte) error {
			name, ok := parseObjectName(string(k))
			at, n := binary.Varint(v)
			if !ok || n <= 0 {
				return errors.New("an entry that was never written")
			}
			o := decodeObject(name, bytes.Clone(v[n:]))
			if at != 0 {
				o.modified = time.Unix(0, at)
			}
			all[name] = o
			return nil
		})
	})
	return all, known
}
