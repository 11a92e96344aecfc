//go:build !windows

package store

import (
	"errors"
	"os"
)

// deletesOpen tells that files can be deleted while they are open.
const deletesOpen = true

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
