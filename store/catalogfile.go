package store

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
	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"
)

// catalogFile remembers footers in a bbolt file: a bucket per tenant, ULID → SegmentInfo. It is only a
// cache: whatever is wrong with it but a lock, it is thrown away. Without path it remembers nothing.
//
// bbolt can take the process down with it when its file is damaged (it checks in goroutines of its own,
// and follows cycles of pages). So the file is never opened unless a checksum beside it, written after
// each change, says that it is what we left. Values have checksums too.
type catalogFile struct {
	path string
	log  *slog.Logger

	mu   sync.Mutex
	lock *flock.Flock // guarded by mu, held while db is open
	db   *bbolt.DB    // guarded by mu; nil if there is none
}

const (
	catalogLockWait = time.Second
	infoVersion     = 2
)

func (f *catalogFile) sumPath() string { return f.path + ".sum" }

// open opens or creates the file.
func (f *catalogFile) open() error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	lock := flock.New(f.path + ".lock")
	ctx, cancel := context.WithTimeout(context.Background(), catalogLockWait)
	defer cancel()
	if ok, err := lock.TryLockContext(ctx, catalogLockWait/20); !ok {
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("%w: %s", ErrLocked, f.path)
		}
		return fmt.Errorf("store: catalog file: %w", err)
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
		f.log.Warn("catalog file is not what was written; making a new one", "file", f.path, "err", err)
	}
	if err = f.removeFiles(); err == nil {
		err = f.openDB()
	}
	if err != nil {
		return fmt.Errorf("store: catalog file: %w", errors.Join(err, f.unlock()))
	}
	return nil
}

func (f *catalogFile) openDB() error {
	return guardBolt(func() (err error) {
		// Without syncs a crash of the machine may leave garbage, which is found and dropped.
		f.db, err = bbolt.Open(f.path, 0o644, &bbolt.Options{
			Timeout: catalogLockWait, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		})
		return err
	})
}

// sum is the checksum and the length of the file.
func (f *catalogFile) sum() ([]byte, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(file)
	h := xxhash.New()
	n, err := io.Copy(h, file)
	if err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, h.Sum64()), uint64(n)), nil
}

func (f *catalogFile) check() error {
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
func (f *catalogFile) seal() error {
	sum, err := f.sum()
	if err != nil {
		return err
	}
	return os.WriteFile(f.sumPath(), sum, 0o644)
}

func (f *catalogFile) removeFiles() error {
	return errors.Join(ignoreMissing(os.Remove(f.sumPath())), ignoreMissing(os.Remove(f.path)))
}

func (f *catalogFile) unlock() error {
	if f.lock == nil {
		return nil
	}
	lock := f.lock
	f.lock = nil
	return lock.Close()
}

// guardBolt turns what bbolt does on a damaged file, panics and faults in mapped memory, into errors.
func guardBolt(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("catalog file: %v", p)
		}
	}()
	return f()
}

// do runs fn on the file, if there is one, and seals it if fn changes it. After an error the file is not
// used any more.
func (f *catalogFile) do(changes bool, fn func(db *bbolt.DB) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return
	}
	err := guardBolt(func() error { return fn(f.db) })
	if err == nil && changes {
		err = f.seal()
	}
	if err != nil {
		f.log.Warn("catalog file failed; going on without until the next start", "file", f.path, "err", err)
		db := f.db
		f.db = nil
		if err := errors.Join(guardBolt(db.Close), f.removeFiles(), f.unlock()); err != nil {
			f.log.Warn("catalog file could not be removed", "file", f.path, "err", err)
		}
	}
}

// get returns what is remembered of these segments.
func (f *catalogFile) get(tenant string, ids []ulid.ULID) map[ulid.ULID]SegmentInfo {
	out := make(map[ulid.ULID]SegmentInfo)
	if len(ids) == 0 {
		return out
	}
	f.do(false, func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(tenant))
			if b == nil {
				return nil
			}
			for _, id := range ids {
				if info, err := decodeInfo(b.Get(id[:]), tenant, id); err == nil {
					out[id] = info
				}
			}
			return nil
		})
	})
	return out
}

func (f *catalogFile) put(tenant string, infos []SegmentInfo) {
	if len(infos) == 0 {
		return
	}
	f.do(true, func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(tenant))
			if err != nil {
				return err
			}
			for i := range infos {
				if err := b.Put(infos[i].ID[:], encodeInfo(&infos[i], tenant)); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (f *catalogFile) remove(tenant string, ids []ulid.ULID) {
	if len(ids) == 0 {
		return
	}
	f.do(true, func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(tenant))
			if b == nil {
				return nil
			}
			for _, id := range ids {
				if err := b.Delete(id[:]); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (f *catalogFile) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return nil
	}
	db := f.db
	f.db = nil
	return errors.Join(guardBolt(db.Close), f.unlock())
}

// encodeInfo encodes all but the ID, which is the key.
func encodeInfo(i *SegmentInfo, tenant string) []byte {
	b := []byte{infoVersion}
	for _, v := range []int64{i.MinTime, i.MaxTime, i.Streams, i.Rows, i.RawBytes, i.MetadataBytes, i.SizeBytes} {
		b = binary.AppendVarint(b, v)
	}
	b = binary.AppendUvarint(b, uint64(len(i.Replaces)))
	for _, id := range i.Replaces {
		b = append(b, id[:]...)
	}
	b = appendWriters(b, i.Writers)
	n := len(b)
	b = append(append(b, i.ID[:]...), tenant...)
	return appendCRC(b[:n:n], b)
}

func decodeInfo(b []byte, tenant string, id ulid.ULID) (SegmentInfo, error) {
	if len(b) < crcSize+1 || b[0] != infoVersion {
		return SegmentInfo{}, errShort
	}
	data := b[: len(b)-crcSize : len(b)-crcSize]
	sealed := append(append(append([]byte(nil), data...), id[:]...), tenant...)
	if _, err := checkCRC(append(sealed, b[len(data):]...)); err != nil {
		return SegmentInfo{}, err
	}
	d := decbuf{b: data[1:]}
	i := SegmentInfo{ID: id}
	for _, p := range []*int64{&i.MinTime, &i.MaxTime, &i.Streams, &i.Rows, &i.RawBytes, &i.MetadataBytes, &i.SizeBytes} {
		*p = int64(unzigzag(d.uvarint()))
	}
	for range d.count() {
		var r ulid.ULID
		copy(r[:], d.bytes(16))
		i.Replaces = append(i.Replaces, r)
	}
	i.Writers = d.writers()
	return i, d.err
}
