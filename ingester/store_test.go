package ingester

import (
	"context"
	"sync"

	"github.com/oklog/ulid/v2"

	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// memStore is a store in memory whose Put can be held up or made to fail.
type memStore struct {
	storetest.Fake

	mu      sync.Mutex
	putErr  error         // what Put returns, if not nil
	blocked chan struct{} // Put waits until it is closed, if not nil
	puts    int
}

var _ store.Service = (*memStore)(nil)

func newMemStore() *memStore { return new(memStore) }

func (s *memStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putErr = err
}

func (s *memStore) Put(ctx context.Context, id ulid.ULID, rows store.Rows) (store.SegmentInfo, error) {
	s.mu.Lock()
	s.puts++
	err, blocked := s.putErr, s.blocked
	s.mu.Unlock()
	if err != nil {
		return store.SegmentInfo{}, err
	}
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return store.SegmentInfo{}, ctx.Err()
		}
	}
	return s.Fake.Put(ctx, id, rows)
}

// discard drops segments.
type discard struct{ *memStore }

func (discard) Put(_ context.Context, id ulid.ULID, rows store.Rows) (store.SegmentInfo, error) {
	info := store.SegmentInfo{ID: id}
	for r, err := range rows {
		if err != nil {
			return info, err
		}
		info.Rows += int64(len(r.Times))
	}
	return info, nil
}
