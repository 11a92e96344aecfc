package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// catalogFile remembers footers in a bbolt file: a bucket per tenant, ULID → SegmentInfo. It is only a
// cache. Values have checksums over tenant and key, so a wrong one is not believed, and any failure
// but a lock means that the file is thrown away. Without path it remembers nothing.
type catalogFile struct {
	path string
	log  *slog.Logger

	mu sync.Mutex
	db *bbolt.DB // guarded by mu; nil if there is none
}

const (
	catalogLockWait = time.Second
	infoVersion     = 1
)

// open opens or creates the file.
func (f *catalogFile) open() error {
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.openLocked()
	if err == nil || errors.Is(err, ErrLocked) {
		return err
	}
	f.log.Warn("catalog file is unreadable; making a new one", "file", f.path, "err", err)
	if err := os.Remove(f.path); err != nil {
		return fmt.Errorf("store: catalog file: %w", err)
	}
	if err := f.openLocked(); err != nil {
		return fmt.Errorf("store: catalog file: %w", err)
	}
	return nil
}

func (f *catalogFile) openLocked() error {
	var db *bbolt.DB
	err := guardBolt(func() (err error) {
		// Without syncs a crash may leave garbage, which is found and dropped.
		db, err = bbolt.Open(f.path, 0o644, &bbolt.Options{
			Timeout: catalogLockWait, NoSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
		})
		return err
	})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return fmt.Errorf("%w: %s", ErrLocked, f.path)
	}
	if err != nil {
		return err
	}
	err = guardBolt(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			for err := range tx.Check() {
				return err
			}
			return nil
		})
	})
	if err != nil {
		return errors.Join(err, guardBolt(db.Close))
	}
	f.db = db
	return nil
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

// do runs f on the file, if there is one. After an error the file is not used any more.
func (f *catalogFile) do(fn func(db *bbolt.DB) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return
	}
	if err := guardBolt(func() error { return fn(f.db) }); err != nil {
		f.log.Warn("catalog file failed; going on without until the next start", "file", f.path, "err", err)
		db := f.db
		f.db = nil
		if err := errors.Join(guardBolt(db.Close), os.Remove(f.path)); err != nil {
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
	f.do(func(db *bbolt.DB) error {
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
	f.do(func(db *bbolt.DB) error {
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
	f.do(func(db *bbolt.DB) error {
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
	return guardBolt(func() error { return errors.Join(db.Sync(), db.Close()) })
}

// encodeInfo encodes all but the ID, which is the key.
func encodeInfo(i *SegmentInfo, tenant string) []byte {
	b := []byte{infoVersion}
	for _, v := range []int64{i.MinTime, i.MaxTime, i.Streams, i.Rows, i.RawBytes, i.MetadataBytes, i.SizeBytes} {
		b = binary.AppendVarint(b, v)
	}
	for _, id := range i.Replaces {
		b = append(b, id[:]...)
	}
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
	for d.err == nil && len(d.b) > 0 {
		var r ulid.ULID
		copy(r[:], d.bytes(16))
		i.Replaces = append(i.Replaces, r)
	}
	return i, d.err
}
