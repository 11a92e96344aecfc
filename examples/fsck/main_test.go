package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/dskit/services"

	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

func TestFsck(t *testing.T) {
	dir := t.TempDir()
	bucket, err := store.NewFilesystemBucket(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := store.New(store.Config{}, bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	if err := services.StartAndAwaitRunning(ctx, st); err != nil {
		t.Fatal(err)
	}
	storetest.Put(t, storetest.Tenant("a"), st, storetest.ID(1), storetest.Generate(1, 10, 50))
	storetest.Put(t, storetest.Tenant("a"), st, storetest.ID(2), storetest.Generate(2, 10, 50))
	if err := services.StopAndAwaitTerminated(ctx, st); err != nil {
		t.Fatal(err)
	}
	check := func(want int, text string, args ...string) {
		t.Helper()
		var out, errOut strings.Builder
		if code := run(ctx, append(args, dir), &out, &errOut); code != want || !strings.Contains(out.String(), text) {
			t.Errorf("%v: code %d, want %d with %q; printed:\n%s%s", args, code, want, text, out.String(), errOut.String())
		}
	}
	check(0, "2 objects: 2 segments with 1000 rows", "-checksums")
	path := filepath.Join(dir, filepath.FromSlash(store.SegmentPath("a", storetest.ID(2))))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data[100] ^= 1
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	check(0, "2 segments")
	check(1, "PROBLEM "+store.SegmentPath("a", storetest.ID(2)), "-checksums")
	if err := os.WriteFile(filepath.Join(dir, "stray"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	check(1, "PROBLEM stray", "-v")
	if code := run(ctx, nil, &strings.Builder{}, &strings.Builder{}); code != 2 {
		t.Errorf("no folder: code %d", code)
	}
}
