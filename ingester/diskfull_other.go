//go:build !windows

package ingester

import (
	"errors"
	"syscall"
)

// isDiskFull tells whether writing failed for want of room.
func isDiskFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
