package ingester

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// TestStopDuringPushes stops an ingester that is pushed to and read from: each push is either acknowledged, and
// there after a restart, or refused with ErrNotReady, and not there.
func TestStopDuringPushes(t *testing.T) {
	st, cfg := newMemStore(), Config{Dir: t.TempDir(), Sync: SyncNever}
	i, err := tryStart(t, cfg, st, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := tenantCtx(t, "a")
	var acked atomic.Int64
	var wg sync.WaitGroup
	enough := make(chan struct{})
	for p := range 3 {
		wg.Go(func() {
			for n := 0; ; n++ {
				err := i.Push(ctx, &PushRequest{Streams: []Stream{stream1(ls("p", fmt.Sprint(p)), entry(int64(n), "x"))}})
				if errors.Is(err, ErrNotReady) {
					return
				}
				if err != nil {
					t.Errorf("push: %v", err)
					return
				}
				if acked.Add(1) == 500 {
					close(enough)
				}
			}
		})
	}
	wg.Go(func() {
		for {
			if _, err := tryRead(ctx, i, everything()); err != nil {
				if !errors.Is(err, ErrNotReady) {
					t.Errorf("select: %v", err)
				}
				return
			}
		}
	})
	<-enough
	stop(t, i)
	wg.Wait()
	i = start(t, cfg, st)
	if got := read(t, ctx, i, everything()); int64(len(got)) != acked.Load() {
		t.Errorf("%d rows after the restart, %d were acknowledged", len(got), acked.Load())
	}
}
