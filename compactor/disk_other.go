//go:build !linux && !darwin

package compactor

func diskUsage(string) (used, total int64, err error) { return 0, 0, ErrNoDisk }
