package ruler

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/thanos-io/objstore"
)

// Store keeps groups of rules. It may be called from several goroutines.
type Store interface {
	// Tenants returns those that have groups.
	Tenants(ctx context.Context) ([]string, error)
	// Groups returns the groups of a tenant in a namespace, or in all if it is empty, ordered by namespace and
	// name.
	Groups(ctx context.Context, tenant, namespace string) ([]Group, error)
	// Group returns one group. Errors: ErrNoGroup.
	Group(ctx context.Context, tenant, namespace, name string) (Group, error)
	// SetGroup makes a group or replaces it. Errors: ErrReadOnly.
	SetGroup(ctx context.Context, tenant string, g Group) error
	// DeleteGroup removes a group. Errors: ErrNoGroup, ErrReadOnly.
	DeleteGroup(ctx context.Context, tenant, namespace, name string) error
	// DeleteNamespace removes all groups of a namespace. Errors: ErrNoNamespace, ErrReadOnly.
	DeleteNamespace(ctx context.Context, tenant, namespace string) error
}

// rulesPrefix is before the names of all groups in a bucket.
const rulesPrefix = "rules/"

// NewBucketStore returns a store in a bucket. A group is an object rules/<tenant>/<namespace>/<group> with its
// YAML; namespace and group are base64, because they may be any text. Objects that have not changed since
// they were read last are not read again, so a look costs one listing and what is new.
func NewBucketStore(bucket objstore.Bucket) Store {
	return &bucketStore{bucket: bucket, read: map[string]cached{}}
}

type bucketStore struct {
	bucket objstore.Bucket

	mu   sync.Mutex
	read map[string]cached // by object
}

// cached is a group and the version of the object that it was read from.
type cached struct {
	version string
	group   Group
}

// copy returns the group with rules that the caller may change.
func (c cached) copy() Group {
	g := c.group
	g.Rules = slices.Clone(g.Rules)
	return g
}

var _ Store = (*bucketStore)(nil)

func encode(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) }

func decode(s string) (string, error) {
	b, err := base64.URLEncoding.DecodeString(s)
	return string(b), err
}

func objectName(tenant, namespace, group string) string {
	return rulesPrefix + tenant + "/" + encode(namespace) + "/" + encode(group)
}

// Tenants implements Store.
func (s *bucketStore) Tenants(ctx context.Context) ([]string, error) {
	var all []string
	err := s.bucket.Iter(ctx, rulesPrefix, func(name string) error {
		all = append(all, strings.TrimSuffix(strings.TrimPrefix(name, rulesPrefix), "/"))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("ruler: list tenants with rules: %w", err)
	}
	slices.Sort(all)
	return all, nil
}

// object is a group in the bucket.
type object struct{ name, namespace, group, version string }

func (s *bucketStore) list(ctx context.Context, tenant, namespace string) ([]object, error) {
	dir := rulesPrefix + tenant + "/"
	if namespace != "" {
		dir += encode(namespace) + "/"
	}
	var all []object
	options := []objstore.IterOption{objstore.WithRecursiveIter()}
	dated := slices.Contains(s.bucket.SupportedIterOptions(), objstore.UpdatedAt)
	if dated {
		options = append(options, objstore.WithUpdatedAt())
	}
	err := s.bucket.IterWithAttributes(ctx, dir, func(a objstore.IterObjectAttributes) error {
		ns, group, ok := strings.Cut(strings.TrimPrefix(a.Name, rulesPrefix+tenant+"/"), "/")
		if !ok {
			return nil
		}
		o := object{name: a.Name}
		var err, err2 error
		o.namespace, err = decode(ns)
		o.group, err2 = decode(group)
		if err != nil || err2 != nil {
			return nil // somebody else's
		}
		if t, ok := a.LastModified(); ok && dated {
			o.version = t.UTC().String()
		}
		all = append(all, o)
		return nil
	}, options...)
	if err != nil {
		return nil, fmt.Errorf("ruler: list rules of %s: %w", tenant, err)
	}
	slices.SortFunc(all, func(a, b object) int {
		if c := strings.Compare(a.namespace, b.namespace); c != 0 {
			return c
		}
		return strings.Compare(a.group, b.group)
	})
	return all, nil
}

// Groups implements Store.
func (s *bucketStore) Groups(ctx context.Context, tenant, namespace string) ([]Group, error) {
	objects, err := s.list(ctx, tenant, namespace)
	if err != nil {
		return nil, err
	}
	var all []Group
	for _, o := range objects {
		g, err := s.get(ctx, o)
		if errors.Is(err, ErrNoGroup) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, err
		}
		all = append(all, g)
	}
	return all, nil
}

// Group implements Store.
func (s *bucketStore) Group(ctx context.Context, tenant, namespace, name string) (Group, error) {
	return s.get(ctx, object{name: objectName(tenant, namespace, name), namespace: namespace, group: name})
}

// get reads an object, unless it is known to be as it was read last. A file's time may be too coarse to tell two
// versions apart, so what has just been written is forgotten.
func (s *bucketStore) get(ctx context.Context, o object) (Group, error) {
	if o.version != "" {
		s.mu.Lock()
		c, ok := s.read[o.name]
		s.mu.Unlock()
		if ok && c.version == o.version {
			return c.copy(), nil
		}
	}
	r, err := s.bucket.Get(ctx, o.name)
	if err != nil {
		if s.bucket.IsObjNotFoundErr(err) {
			return Group{}, ErrNoGroup
		}
		return Group{}, fmt.Errorf("ruler: read group %s in %s: %w", o.group, o.namespace, err)
	}
	text, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return Group{}, fmt.Errorf("ruler: read group %s in %s: %w", o.group, o.namespace, err)
	}
	g, err := ParseGroup(o.namespace, text)
	if err != nil {
		return Group{}, fmt.Errorf("ruler: group %s in %s, as it is stored: %w", o.group, o.namespace, err)
	}
	if o.version != "" {
		s.mu.Lock()
		s.read[o.name] = cached{o.version, g}
		s.mu.Unlock()
		return cached{group: g}.copy(), nil
	}
	return g, nil
}

func (s *bucketStore) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.read, name)
}

// SetGroup implements Store.
func (s *bucketStore) SetGroup(ctx context.Context, tenant string, g Group) error {
	name := objectName(tenant, g.Namespace, g.Name)
	defer s.forget(name)
	if err := s.bucket.Upload(ctx, name, bytes.NewReader(FormatGroup(g))); err != nil {
		return fmt.Errorf("ruler: write group %s in %s: %w", g.Name, g.Namespace, err)
	}
	return nil
}

// DeleteGroup implements Store.
func (s *bucketStore) DeleteGroup(ctx context.Context, tenant, namespace, name string) error {
	o := objectName(tenant, namespace, name)
	defer s.forget(o)
	there, err := s.bucket.Exists(ctx, o)
	if err == nil && !there {
		return ErrNoGroup
	}
	if err == nil {
		err = s.bucket.Delete(ctx, o)
	}
	if err != nil && !s.bucket.IsObjNotFoundErr(err) {
		return fmt.Errorf("ruler: delete group %s in %s: %w", name, namespace, err)
	}
	return nil
}

// DeleteNamespace implements Store.
func (s *bucketStore) DeleteNamespace(ctx context.Context, tenant, namespace string) error {
	objects, err := s.list(ctx, tenant, namespace)
	if err != nil {
		return err
	}
	if len(objects) == 0 {
		return ErrNoNamespace
	}
	for _, o := range objects {
		if err := s.DeleteGroup(ctx, tenant, namespace, o.group); err != nil && !errors.Is(err, ErrNoGroup) {
			return err
		}
	}
	return nil
}
