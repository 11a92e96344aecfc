package cache

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/cespare/xxhash/v2"
)

// Sealed keeps values in a Cache under keys of any length and content. What comes out was put in under that very key:
// a value carries its key and a checksum, so one that is damaged, or whose short key another one has too, is none.
type Sealed struct{ Cache Cache }

// Get returns the values of keys, nil for those that are not there. The values must not be changed.
func (s Sealed) Get(ctx context.Context, keys ...string) [][]byte {
	short := make([]string, len(keys))
	for i, k := range keys {
		short[i] = shortKey(k)
	}
	values := make([][]byte, len(keys))
	for i, data := range s.Cache.Get(ctx, short...) {
		if data != nil {
			values[i] = open(keys[i], data)
		}
	}
	return values
}

// Set keeps a copy of a value.
func (s Sealed) Set(ctx context.Context, key string, value []byte) {
	s.Cache.Set(ctx, shortKey(key), seal(key, value))
}

func shortKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:16])
}

// seal returns a checksum of the rest, the key and the value.
func seal(key string, value []byte) []byte {
	data := make([]byte, 8, 8+binary.MaxVarintLen64+len(key)+len(value))
	data = binary.AppendUvarint(data, uint64(len(key)))
	data = append(append(data, key...), value...)
	binary.LittleEndian.PutUint64(data, xxhash.Sum64(data[8:]))
	return data
}

// open returns the value that seal was given, nil if it is damaged or another key's.
func open(key string, data []byte) []byte {
	if len(data) < 8 || binary.LittleEndian.Uint64(data) != xxhash.Sum64(data[8:]) {
		return nil
	}
	data = data[8:]
	n, size := binary.Uvarint(data)
	if size <= 0 || n != uint64(len(key)) || !bytes.HasPrefix(data[size:], []byte(key)) {
		return nil
	}
	return data[size+len(key) : len(data) : len(data)]
}

// None returns a cache that keeps nothing.
func None() Cache { return none{} }

type none struct{}

// Get implements Cache.
func (none) Get(_ context.Context, keys ...string) [][]byte { return make([][]byte, len(keys)) }

// Set implements Cache.
func (none) Set(context.Context, string, []byte) {}
