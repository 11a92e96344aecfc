package ingester

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"example.com/loki/ingester/internal/logfile"
	"example.com/loki/logql"
)

// testDisk is a disk that fails when told to.
type testDisk struct {
	room     atomic.Int64 // bytes that can be written; negative: no limit
	failSync atomic.Bool
}

type testFile struct {
	logfile.File
	disk *testDisk
}

func (d *testDisk) create(path string) (logfile.File, error) {
	f, err := logfile.CreateFile(path)
	return &testFile{f, d}, err
}

func (f *testFile) Write(p []byte) (int, error) {
	room := f.disk.room.Load()
	if room >= 0 {
		n := min(room, int64(len(p)))
		f.disk.room.Store(room - n)
		if n < int64(len(p)) {
			k, _ := f.File.Write(p[:n])
			return k, syscall.ENOSPC
		}
	}
	return f.File.Write(p)
}

func (f *testFile) Sync() error {
	if f.disk.failSync.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

func TestFullDisk(t *testing.T) {
	dir, disk := t.TempDir(), &testDisk{}
	disk.room.Store(-1)
	st := newMemStore()
	cfg := Config{Dir: dir, create: disk.create, RetryWrite: time.Nanosecond, WALFileSize: 4 << 10}
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenantCtx(t, "a")
	var acked []string
	try := func(n int) error {
		err := i.Push(ctx, &PushRequest{Streams: []Stream{stream1(ls("n", fmt.Sprint(n%3)), entry(int64(n), fmt.Sprintf("line %d %d", n, rand.Uint64()), "m", fmt.Sprint(n)))}})
		return err
	}
	failed := 0
	for n := range 120 {
		switch n % 10 {
		case 3:
			disk.room.Store(int64(rand.IntN(60)))
		case 6:
			disk.room.Store(-1)
			disk.failSync.Store(true)
		case 8:
			disk.failSync.Store(false)
		}
		switch err := try(n); {
		case err == nil:
			acked = append(acked, fmt.Sprint(n))
		case n%10 < 6 && !errors.Is(err, ErrDiskFull), n%10 >= 6 && !errors.Is(err, ErrWriteLog):
			t.Errorf("push %d: %v", n, err)
		default:
			failed++
		}
	}
	if failed < 20 || len(acked) < 40 {
		t.Errorf("%d pushes failed, %d were acknowledged", failed, len(acked))
	}
	check := func(when string) {
		t.Helper()
		var got []string
		rows, err := readAll(ctx, i, st, logql.Forward)
		if err != nil {
			t.Fatal(err)
		}
		for r := range rows {
			got = append(got, strings.Fields(r)[1])
		}
		slices.Sort(got)
		want := slices.Clone(acked)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", when, got, want)
		}
	}
	check("before the restart")
	if n := testutil.ToFloat64(i.metrics.walDiskFull); n == 0 {
		t.Error("a full disk was not counted")
	}
	if n := i.memory.Load(); n <= 0 {
		t.Errorf("memory is %d", n)
	}
	stop(t, i)
	i, err = tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	check("after the restart")
	stop(t, i)
}

// TestRetryWrite checks that a full disk is not hammered, and that pushes resume by themselves.
func TestRetryWrite(t *testing.T) {
	disk := &testDisk{}
	var now atomic.Int64
	i := start(t, Config{create: disk.create, RetryWrite: time.Second, Now: func() time.Time { return time.Unix(0, now.Load()) }}, newMemStore())
	ctx := tenantCtx(t, "a")
	req := &PushRequest{Streams: []Stream{stream1(ls("a", "b"), entry(1, "x"))}}
	for range 5 {
		if err := i.Push(ctx, req); !errors.Is(err, ErrDiskFull) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("got %v", err)
		}
	}
	if n := testutil.ToFloat64(i.metrics.walWriteFailures); n != 1 {
		t.Errorf("%v attempts to write within a second, want 1", n)
	}
	disk.room.Store(-1)
	if err := i.Push(ctx, req); !errors.Is(err, ErrDiskFull) {
		t.Errorf("got %v", err)
	}
	now.Add(int64(time.Second))
	push(t, i, "a", req.Streams...)
	want(t, read(t, ctx, i, everything()), `{a="b"} 1 x`)
}

// TestInterval checks that a failed sync in the background is seen and survived.
func TestInterval(t *testing.T) {
	disk := &testDisk{}
	disk.room.Store(-1)
	dir, st := t.TempDir(), newMemStore()
	cfg := Config{Dir: dir, create: disk.create, Sync: SyncInterval, SyncEvery: time.Millisecond}
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	disk.failSync.Store(true)
	deadline, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	n := 0
	for ; testutil.ToFloat64(i.metrics.walWriteFailures) < 3; n++ {
		if deadline.Err() != nil {
			t.Fatal("no failed sync was counted")
		}
		push(t, i, "a", stream1(ls("a", "b"), entry(int64(n), "x", "m", "v")))
	}
	disk.failSync.Store(false)
	push(t, i, "a", stream1(ls("a", "b"), entry(int64(n), "x", "m", "v")))
	stop(t, i)
	i, err = tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, tenantCtx(t, "a"), i, everything()); len(got) != n+1 {
		t.Errorf("%d rows, want %d", len(got), n+1)
	}
	stop(t, i)
}
