package compactor

import "errors"

var (
	// ErrBadRequest is returned for a delete request that can't be accepted. The text says why; the caller
	// should correct the request.
	ErrBadRequest = errors.New("compactor: bad request")

	// ErrDisabled is returned by Delete for a tenant whose limits don't allow it.
	ErrDisabled = errors.New("deletion is not available for this tenant")

	// ErrNotFound is returned for a delete request that doesn't exist.
	ErrNotFound = errors.New("could not find delete request with given id")

	// ErrTooLate is returned by Cancel for a request whose rows are being removed. With force the rest
	// of the removal can be stopped.
	ErrTooLate = errors.New("deletion of request which is in process or already processed is not allowed")
)
