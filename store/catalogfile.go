package store

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"

	"example.com/loki/internal/boltcache"
)

// catalogFile remembers footers: a bucket per tenant, ULID → SegmentInfo. It is only a cache. Values have
// checksums.
type catalogFile struct{ *boltcache.File }

const infoVersion = 2

// open opens or creates the file.
func (f *catalogFile) open() error {
	err := f.Open()
	switch {
	case errors.Is(err, boltcache.ErrLocked):
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case err != nil:
		return fmt.Errorf("store: catalog file: %w", err)
	}
	return nil
}

// get returns what is remembered of these segments.
func (f *catalogFile) get(tenant string, ids []ulid.ULID) map[ulid.ULID]SegmentInfo {
	out := make(map[ulid.ULID]SegmentInfo)
	if len(ids) == 0 {
		return out
	}
	f.View(func(tx *bbolt.Tx) error {
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
	return out
}

func (f *catalogFile) put(tenant string, infos []SegmentInfo) {
	if len(infos) == 0 {
		return
	}
	f.Update(func(tx *bbolt.Tx) error {
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
}

func (f *catalogFile) remove(tenant string, ids []ulid.ULID) {
	if len(ids) == 0 {
		return
	}
	f.Update(func(tx *bbolt.Tx) error {
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
