package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/grafana/dskit/backoff"
	"github.com/minio/minio-go/v7"
	"github.com/thanos-io/objstore"

	"example.com/loki/internal/scratch"
	"example.com/loki/store"
)

// repeat runs op until it works, fails for good, or was repeated often enough.
func (b *Bucket) repeat(ctx context.Context, op func() error) error {
	tries := max(b.cfg.Retries, 0) + 1
	pause := backoff.New(ctx, backoff.Config{MinBackoff: b.cfg.MinPause, MaxBackoff: b.cfg.MaxPause, MaxRetries: tries})
	for {
		err := op()
		if err == nil || !passing(ctx, err) {
			return err
		}
		if tries--; tries == 0 {
			return failed(err)
		}
		if pause.Wait(); ctx.Err() != nil {
			return err
		}
		b.retries.Inc()
	}
}

// failed is the error of a request that failed to the last.
func failed(err error) error { return fmt.Errorf("s3: %w: %w", store.ErrUnavailable, err) }

// passing tells whether an error may be gone when the request is repeated.
func passing(ctx context.Context, err error) bool {
	if ctx.Err() != nil || errors.Is(err, ErrUnavailable) {
		return false
	}
	var answer minio.ErrorResponse
	if errors.As(err, &answer) && answer.StatusCode != 0 {
		return answer.StatusCode >= 500 || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed)
}

// Iter implements objstore.Bucket. f is called only when the list is complete.
func (b *Bucket) Iter(ctx context.Context, dir string, f func(string) error, options ...objstore.IterOption) error {
	return b.IterWithAttributes(ctx, dir, func(a objstore.IterObjectAttributes) error { return f(a.Name) }, options...)
}

// IterWithAttributes implements objstore.Bucket. f is called only when the list is complete.
func (b *Bucket) IterWithAttributes(ctx context.Context, dir string, f func(objstore.IterObjectAttributes) error, options ...objstore.IterOption) error {
	var list []objstore.IterObjectAttributes
	err := b.repeat(ctx, func() error {
		list = list[:0]
		return b.Bucket.IterWithAttributes(ctx, dir, func(a objstore.IterObjectAttributes) error {
			list = append(list, a)
			return nil
		}, options...)
	})
	if err != nil {
		return err
	}
	for _, a := range list {
		if err := f(a); err != nil {
			return err
		}
	}
	return nil
}

// Exists implements objstore.Bucket.
func (b *Bucket) Exists(ctx context.Context, name string) (found bool, err error) {
	err = b.repeat(ctx, func() error {
		found, err = b.Bucket.Exists(ctx, name)
		return err
	})
	return found, err
}

// Attributes implements objstore.Bucket.
func (b *Bucket) Attributes(ctx context.Context, name string) (a objstore.ObjectAttributes, err error) {
	err = b.repeat(ctx, func() error {
		a, err = b.Bucket.Attributes(ctx, name)
		return err
	})
	return a, err
}

// Delete implements objstore.Bucket.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return b.repeat(ctx, func() error { return b.Bucket.Delete(ctx, name) })
}

// inMemory is the size up to which an upload is kept in memory, so that it can be repeated.
const inMemory = 32 << 20

// Upload implements objstore.Bucket. An object appears when it is complete.
func (b *Bucket) Upload(ctx context.Context, name string, r io.Reader, options ...objstore.ObjectUploadOption) (err error) {
	body, done, err := rewindable(r)
	if err != nil {
		return fmt.Errorf("s3: upload %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, done()) }()
	return b.repeat(ctx, func() error {
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return err
		}
		return b.Bucket.Upload(ctx, name, body, options...)
	})
}

// rewindable returns what r holds as a reader that can be read again. The function must be called when
// it is no longer needed.
func rewindable(r io.Reader) (io.ReadSeeker, func() error, error) {
	nothing := func() error { return nil }
	var mem bytes.Buffer
	if size, err := objstore.TryToGetSize(r); err == nil && size <= inMemory {
		mem.Grow(int(size) + bytes.MinRead)
	}
	if _, err := io.CopyN(&mem, r, inMemory); errors.Is(err, io.EOF) {
		return bytes.NewReader(mem.Bytes()), nothing, nil
	} else if err != nil {
		return nil, nothing, err
	}
	f, err := scratch.Create("", "upload-*.tmp")
	if err != nil {
		return nil, nothing, err
	}
	if _, err := io.Copy(f, io.MultiReader(&mem, r)); err != nil {
		return nil, nothing, errors.Join(err, f.Close())
	}
	return f, f.Close, nil
}

// Get implements objstore.Bucket.
func (b *Bucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	r := &reader{ctx: ctx, b: b, name: name, off: off, left: length, tries: max(b.cfg.Retries, 0)}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// reader reads a range and goes on after an interruption.
type reader struct {
	ctx   context.Context
	b     *Bucket
	name  string
	off   int64
	left  int64 // negative: to the end
	tries int
	body  io.ReadCloser
}

func (r *reader) open() error {
	return r.b.repeat(r.ctx, func() (err error) {
		r.body, err = r.b.Bucket.GetRange(r.ctx, r.name, r.off, r.left)
		return err
	})
}

// ObjectSize tells the size to those who ask before they read.
func (r *reader) ObjectSize() (int64, error) { return objstore.TryToGetSize(r.body) }

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.left == 0 {
			return 0, io.EOF
		}
		n, err := r.body.Read(p)
		r.off += int64(n)
		if r.left > 0 {
			r.left -= int64(n)
		}
		if n > 0 && err != nil && !errors.Is(err, io.EOF) {
			err = nil // the next call meets it again
		}
		if errors.Is(err, io.EOF) && r.left > 0 && n == 0 {
			return 0, io.EOF // the object ends before the range
		}
		if n > 0 || err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		if !passing(r.ctx, err) {
			return 0, err
		}
		if r.tries == 0 {
			return 0, failed(err)
		}
		r.tries--
		r.b.retries.Inc()
		_ = r.body.Close() // it is broken
		if err := r.open(); err != nil {
			return 0, err
		}
	}
}

func (r *reader) Close() error { return r.body.Close() }
