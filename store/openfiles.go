package store

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/thanos-io/objstore"
)

const (
	// maxOpenFiles bounds how many segments are kept open.
	maxOpenFiles = 256

	// openFileIdle is how long a segment is kept open that nobody reads; a quarter of it may be added. The disk that a
	// deleted one takes is free only then.
	openFileIdle = 20 * time.Second
)

// fileOpener is a bucket whose objects are files that may be deleted while they are open.
type fileOpener interface {
	// openFile opens the file of an object for reading.
	openFile(name string) (*os.File, error)
}

// openFiles reads parts of objects that are files, which it keeps open for a while: to open and close a file takes longer than
// to read a column. It is safe for concurrent use.
type openFiles struct {
	objstore.BucketReader
	bucket fileOpener
	open   *cache[string, *os.File]
}

// newOpenFiles returns nil if the objects of the bucket are no files. Other reads than those of parts go to reader.
func newOpenFiles(b objstore.Bucket, reader objstore.BucketReader, hits, misses prometheus.Counter) *openFiles {
	f, ok := b.(fileOpener)
	if !ok || !deletesOpen {
		return nil
	}
	return &openFiles{
		BucketReader: reader, bucket: f,
		open: newCache[string](maxOpenFiles, func(f *os.File) { closeQuietly(f) }, hits, misses),
	}
}

// readAt fills dst with what an object has from off on. If it ends too early, the error is io.EOF.
func (o *openFiles) readAt(ctx context.Context, name string, dst []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	h, err := o.open.get(ctx, name, func() (*os.File, int64, error) {
		f, err := o.bucket.openFile(name)
		return f, 1, err
	})
	if err != nil {
		return 0, err
	}
	defer h.release()
	n, err := h.val.ReadAt(dst, off)
	if err != nil && err != io.EOF {
		o.forget(name)
	}
	return n, err
}

// forget has an object opened anew when it is read again.
func (o *openFiles) forget(name string) {
	if o != nil {
		o.open.forget(name)
	}
}

// age closes files that have not been read for a while. It is called at intervals.
func (o *openFiles) age() { o.open.freeAll(o.open.age()) }

// close closes all files that are not being read.
func (o *openFiles) close() {
	if o != nil {
		o.open.purge()
	}
}
