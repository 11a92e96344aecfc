//go:build !linux

package program

// releaseStartPages does nothing on this system.
func releaseStartPages() error { return nil }
