package store

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/thanos-io/objstore"
)

// readAheadBytes is how much is fetched at once for who reads a segment from one end to the other.
const readAheadBytes = 1 << 20

// readAhead answers small reads of an object from larger ones: two stretches, as pages and their times
// lie in different places.
type readAhead struct {
	objstore.BucketReader
	size int64

	mu     sync.Mutex
	blocks [2]readBlock
	next   int
}

type readBlock struct {
	off  int64
	data []byte
}

func newReadAhead(b objstore.BucketReader, size int64) *readAhead {
	return &readAhead{BucketReader: b, size: size}
}

// GetRange implements objstore.BucketReader.
func (r *readAhead) GetRange(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if n > readAheadBytes/2 {
		return r.BucketReader.GetRange(ctx, name, off, n)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.blocks {
		if b.off <= off && off+n <= b.off+int64(len(b.data)) {
			return io.NopCloser(bytes.NewReader(b.data[off-b.off:][:n])), nil
		}
	}
	want := min(readAheadBytes, r.size-off)
	if want < n {
		return r.BucketReader.GetRange(ctx, name, off, n)
	}
	rc, err := r.BucketReader.GetRange(ctx, name, off, want)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(rc)
	// A new slice each time: readers of the old one may not be at its end.
	data := make([]byte, want)
	k, err := io.ReadFull(rc, data)
	if err != nil && int64(k) < n {
		return nil, err
	}
	r.blocks[r.next] = readBlock{off, data[:k]}
	r.next = 1 - r.next
	return io.NopCloser(bytes.NewReader(data[:n])), nil
}
