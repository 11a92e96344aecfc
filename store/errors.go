package store

import (
	"errors"
	"fmt"
)

var (
	// ErrCorrupt means that a stored object is not what was written: a checksum fails or a part
	// contradicts another. Any reading call can return it, as *CorruptError. The same call will fail
	// again until the object is restored or removed.
	ErrCorrupt = errors.New("store: corrupt segment")

	// ErrVersion means that a segment was written by a newer version of the format.
	ErrVersion = errors.New("store: unknown segment version")

	// ErrInput is returned by Put for rows that break the contract of Rows (streams or times out of
	// order, columns of unequal length). Nothing is written.
	ErrInput = errors.New("store: bad rows")

	// ErrTenant means that the context has no tenant, or one that can't be part of an object's name.
	ErrTenant = errors.New("store: bad tenant")

	// ErrUnavailable means that the object store can't be reached, or fails whatever it is asked for. Nothing is wrong with the
	// call: it works again when the object store does. A bucket says so by returning errors that are this one.
	ErrUnavailable = errors.New("the object store can't be reached or fails; try again later")

	// ErrLocked is returned at the start where another process has the catalog file open.
	ErrLocked = errors.New("store: catalog file is in use by another process")
)

// CorruptError says where an object is damaged.
type CorruptError struct {
	Object  string // its name in the bucket
	Section string // the part of the segment: see docs/format/segment.md
	Offset  int64  // of the damaged part in the object
	Reason  string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("store: corrupt segment %s: %s at offset %d: %s", e.Object, e.Section, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }
