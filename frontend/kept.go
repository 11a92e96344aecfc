package frontend

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"

	"example.com/loki/cache"
	"example.com/loki/logql"
)

// Answers to pieces of queries are kept under everything that they depend on: the tenant, what is asked, the
// delete requests in force, and the segments that were read. Segments never change, and an answer is kept
// only if the ingesters had no row to add to it. Whether that still holds, and which segments there are now,
// a querier says before a kept answer is used. So nothing has to be removed when rows come late, segments
// are merged or deleted: the old answers are not asked for any more.
//
// Of log queries only that a piece has no entry is kept.

// answers are kept in a cache. The zero value keeps none.
type answers struct {
	cache cache.Cache
}

// get returns the answers of keys, nil for those that are not there.
func (a answers) get(ctx context.Context, keys []string) []*logql.Partial {
	short := make([]string, len(keys))
	for i, k := range keys {
		short[i] = shortKey(k)
	}
	found := make([]*logql.Partial, len(keys))
	for i, data := range a.cache.Get(ctx, short...) {
		if data != nil {
			found[i] = decodeAnswer(keys[i], data)
		}
	}
	return found
}

// set keeps an answer.
func (a answers) set(ctx context.Context, key string, part *logql.Partial) {
	if data := encodeAnswer(key, part); data != nil {
		a.cache.Set(ctx, shortKey(key), data)
	}
}

func shortKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// encodeAnswer returns a checksum of the rest, the key and the partial without what it has cost.
func encodeAnswer(key string, part *logql.Partial) []byte {
	body, err := part.WithoutStats().MarshalBinary()
	if err != nil {
		return nil
	}
	data := make([]byte, 8, 8+binary.MaxVarintLen64+len(key)+len(body))
	data = binary.AppendUvarint(data, uint64(len(key)))
	data = append(append(data, key...), body...)
	binary.LittleEndian.PutUint64(data, xxhash.Sum64(data[8:]))
	return data
}

// decodeAnswer returns what encodeAnswer was given, nil if it is damaged or another key's.
func decodeAnswer(key string, data []byte) *logql.Partial {
	if len(data) < 8 || binary.LittleEndian.Uint64(data) != xxhash.Sum64(data[8:]) {
		return nil
	}
	data = data[8:]
	n, size := binary.Uvarint(data)
	if size <= 0 || n != uint64(len(key)) || !bytes.HasPrefix(data[size:], []byte(key)) {
		return nil
	}
	p := new(logql.Partial)
	if p.UnmarshalBinary(data[size+len(key):]) != nil {
		return nil
	}
	return p
}
