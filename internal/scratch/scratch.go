// Package scratch makes temporary files of which nothing is left, even when the process is killed.
package scratch

import (
	"errors"
	"os"
)

// File is a temporary file without a name, where the system lets an open file have none. On others (Windows) it has one
// until it is closed.
type File struct {
	*os.File
	named bool
}

// Create makes a file in a folder, with a name after pattern as long as it has one; "" is the folder of the system. Close it after use.
func Create(dir, pattern string) (*File, error) {
	f, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, err
	}
	return &File{f, os.Remove(f.Name()) != nil}, nil
}

// ObjectSize is how objstore learns the size of an upload.
func (f *File) ObjectSize() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Close closes the file, and what was written is gone.
func (f *File) Close() error {
	err := f.File.Close()
	if f.named {
		err = errors.Join(err, os.Remove(f.Name()))
	}
	return err
}
