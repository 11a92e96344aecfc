package compactor

import (
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// What a compactor has found out about segments is noted in its file: it may be lost, and is found out again then.

func cleanBucket() []byte   { return []byte("clean") }
func checkedBucket() []byte { return []byte("checked") }

// record writes the notes. It is called within a pass.
func (c *Compactor) record() {
	c.requests.file.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{cleanBucket(), checkedBucket()} {
			if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
				return err
			}
		}
		clean, err := tx.CreateBucket(cleanBucket())
		if err != nil {
			return err
		}
		for k, ids := range c.clean {
			var list []string
			for id := range ids {
				if r := c.requests.get(k.tenant, id); r != nil && !r.over() {
					list = append(list, id)
				}
			}
			if len(list) == 0 {
				continue
			}
			if err := clean.Put(k.bytes(), []byte(strings.Join(list, " "))); err != nil {
				return err
			}
		}
		checked, err := tx.CreateBucket(checkedBucket())
		if err != nil {
			return err
		}
		for k, at := range c.checked {
			if c.isDamaged(k) {
				continue // it is reported again soon after the next start
			}
			if err := checked.Put(k.bytes(), binary.AppendVarint(nil, at.UnixNano())); err != nil {
				return err
			}
		}
		return nil
	})
}

// recall reads the notes, before there is any pass.
func (c *Compactor) recall() {
	c.requests.file.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(cleanBucket()); b != nil {
			err := b.ForEach(func(key, v []byte) error {
				k, err := parseSegmentKey(key)
				if err != nil {
					return err
				}
				c.clean[k] = make(map[string]bool)
				for id := range strings.SplitSeq(string(v), " ") {
					c.clean[k][id] = true
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		b := tx.Bucket(checkedBucket())
		if b == nil {
			return nil
		}
		return b.ForEach(func(key, v []byte) error {
			k, err := parseSegmentKey(key)
			at, n := binary.Varint(v)
			if err != nil || n <= 0 {
				return errNote
			}
			c.checked[k] = time.Unix(0, at)
			return nil
		})
	})
}

func (c *Compactor) isDamaged(k segmentKey) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, bad := c.damaged[k]
	return bad
}

var errNote = errors.New("a note that was never written")

func (k segmentKey) bytes() []byte { return append(k.id[:len(k.id):len(k.id)], k.tenant...) }

func parseSegmentKey(b []byte) (segmentKey, error) {
	var k segmentKey
	if len(b) <= len(ulid.ULID{}) {
		return k, errNote
	}
	k.tenant = string(b[copy(k.id[:], b):])
	return k, nil
}
