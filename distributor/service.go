package distributor

import (
	"context"

	"example.com/loki/ingester"
)

// Service takes pushes. The context of each call carries the tenant.
type Service interface {
	// Push validates, enriches and stores entries. It returns when those that were accepted are
	// durable. If some were refused for good, the error is a *PushError that says which and why, and
	// all others are stored. ErrRateLimited (as *RateLimitError) means that nothing was stored and
	// that the same push may succeed later.
	//
	// Push may change req, but keeps nothing of it after it returns.
	Push(ctx context.Context, req *PushRequest) error
}

// PushRequest holds entries of one tenant, as a client sent them.
type PushRequest struct {
	Streams []Stream
	// Size is the number of bytes of the request's body, for metrics.
	Size int
}

// Stream is a set of labels, as text like {app="api"} or as a sorted set, and entries.
type Stream struct {
	Text    string   // used if Labels is nil
	Labels  LabelSet // names need not be valid; the distributor checks them
	Entries []ingester.Entry
}

// LabelSet is a set of labels in any order, as a client sent it.
type LabelSet []Label

// Label is a name and a value.
type Label struct{ Name, Value string }
