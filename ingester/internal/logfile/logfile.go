// Package logfile writes and reads the files of the write-ahead log: records in pages of 32 KiB, in the
// format of Prometheus' tsdb/wlog.
//
// Reading is wlog's, except behind damage, where wlog stops and this package goes on with the next
// record. Writing is our own, because a log that must know what is durable needs more control than
// wlog's writer gives: it learns of every failed sync (wlog syncs a finished file in the background
// and logs the error), it takes a half-written record back (wlog's writer stays inconsistent after a failed
// write), and it writes a whole commit with one system call. A test holds that either side reads what
// the other has written.
//
// A Log is used by one goroutine at a time.
package logfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/prometheus/prometheus/tsdb/wlog"
)

const (
	pageSize   = 32 << 10
	headerSize = 7
)

// Types of fragments.
const (
	pageTerm byte = iota
	fragFull
	fragFirst
	fragMiddle
	fragLast
	typeMask byte = 7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// File is what a Log needs of a file it writes.
type File interface {
	Write(p []byte) (int, error)
	Sync() error
	Truncate(size int64) error
	Close() error
}

// Create makes a new file. Tests replace it to let a disk fail.
type Create func(path string) (File, error)

// CreateFile is the Create of the operating system.
func CreateFile(path string) (File, error) {
	// Without O_APPEND: Windows would not let such a file be truncated.
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
}

// Name returns the path of a file of the log.
func Name(dir string, index int) string { return wlog.SegmentName(dir, index) }

// Info describes a file of the log.
type Info struct {
	Index int
	Size  int64
}

// List returns the files in dir, lowest index first.
func List(dir string) ([]Info, error) {
	first, last, err := wlog.Segments(dir)
	if err != nil {
		return nil, fmt.Errorf("list log files in %s: %w", dir, err)
	}
	var infos []Info
	for i := first; i >= 0 && i <= last; i++ {
		st, err := os.Stat(Name(dir, i))
		if err != nil {
			return nil, fmt.Errorf("list log files: %w", err)
		}
		infos = append(infos, Info{Index: i, Size: st.Size()})
	}
	return infos, nil
}

// Log is the writing end.
type Log struct {
	dir    string
	create Create
	old    []Info // files that are no longer written, ascending
	cur    Info   // the file that is or will be written
	f      File   // nil: cur does not exist yet
	buf    []byte
}

// Open prepares to write behind the given files, which List returned. It creates nothing.
func Open(dir string, files []Info, create Create) *Log {
	l := &Log{dir: dir, create: create, old: slices.Clone(files)}
	if n := len(files); n > 0 {
		l.cur.Index = files[n-1].Index + 1
	}
	return l
}

// Index is the number of the file that the next Append writes to.
func (l *Log) Index() int { return l.cur.Index }

// CurrentSize is the size of that file.
func (l *Log) CurrentSize() int64 { return l.cur.Size }

// Size is the size of all files.
func (l *Log) Size() int64 {
	n := l.cur.Size
	for _, f := range l.old {
		n += f.Size
	}
	return n
}

// Append writes records, with one write, and syncs them if asked to. When it fails none of them counts:
// they are cut off again, the file is left, and the next Append begins a new one. Only if
// cutting off fails as well, a reader may find some of them.
func (l *Log) Append(sync bool, records ...[]byte) error {
	if l.f == nil {
		f, err := l.create(Name(l.dir, l.cur.Index))
		if err != nil {
			return fmt.Errorf("create log file: %w", err)
		}
		l.f, l.cur.Size = f, 0
		if err := syncDir(l.dir); err != nil {
			return errors.Join(fmt.Errorf("sync log folder: %w", err), l.abandon())
		}
	}
	l.buf = l.buf[:0]
	for _, r := range records {
		l.buf = appendRecord(l.buf, l.cur.Size, r)
	}
	if _, err := l.f.Write(l.buf); err != nil {
		return errors.Join(fmt.Errorf("write log: %w", err), l.abandon())
	}
	if sync {
		if err := l.f.Sync(); err != nil {
			return errors.Join(fmt.Errorf("sync log: %w", err), l.abandon())
		}
	}
	l.cur.Size += int64(len(l.buf))
	if cap(l.buf) > 4<<20 {
		l.buf = nil // a rare large commit must not hold its memory for ever
	}
	return nil
}

// Sync makes durable what has been appended. When it fails, what of that has reached the disk is
// unknown; the next Append begins a new file.
func (l *Log) Sync() error {
	if l.f == nil {
		return nil
	}
	if err := l.f.Sync(); err != nil {
		err = fmt.Errorf("sync log: %w", err)
		if cerr := l.f.Close(); cerr != nil {
			err = errors.Join(err, cerr)
		}
		l.next()
		return err
	}
	return nil
}

// Roll syncs and closes the current file; the next Append begins a new one. It does nothing if the
// current file is empty.
func (l *Log) Roll() error {
	if l.f == nil || l.cur.Size == 0 {
		return nil
	}
	if err := l.Sync(); err != nil {
		return err
	}
	err := l.f.Close()
	l.next()
	if err != nil {
		return fmt.Errorf("close log: %w", err)
	}
	return nil
}

// Close is Roll; an empty file is removed.
func (l *Log) Close() error {
	if l.f != nil && l.cur.Size == 0 {
		return l.abandon()
	}
	return l.Roll()
}

// Remove deletes the files below index, oldest first.
func (l *Log) Remove(index int) error {
	for len(l.old) > 0 && l.old[0].Index < index {
		if err := os.Remove(Name(l.dir, l.old[0].Index)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove log file: %w", err)
		}
		l.old = l.old[1:]
	}
	return nil
}

func (l *Log) next() {
	l.old = append(l.old, l.cur)
	l.cur = Info{Index: l.cur.Index + 1}
	l.f = nil
}

// abandon takes back what the file got since the last good Append, and leaves it.
func (l *Log) abandon() error {
	var errs []error
	if err := l.f.Truncate(l.cur.Size); err != nil {
		errs = append(errs, fmt.Errorf("truncate log: %w", err))
	} else if l.cur.Size > 0 {
		// The truncation must not be undone by a crash. If this fails too, the tail is one that a
		// reader copes with.
		if err := l.f.Sync(); err != nil {
			errs = append(errs, fmt.Errorf("sync truncated log: %w", err))
		}
	}
	if err := l.f.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close log: %w", err))
	}
	// A full disk is probed again and again: that must not leave a trail of empty files.
	if l.cur.Size == 0 && len(errs) == 0 && os.Remove(Name(l.dir, l.cur.Index)) == nil {
		l.f = nil
		return nil
	}
	l.next()
	return errors.Join(errs...)
}

// appendRecord appends the fragments of a record to dst, whose end will lie base+len(dst) bytes into the
// file.
func appendRecord(dst []byte, base int64, rec []byte) []byte {
	first := true
	for {
		left := pageSize - int((base+int64(len(dst)))%pageSize)
		if left <= headerSize {
			dst = append(dst, make([]byte, left)...) // no room for even a byte
			left = pageSize
		}
		n := min(left-headerSize, len(rec))
		typ := fragMiddle
		switch last := n == len(rec); {
		case first && last:
			typ = fragFull
		case first:
			typ = fragFirst
		case last:
			typ = fragLast
		}
		var h [headerSize]byte
		h[0] = typ
		binary.BigEndian.PutUint16(h[1:], uint16(n))
		binary.BigEndian.PutUint32(h[3:], crc32.Checksum(rec[:n], castagnoli))
		dst = append(dst, h[:]...)
		dst = append(dst, rec[:n]...)
		rec, first = rec[n:], false
		if len(rec) == 0 {
			return dst
		}
	}
}

// syncDir makes a new file's name durable. Windows can't and needn't.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
