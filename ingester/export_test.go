package ingester

import "example.com/loki/store"

// NewMemStore gives the outer tests the store of the inner ones.
func NewMemStore() store.Service { return newMemStore() }
