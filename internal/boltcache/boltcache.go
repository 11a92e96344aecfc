// Package boltcache keeps what can be learned again in a bbolt file. Whatever is wrong with the file but a lock,
// it is thrown away.
//
// bbolt can take the process down with it when its file is damaged (it checks in goroutines of its own, and
// follows cycles of pages). So the file is never opened unless a checksum beside it, written after each change,
// says that it is what we left.
package boltcache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/gofrs/flock"
	"go.etcd.io/bbolt"
)

// ErrLocked is returned by Open where another process has the file open.
var ErrLocked = errors.New("in use by another process")

var errChecksum = errors.New("checksum does not match")

const lockWait = time.Second

// File is a bbolt file that may be lost at any time. Its methods may be called from several goroutines.
type File struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	lock *flock.Flock // guarded by mu, held while db is open
	db   *bbolt.DB    // guarded by mu; nil if there is none
}

// New returns a file that is not open yet. Without a path it remembers nothing.
func New(path string, log *slog.Logger) *File { return &File{path: path, log: log} }

func (f *File) sumPath() string { return f.path + ".sum" }

// Open opens or creates the file. It waits a second for a lock.
func (f *File) Open() error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	lock := flock.New(f.path + ".lock")
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	if ok, err := lock.TryLockContext(ctx, lockWait/20); !ok {
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%s: %w", f.path, ErrLocked)
		}
		return err
	}
	f.lock = lock
	err := f.check()
	if err == nil {
		err = f.openDB()
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		f.log.Warn("file is not what was written; making a new one", "file", f.path, "err", err)
	}
	if err = f.removeFiles(); err == nil {
		err = f.openDB()
	}
	if err != nil {
		return errors.Join(err, f.unlock())
	}
	return f.seal()
}

func (f *File) openDB() error {
	return guard(func() (err error) {
		// Without syncs a crash of the machine may leave garbage, which is found and dropped.
		f.db, err = bbolt.Open(f.path, 0o644, &bbolt.Options{
			Timeout: lockWait, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		})
		return err
	})
}

// sum is the checksum and the length of the file.
func (f *File) sum() ([]byte, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	h := xxhash.New()
	n, err := io.Copy(h, file)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, h.Sum64()), uint64(n)), nil
}

func (f *File) check() error {
	got, err := f.sum()
	if err != nil {
		return err
	}
	want, err := os.ReadFile(f.sumPath())
	if err != nil {
		return fmt.Errorf("its checksum: %v", err) // not wrapped: the file itself is there
	}
	if !bytes.Equal(got, want) {
		return errChecksum
	}
	return nil
}

// seal writes the checksum. Should we be killed before, the next start makes a new file.
func (f *File) seal() error {
	sum, err := f.sum()
	if err != nil {
		return err
	}
	return os.WriteFile(f.sumPath(), sum, 0o644)
}

func (f *File) removeFiles() error {
	return errors.Join(ignoreMissing(os.Remove(f.sumPath())), ignoreMissing(os.Remove(f.path)))
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func (f *File) unlock() error {
	if f.lock == nil {
		return nil
	}
	lock := f.lock
	f.lock = nil
	return lock.Close()
}

// guard turns what bbolt does on a damaged file, panics and faults in mapped memory, into errors.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return f()
}

// do runs fn on the file, if there is one, and seals it if fn changes it. After an error the file is not
// used any more.
func (f *File) do(changes bool, fn func(db *bbolt.DB) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return
	}
	err := guard(func() error { return fn(f.db) })
	if err == nil && changes {
		err = f.seal()
	}
	if err != nil {
		f.log.Warn("file failed; going on without until the next start", "file", f.path, "err", err)
		db := f.db
		f.db = nil
		if err := errors.Join(guard(db.Close), f.removeFiles(), f.unlock()); err != nil {
			f.log.Warn("file could not be removed", "file", f.path, "err", err)
		}
	}
}

// View runs fn in a transaction that reads; not at all if there is no file. An error of fn means that the file
// is damaged, and ends its use.
func (f *File) View(fn func(*bbolt.Tx) error) {
	f.do(false, func(db *bbolt.DB) error { return db.View(fn) })
}

// Update is View for a transaction that writes.
func (f *File) Update(fn func(*bbolt.Tx) error) {
	f.do(true, func(db *bbolt.DB) error { return db.Update(fn) })
}

// Close closes the file. It is not used any more after that.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return nil
	}
	db := f.db
	f.db = nil
	return errors.Join(guard(db.Close), f.unlock())
}
