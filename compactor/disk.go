package compactor

import "errors"

// ErrNoDisk is returned where the use of a disk is not known on this system.
var ErrNoDisk = errors.New("compactor: the use of the disk is not known on this system")

// DiskUsage returns a function that tells how many bytes of the disk that a folder is on are used, and how many it
// has, without those that only the administrator may use. The folder must exist when it is called.
func DiskUsage(dir string) func() (used, total int64, err error) {
	return func() (used, total int64, err error) { return diskUsage(dir) }
}

// reserve is the share of the disk that is kept free for what comes in: with less, replaced objects go at once and
// nothing is merged.
const reserve = 0.05

// pressed tells that the disk would be nearly full with so many bytes more.
func (c *Compactor) pressed(more int64) bool {
	if c.cfg.DiskUsage == nil {
		return false
	}
	used, total, err := c.cfg.DiskUsage()
	return err == nil && float64(used+more) > (1-reserve)*float64(total)
}

// crowded tells that room must be made on the disk.
func (c *Compactor) crowded() bool {
	if c.cfg.DiskUsage == nil {
		return false
	}
	used, total, err := c.cfg.DiskUsage()
	most := 1 - reserve
	if c.cfg.MaxDiskShare > 0 {
		most = min(most, c.cfg.MaxDiskShare)
	}
	return err == nil && float64(used) > most*float64(total)
}
