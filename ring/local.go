package ring

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/grafana/dskit/kv"
	dsring "github.com/grafana/dskit/ring"
)

// localStore keeps the rings of one process. It hands out and takes copies, as one that gossips does.
type localStore struct {
	mu      sync.Mutex
	rings   map[string]*dsring.Desc
	version map[string]int
	changed chan struct{} // closed at the next change of any
}

var _ kv.Client = (*localStore)(nil)

func newLocalStore() *localStore {
	return &localStore{rings: make(map[string]*dsring.Desc), version: make(map[string]int), changed: make(chan struct{})}
}

// get returns a copy, its version, and what is closed when it is no longer the newest one.
func (s *localStore) get(key string) (any, int, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.rings[key]; d != nil {
		return d.Clone(), s.version[key], s.changed
	}
	return nil, s.version[key], s.changed
}

// List implements kv.Client.
func (s *localStore) List(_ context.Context, prefix string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Sorted(maps.Keys(s.rings))
	return slices.DeleteFunc(keys, func(k string) bool { return !strings.HasPrefix(k, prefix) }), nil
}

// Get implements kv.Client.
func (s *localStore) Get(_ context.Context, key string) (any, error) {
	v, _, _ := s.get(key)
	return v, nil
}

// Delete implements kv.Client.
func (s *localStore) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.rings, key)
	s.version[key]++
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// CAS implements kv.Client. There is no conflict, so f is called once.
func (s *localStore) CAS(_ context.Context, key string, f func(any) (any, bool, error)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in any
	if d := s.rings[key]; d != nil {
		in = d.Clone()
	}
	out, _, err := f(in)
	if err != nil || out == nil {
		return err
	}
	s.rings[key] = out.(*dsring.Desc).Clone().(*dsring.Desc)
	s.version[key]++
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

// WatchKey implements kv.Client.
func (s *localStore) WatchKey(ctx context.Context, key string, f func(any) bool) {
	last := 0
	for {
		v, version, changed := s.get(key)
		if version != last && v != nil && !f(v) {
			return
		}
		last = version
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// WatchPrefix implements kv.Client.
func (s *localStore) WatchPrefix(ctx context.Context, prefix string, f func(string, any) bool) {
	last := make(map[string]int)
	for {
		s.mu.Lock()
		changed := s.changed // before the values are read: what changes later is seen next time
		s.mu.Unlock()
		keys, _ := s.List(ctx, prefix)
		for _, k := range keys {
			v, version, _ := s.get(k)
			if version != last[k] && v != nil && !f(k, v) {
				return
			}
			last[k] = version
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
