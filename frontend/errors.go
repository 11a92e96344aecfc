package frontend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrLimit means that a limit of the tenant refused the query. Details are in *LimitError.
var ErrLimit = errors.New("frontend: limit exceeded")

// LimitError says which limit refused a query and how to stay within it.
type LimitError struct {
	Limit   string // its name in the configuration, such as max_query_length
	Message string
}

// Error returns the message.
func (e *LimitError) Error() string { return e.Message }

// Is tells that the error is an ErrLimit.
func (e *LimitError) Is(target error) bool { return target == ErrLimit }

func limitErrorf(limit, format string, args ...any) *LimitError {
	return &LimitError{Limit: limit, Message: fmt.Sprintf(format, args...)}
}

// TimeoutError means that a query took longer than the tenant's query_timeout. All its work was stopped. It
// is a context.DeadlineExceeded.
type TimeoutError struct {
	After time.Duration
}

// Error says how to ask for less.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("the query was stopped after the query_timeout of %s; shorten its time range or select fewer streams", e.After)
}

// Is tells that the error is a context.DeadlineExceeded.
func (e *TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
