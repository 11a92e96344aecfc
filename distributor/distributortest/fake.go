// Package distributortest has the tests that every distributor.Service must pass, and a fake in memory.
package distributortest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/distributor"
	"example.com/loki/ingester"
	"example.com/loki/limits"
)

// Store is a distributor.Pusher that keeps everything in memory. The zero value is empty. It may be used
// from several goroutines.
type Store struct {
	mu      sync.Mutex
	err     error
	streams map[string][]ingester.Stream // by tenant, in the order of pushes
}

var _ distributor.Pusher = (*Store)(nil)

// Fail makes all pushes return err from now on; nil ends that.
func (s *Store) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Push keeps a copy of req.
func (s *Store) Push(ctx context.Context, req *ingester.PushRequest) error {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if s.streams == nil {
		s.streams = make(map[string][]ingester.Stream)
	}
	for _, in := range req.Streams {
		out := ingester.Stream{Labels: in.Labels, Hash: in.Hash}
		for _, e := range in.Entries {
			c := ingester.Entry{Time: e.Time, Line: bytes.Clone(e.Line)}
			for _, f := range e.Metadata {
				c.Metadata = append(c.Metadata, ingester.Field{Name: strings.Clone(f.Name), Value: bytes.Clone(f.Value)})
			}
			out.Entries = append(out.Entries, c)
		}
		s.streams[id] = append(s.streams[id], out)
	}
	return nil
}

// Streams returns what was pushed for a tenant, in the order in which it came. The caller must not
// change it.
func (s *Store) Streams(tenant string) []ingester.Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.streams[tenant])
}

// Lines returns the entries of a tenant as sorted texts like
//
//	{app="api", service_name="api"} 1767571200000000000 "GET /" detected_level="info"
func (s *Store) Lines(tenant string) []string {
	var out []string
	for _, stream := range s.Streams(tenant) {
		for _, e := range stream.Entries {
			out = append(out, Line(stream.Labels, e))
		}
	}
	slices.Sort(out)
	return out
}

// Line prints an entry as Store.Lines does.
func Line(l labels.Labels, e ingester.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %q", l, e.Time, e.Line)
	for _, f := range e.Metadata {
		fmt.Fprintf(&b, " %s=%q", f.Name, f.Value)
	}
	return b.String()
}

// Fake is a distributor.Service in memory: it checks and enriches like a real one.
type Fake struct {
	distributor.Service
	*Store
}

// Push goes to the Service, not past it to the Store.
func (f Fake) Push(ctx context.Context, req *distributor.PushRequest) error {
	return f.Service.Push(ctx, req)
}

// NewFake returns a Fake that gives every tenant the limits l.
func NewFake(l limits.Limits) (Fake, error) {
	store := &Store{}
	d, err := distributor.New(distributor.Config{}, store, limits.Fixed(l), nil, nil)
	if err != nil {
		return Fake{}, err
	}
	return Fake{Service: d, Store: store}, nil
}
