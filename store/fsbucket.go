package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thanos-io/objstore"
)

// FilesystemBucket keeps objects as files under a directory. Unlike objstore's own, it survives a
// crash at any moment: an object is there whole or not at all, and once Upload has returned it stays,
// even if the power fails (on systems other than Windows; there the directory can't be synced).
//
// It is safe for concurrent use by several processes.
type FilesystemBucket struct {
	dir string

	swept atomic.Int64 // when old files of uploads that never ended were removed, nanoseconds since 1970

	// Delete removes folders that have become empty; this keeps it from doing so under an Upload.
	folders sync.RWMutex
}

var (
	_ objstore.Bucket = (*FilesystemBucket)(nil)
	_ fileOpener      = (*FilesystemBucket)(nil)
)

const (
	// asideDir is where uploads are written before they get their name. It is no object.
	asideDir = ".aside"

	// leftoverAge is when a file there belongs to nobody: long enough for the slowest upload of
	// another process.
	leftoverAge = time.Hour
)

// NewFilesystemBucket returns a bucket on a directory, which is made if it is missing. The error says
// what to do if it can't be written to. What a crash has left unfinished is removed, now or by an upload an hour later.
func NewFilesystemBucket(dir string) (*FilesystemBucket, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("store: folder for segments: %w", err)
	}
	aside := filepath.Join(abs, asideDir)
	if err := os.MkdirAll(aside, 0o777); err != nil {
		return nil, fmt.Errorf("store: folder for segments can't be made: %w", err)
	}
	b := &FilesystemBucket{dir: abs}
	if err := b.sweep(aside, time.Now()); err != nil {
		return nil, err
	}
	probe, err := os.CreateTemp(aside, "probe-*")
	if err != nil {
		return nil, fmt.Errorf("store: folder for segments can't be written to; check its owner and permissions: %w", err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return nil, fmt.Errorf("store: folder for segments can't be written to: %w", err)
	}
	return b, nil
}

// sweep removes old files of uploads that never ended.
func (b *FilesystemBucket) sweep(aside string, now time.Time) error {
	b.swept.Store(now.UnixNano())
	files, err := os.ReadDir(aside)
	if err != nil {
		return fmt.Errorf("store: folder for segments can't be read: %w", err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || now.Sub(info.ModTime()) < leftoverAge {
			continue
		}
		if err := os.Remove(filepath.Join(aside, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("store: remove unfinished upload: %w", err)
		}
	}
	return nil
}

// file returns where an object is.
func (b *FilesystemBucket) file(name string) (string, error) {
	local := strings.TrimSuffix(name, objstore.DirDelim)
	if !filepath.IsLocal(filepath.FromSlash(local)) || path.Clean(local) != local || strings.Contains(local, `\`) ||
		local == asideDir || strings.HasPrefix(local, asideDir+"/") {
		return "", fmt.Errorf("store: %q can't be the name of an object", name)
	}
	return filepath.Join(b.dir, filepath.FromSlash(local)), nil
}

// Provider implements objstore.Bucket.
func (b *FilesystemBucket) Provider() objstore.ObjProvider { return objstore.FILESYSTEM }

// Name implements objstore.Bucket.
func (b *FilesystemBucket) Name() string { return "fs: " + b.dir }

// Close implements objstore.Bucket. There is nothing to close.
func (b *FilesystemBucket) Close() error { return nil }

// Upload implements objstore.Bucket: it writes aside, syncs, renames and syncs the folder.
func (b *FilesystemBucket) Upload(ctx context.Context, name string, r io.Reader, _ ...objstore.ObjectUploadOption) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := b.file(name)
	if err != nil {
		return err
	}
	aside := filepath.Join(b.dir, asideDir)
	if now := time.Now(); now.UnixNano()-b.swept.Load() > int64(leftoverAge) {
		if err := b.sweep(aside, now); err != nil {
			return err
		}
	}
	f, err := os.CreateTemp(aside, "upload-*")
	if err != nil {
		return fmt.Errorf("upload %s: %w", name, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("upload %s: %w", name, err)
			_ = f.Close() // it may be closed already
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	if _, err := io.Copy(f, ctxReader{ctx, r}); err != nil {
		return err
	}
	// CreateTemp makes files that only the owner may read.
	if err := errors.Join(f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	b.folders.RLock()
	defer b.folders.RUnlock()
	if err := b.makeFolder(filepath.Dir(file)); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(file))
}

// makeFolder makes a folder and those above it durable.
func (b *FilesystemBucket) makeFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == b.dir {
		return err
	}
	if err := b.makeFolder(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(filepath.Dir(dir))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// Delete implements objstore.Bucket. Folders that have become empty go too.
func (b *FilesystemBucket) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	file, err := b.file(name)
	if err != nil {
		return err
	}
	b.folders.Lock()
	defer b.folders.Unlock()
	if err := os.Remove(file); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	dir := filepath.Dir(file)
	if err := syncFolder(dir); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	for dir != b.dir && os.Remove(dir) == nil { // fails for one that is not empty
		dir = filepath.Dir(dir)
	}
	return nil
}

// Get implements objstore.BucketReader.
func (b *FilesystemBucket) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return b.GetRange(ctx, name, 0, -1)
}

// GetRange implements objstore.BucketReader.
func (b *FilesystemBucket) GetRange(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := b.file(name)
	if err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("get %s: offset %d", name, off)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: "get", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	n := max(info.Size()-off, 0)
	if length >= 0 {
		n = min(n, length)
	}
	return objstore.ObjectSizerReadCloser{
		ReadCloser: fileRange{io.NewSectionReader(f, off, n), f},
		Size:       func() (int64, error) { return n, nil },
	}, nil
}

type fileRange struct {
	io.Reader
	io.Closer
}

// openFile implements fileOpener.
func (b *FilesystemBucket) openFile(name string) (*os.File, error) {
	file, err := b.file(name)
	if err != nil {
		return nil, err
	}
	return os.Open(file)
}

// Exists implements objstore.BucketReader.
func (b *FilesystemBucket) Exists(ctx context.Context, name string) (bool, error) {
	_, err := b.Attributes(ctx, name)
	if b.IsObjNotFoundErr(err) {
		return false, nil
	}
	return err == nil, err
}

// Attributes implements objstore.BucketReader.
func (b *FilesystemBucket) Attributes(ctx context.Context, name string) (objstore.ObjectAttributes, error) {
	if err := ctx.Err(); err != nil {
		return objstore.ObjectAttributes{}, err
	}
	file, err := b.file(name)
	if err != nil {
		return objstore.ObjectAttributes{}, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return objstore.ObjectAttributes{}, err
	}
	if info.IsDir() {
		return objstore.ObjectAttributes{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return objstore.ObjectAttributes{Size: info.Size(), LastModified: info.ModTime()}, nil
}

// IsObjNotFoundErr implements objstore.BucketReader.
func (b *FilesystemBucket) IsObjNotFoundErr(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// IsAccessDeniedErr implements objstore.BucketReader.
func (b *FilesystemBucket) IsAccessDeniedErr(err error) bool { return errors.Is(err, fs.ErrPermission) }

// SupportedIterOptions implements objstore.BucketReader.
func (b *FilesystemBucket) SupportedIterOptions() []objstore.IterOptionType {
	return []objstore.IterOptionType{objstore.Recursive, objstore.UpdatedAt}
}

// Iter implements objstore.BucketReader.
func (b *FilesystemBucket) Iter(ctx context.Context, dir string, f func(name string) error, options ...objstore.IterOption) error {
	return b.IterWithAttributes(ctx, dir, func(a objstore.IterObjectAttributes) error { return f(a.Name) }, options...)
}

// IterWithAttributes implements objstore.BucketReader.
func (b *FilesystemBucket) IterWithAttributes(ctx context.Context, dir string, f func(objstore.IterObjectAttributes) error, options ...objstore.IterOption) error {
	if err := objstore.ValidateIterOptions(b.SupportedIterOptions(), options...); err != nil {
		return err
	}
	name, local := strings.Trim(dir, objstore.DirDelim), b.dir
	if name != "" {
		var err error
		if local, err = b.file(name); err != nil {
			return err
		}
	}
	return b.iter(ctx, name, local, objstore.ApplyIterOptions(options...), f)
}

func (b *FilesystemBucket) iter(ctx context.Context, name, dir string, params objstore.IterParams, f func(objstore.IterObjectAttributes) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	files, err := os.ReadDir(dir) // sorted
	if err != nil {
		return ignoreMissing(err)
	}
	for _, file := range files {
		if name == "" && file.Name() == asideDir {
			continue
		}
		attrs := objstore.IterObjectAttributes{Name: path.Join(name, file.Name())}
		if file.IsDir() {
			sub := filepath.Join(dir, file.Name())
			if params.Recursive {
				if err := b.iter(ctx, attrs.Name, sub, params, f); err != nil {
					return err
				}
				continue
			}
			if inside, err := os.ReadDir(sub); err == nil && len(inside) == 0 {
				continue // object stores know no empty folders
			}
			attrs.Name += objstore.DirDelim
		}
		if params.LastModified {
			info, err := file.Info()
			if err != nil {
				if errors.Is(err, fs.ErrNotExist) {
					continue // deleted since
				}
				return err
			}
			attrs.SetLastModified(info.ModTime())
		}
		if err := f(attrs); err != nil {
			return err
		}
	}
	return nil
}
