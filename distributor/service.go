package distributor

import (
	"context"

	"example.com/loki/internal/push"
)

// Service takes pushes. The context of each call carries the tenant.
type Service interface {
	// Push validates, enriches and stores entries. It returns when those that were accepted are
	// durable. If some were refused for good, the error is a *PushError that says which and why, and
	// all others are stored. ErrRateLimited (as *RateLimitError) means that nothing was stored and
	// that the same push may succeed later. ErrLabels (as *LabelsError) and ErrNoStreams mean that the
	// push is malformed and nothing was stored. Other errors are those of the ingester.
	//
	// Push does not change req, and keeps nothing of it after it returns.
	Push(ctx context.Context, req *PushRequest) error
}

// PushRequest holds entries of one tenant, as a client sent them.
type PushRequest struct {
	Streams []Stream
	// Size is the number of bytes of the request's body, for metrics.
	Size int
}

// Stream is a set of labels, as text like {app="api"} or as a set, and entries: its fields are
//
//	Text    string   // used if Labels is nil
//	Labels  LabelSet // names need not be valid; the distributor checks them
//	Entries []ingester.Entry
type Stream = push.Stream

// LabelSet is a set of labels in any order, as a client sent it.
type LabelSet = push.LabelSet

// Label is a name and a value: its fields are Name and Value, both strings.
type Label = push.Label
