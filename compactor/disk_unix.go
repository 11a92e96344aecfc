//go:build linux || darwin

package compactor

import (
	"os"
	"syscall"
)

func diskUsage(dir string) (used, total int64, err error) {
	var s syscall.Statfs_t
	for {
		if err = syscall.Statfs(dir, &s); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	used = int64(s.Blocks-s.Bfree) * int64(s.Bsize)
	return used, used + int64(s.Bavail)*int64(s.Bsize), nil
}
