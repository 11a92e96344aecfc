package ingester

import (
	"errors"
	"syscall"
)

// isDiskFull tells whether writing failed for want of room.
func isDiskFull(err error) bool {
	const (
		errorHandleDiskFull = syscall.Errno(39)
		errorDiskFull       = syscall.Errno(112)
	)
	return errors.Is(err, errorHandleDiskFull) || errors.Is(err, errorDiskFull)
}
