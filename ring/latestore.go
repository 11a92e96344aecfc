package ring

import "context"

// lateStore is the store of a membership that may not have started yet.
type lateStore struct{ m *Membership }

// List implements kv.Client.
func (s lateStore) List(ctx context.Context, prefix string) ([]string, error) {
	st, err := s.m.store()
	if err != nil {
		return nil, err
	}
	return st.List(ctx, prefix)
}

// Get implements kv.Client.
func (s lateStore) Get(ctx context.Context, key string) (any, error) {
	st, err := s.m.store()
	if err != nil {
		return nil, err
	}
	return st.Get(ctx, key)
}

// Delete implements kv.Client.
func (s lateStore) Delete(ctx context.Context, key string) error {
	st, err := s.m.store()
	if err != nil {
		return err
	}
	return st.Delete(ctx, key)
}

// CAS implements kv.Client.
func (s lateStore) CAS(ctx context.Context, key string, f func(any) (any, bool, error)) error {
	st, err := s.m.store()
	if err != nil {
		return err
	}
	return st.CAS(ctx, key, f)
}

// WatchKey implements kv.Client.
func (s lateStore) WatchKey(ctx context.Context, key string, f func(any) bool) {
	if st, err := s.m.store(); err == nil {
		st.WatchKey(ctx, key, f)
	}
}

// WatchPrefix implements kv.Client.
func (s lateStore) WatchPrefix(ctx context.Context, prefix string, f func(string, any) bool) {
	if st, err := s.m.store(); err == nil {
		st.WatchPrefix(ctx, prefix, f)
	}
}
