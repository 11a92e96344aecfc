package ingester

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/loki/logql"
)

// TestFullFileSystem fills a real file system.
func TestFullFileSystem(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs to mount a tmpfs: only root can")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	st := newMemStore()
	cfg := Config{Dir: filepath.Join(dir, "wal"), RetryWrite: time.Nanosecond, WALFileSize: 64 << 10}
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenantCtx(t, "a")
	var mu sync.Mutex
	acked := map[string]bool{}
	fill := func(round string) (full bool) {
		var wg sync.WaitGroup
		var stopped atomic.Bool
		for p := range 3 {
			wg.Go(func() {
				for n := 0; n < 400 && !stopped.Load(); n++ {
					line := fmt.Sprintf("%s-%d-%d ", round, p, n)
					for range 60 {
						line += fmt.Sprintf("%x", rand.Uint64())
					}
					switch err := i.Push(ctx, &PushRequest{Streams: []Stream{stream1(ls("p", fmt.Sprint(p)), entry(int64(n), line))}}); {
					case err == nil:
						mu.Lock()
						acked[line] = true
						mu.Unlock()
					case errors.Is(err, ErrDiskFull):
						stopped.Store(true)
					default:
						t.Errorf("push: %v", err)
					}
				}
			})
		}
		wg.Wait()
		return stopped.Load()
	}
	check := func(when string) {
		t.Helper()
		rows, err := readAll(ctx, i, st, logql.Forward)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for r, times := range rows {
			if f := strings.SplitN(r, " ", 3); acked[f[2]] && times == 1 {
				n++
			}
		}
		if n != len(acked) {
			t.Errorf("%s: %d of %d acknowledged entries found", when, n, len(acked))
		}
	}
	if !fill("a") {
		t.Fatal("the disk did not fill up")
	}
	check("full")
	// Cutting what is there makes room.
	if err := i.Flush(ctx, ""); err != nil {
		t.Fatal(err)
	}
	if !fill("b") {
		t.Fatal("the disk did not fill up again")
	}
	check("full again")
	stop(t, i)
	i, err = tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatalf("start on a full disk: %v", err)
	}
	check("restarted")
	if err := i.Flush(ctx, ""); err != nil {
		t.Fatal(err)
	}
	push(t, i, "a", stream1(ls("p", "last"), entry(1, "x")))
	stop(t, i)
}
