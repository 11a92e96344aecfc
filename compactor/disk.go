package compactor

import "errors"

// ErrNoDisk is returned where the use of a disk is not known on this system.
var ErrNoDisk = errors.New("compactor: the use of the disk is not known on this system")

// DiskUsage returns a function that tells how many bytes of the disk that a folder is on are used, and how many it
// has, without those that only the administrator may use. The folder must exist when it is called.
func DiskUsage(dir string) func() (used, total int64, err error) {
	return func() (used, total int64, err error) { return diskUsage(dir) }
}
