package store

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLeftoversGoLater: what was too young to be told from an upload under way when the bucket was opened goes with an
// upload later.
func TestLeftoversGoLater(t *testing.T) {
	dir := t.TempDir()
	b, err := NewFilesystemBucket(dir)
	if err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, asideDir, "upload-1")
	if err := os.WriteFile(left, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-2 * leftoverAge)
	if err := os.Chtimes(left, then, then); err != nil {
		t.Fatal(err)
	}
	upload := func() {
		t.Helper()
		if err := b.Upload(t.Context(), "x", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	upload()
	if _, err := os.Stat(left); err != nil {
		t.Errorf("each upload looks for them: %v", err)
	}
	b.swept.Store(then.UnixNano())
	upload()
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an old unfinished upload is still there: %v", err)
	}
}

// TestSpoolLeavesNothing even if the process is killed while it writes a segment.
func TestSpoolLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	s := &spool{limit: 10, dir: dir}
	if _, err := s.Write(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	if len(files) != 0 && os.PathSeparator == '/' {
		t.Errorf("there is %s", files[0].Name())
	}
}
