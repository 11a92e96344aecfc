package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/thanos-io/objstore"
)

// TestOpenFiles: a file is opened once, and closed when nobody has read it for a while or its name stands for another one.
func TestOpenFiles(t *testing.T) {
	if !deletesOpen {
		t.Skip("files are not kept open here")
	}
	dir := t.TempDir()
	b, err := NewFilesystemBucket(dir)
	if err != nil {
		t.Fatal(err)
	}
	upload := func(text string) {
		t.Helper()
		if err := b.Upload(t.Context(), "a/b", strings.NewReader(text)); err != nil {
			t.Fatal(err)
		}
	}
	o := newOpenFiles(b, b, nopCounter(), nopCounter())
	defer o.close()
	want := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		if n, err := o.readAt(t.Context(), "a/b", got, 1); err != nil || string(got) != want {
			t.Errorf("read %q of %d bytes, %v; want %q", got, n, err, want)
		}
	}
	upload("0first")
	want("first")
	held, err := o.open.get(t.Context(), "a/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	upload("0other")
	want("first")
	o.forget("a/b")
	want("other")
	if _, err := held.val.Stat(); err != nil {
		t.Errorf("a file in use is closed: %v", err)
	}
	held.release()
	if _, err := held.val.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that nobody uses any more is open: %v", err)
	}

	if n, err := o.readAt(t.Context(), "a/b", make([]byte, 9), 1); n != 5 || err != io.EOF {
		t.Errorf("read %d bytes behind the end, %v", n, err)
	}
	if _, err := o.readAt(t.Context(), "a/c", make([]byte, 1), 0); !errors.Is(err, fs.ErrNotExist) || !b.IsObjNotFoundErr(err) {
		t.Errorf("read what is not there: %v", err)
	}

	if err := os.Remove(filepath.Join(dir, "a", "b")); err != nil {
		t.Fatal(err)
	}
	want("other")
	last, err := o.open.get(t.Context(), "a/b", nil)
	if err != nil {
		t.Fatal(err)
	}
	last.release()
	for range idleTicks + 1 {
		o.age()
	}
	if _, err := last.val.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that nobody has read for long is open: %v", err)
	}
	if n, _ := o.open.stats(); n != 0 {
		t.Errorf("%d files are open", n)
	}
}

// TestOpenFilesElsewhere: objects of other buckets are no files.
func TestOpenFilesElsewhere(t *testing.T) {
	if o := newOpenFiles(objstore.NewInMemBucket(), nil, nopCounter(), nopCounter()); o != nil {
		t.Error("objects in memory are files")
	}
}
