package store_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki/store"
)

func TestFilesystemBucket(t *testing.T) {
	dir := t.TempDir()
	b := filesystem(t, dir)
	ctx := context.Background()
	put := func(name, content string) {
		t.Helper()
		if err := b.Upload(ctx, name, strings.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	get := func(r io.ReadCloser, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	put("a/b/1", "hello world")
	put("a/b/2", "two")
	put("a/c", "three")
	put("a/c", "three again")
	if got := get(b.Get(ctx, "a/b/1")); got != "hello world" {
		t.Errorf("Get = %q", got)
	}
	for _, test := range []struct {
		off, n int64
		want   string
	}{{0, 5, "hello"}, {6, 5, "world"}, {6, 100, "world"}, {6, -1, "world"}, {100, 5, ""}} {
		if got := get(b.GetRange(ctx, "a/b/1", test.off, test.n)); got != test.want {
			t.Errorf("GetRange(%d, %d) = %q, want %q", test.off, test.n, got, test.want)
		}
	}
	list := func(dir string, opts ...objstore.IterOption) (names []string) {
		t.Helper()
		if err := b.Iter(ctx, dir, func(n string) error { names = append(names, n); return nil }, opts...); err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, test := range []struct {
		got, want []string
	}{
		{list(""), []string{"a/"}},
		{list("a"), []string{"a/b/", "a/c"}},
		{list("a/"), []string{"a/b/", "a/c"}},
		{list("", objstore.WithRecursiveIter()), []string{"a/b/1", "a/b/2", "a/c"}},
		{list("nothing"), nil},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("Iter = %q, want %q", test.got, test.want)
		}
	}
	attrs, err := b.Attributes(ctx, "a/c")
	if err != nil || attrs.Size != 11 || time.Since(attrs.LastModified) > time.Minute {
		t.Errorf("Attributes = %+v, %v", attrs, err)
	}
	for name, want := range map[string]bool{"a/c": true, "a": false, "a/b": false, "x": false} {
		if got, err := b.Exists(ctx, name); got != want || err != nil {
			t.Errorf("Exists(%s) = %v, %v", name, got, err)
		}
	}
	if _, err := b.Get(ctx, "x"); !b.IsObjNotFoundErr(err) {
		t.Errorf("Get of nothing: %v", err)
	}
	if err := b.Delete(ctx, "x"); !b.IsObjNotFoundErr(err) {
		t.Errorf("Delete of nothing: %v", err)
	}
	for _, name := range []string{"a/b/1", "a/b/2", "a/c"} {
		if err := b.Delete(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if got := list("", objstore.WithRecursiveIter()); got != nil {
		t.Errorf("after all is deleted: %q", got)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("folders left: %v, %v", files, err)
	}
}

func TestFilesystemBucketNames(t *testing.T) {
	dir := t.TempDir()
	b := filesystem(t, filepath.Join(dir, "bucket"))
	for _, name := range []string{"", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/./b", ".aside/x", ".aside", `a\..\x`} {
		if err := b.Upload(t.Context(), name, strings.NewReader("x")); err == nil {
			t.Errorf("Upload(%q) works", name)
		}
		if r, err := b.Get(t.Context(), name); err == nil {
			r.Close()
			t.Errorf("Get(%q) works", name)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("beside the bucket: %v, %v", files, err)
	}
}

type brokenReader struct{ n int }

func (r *brokenReader) Read(p []byte) (int, error) {
	if r.n--; r.n < 0 {
		return 0, errors.New("broken")
	}
	return len(p), nil
}

// TestUploadIsAtomic checks that an upload that fails leaves the object as it was, and nothing else.
func TestUploadIsAtomic(t *testing.T) {
	dir := t.TempDir()
	b := filesystem(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	if err := b.Upload(ctx, "x", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	if err := b.Upload(ctx, "x", &brokenReader{3}); err == nil {
		t.Error("Upload from a broken reader works")
	}
	cancel()
	if err := b.Upload(ctx, "x", bytes.NewReader(make([]byte, 1<<20))); !errors.Is(err, context.Canceled) {
		t.Errorf("Upload after cancel: %v", err)
	}
	if data, err := os.ReadFile(filepath.Join(dir, "x")); err != nil || string(data) != "old" {
		t.Errorf("object is %q, %v", data, err)
	}
	if files, err := os.ReadDir(filepath.Join(dir, ".aside")); err != nil || len(files) != 0 {
		t.Errorf("left aside: %v, %v", files, err)
	}
}

func TestFilesystemBucketStart(t *testing.T) {
	dir := t.TempDir()
	filesystem(t, dir)
	old, fresh := filepath.Join(dir, ".aside", "upload-1"), filepath.Join(dir, ".aside", "upload-2")
	for _, f := range []string{old, fresh} {
		if err := os.WriteFile(f, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	then := time.Now().Add(-2 * time.Hour)
	if err := os.Chtimes(old, then, then); err != nil {
		t.Fatal(err)
	}
	filesystem(t, dir)
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old unfinished upload is still there: %v", err)
	}
	if _, err := os.Stat(fresh); err != nil {
		t.Errorf("an upload of another process was removed: %v", err)
	}

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := store.NewFilesystemBucket(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("bucket on a file: %v", err)
	}
	if runtime.GOOS != "windows" && os.Geteuid() != 0 {
		locked := t.TempDir()
		if err := os.Chmod(locked, 0o555); err != nil {
			t.Fatal(err)
		}
		if _, err := store.NewFilesystemBucket(locked); !errors.Is(err, os.ErrPermission) {
			t.Errorf("bucket in a folder that can't be written to: %v", err)
		}
	}
}
