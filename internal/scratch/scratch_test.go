package scratch

import (
	"io"
	"os"
	"runtime"
	"testing"

	"github.com/thanos-io/objstore"
)

func TestNothingIsLeft(t *testing.T) {
	dir := t.TempDir()
	left := func() int {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(files)
	}
	f, err := Create(dir, "x-*.tmp")
	if err != nil {
		t.Fatal(err)
	}
	if n := left(); n != 0 && runtime.GOOS != "windows" {
		t.Errorf("%d files would be left by a process that is killed now", n)
	}
	if _, err := f.WriteString("abc"); err != nil {
		t.Fatal(err)
	}
	if n, err := objstore.TryToGetSize(f); n != 3 || err != nil {
		t.Errorf("an upload is told that it has %d bytes, %v", n, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(f); err != nil || string(data) != "abc" {
		t.Errorf("read %q, %v", data, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if n := left(); n != 0 {
		t.Errorf("%d files are left", n)
	}
	if _, err := Create(dir+"/none", "x"); err == nil {
		t.Error("a file in a folder that is not there")
	}
}
