package program

import (
	"context"
	"testing"
	"time"
)

func TestIdleWatch(t *testing.T) {
	var w idleWatch
	var allocated uint64
	// checks looks n times, and returns at which of them the process became idle.
	checks := func(n int, each uint64) (at []int) {
		for i := range n {
			allocated += each
			if w.idle(allocated) {
				at = append(at, i+1)
			}
		}
		return at
	}
	if at := checks(3*idleAfter, 1); at != nil {
		t.Errorf("idle at %v though it was never busy", at)
	}
	checks(1, idleBytes)
	checks(idleAfter-1, idleBytes-1)
	checks(1, idleBytes)
	if at := checks(3*idleAfter, idleBytes-1); len(at) != 1 || at[0] != idleAfter {
		t.Errorf("idle at %v, want once at %d", at, idleAfter)
	}
	checks(1, idleBytes)
	if at := checks(idleAfter, 0); len(at) != 1 {
		t.Errorf("idle at %v after it was busy again, want once", at)
	}
}

// TestReleaseWhenIdle: it notices what the process allocates.
func TestReleaseWhenIdle(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	released := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		releaseWhenIdle(ctx, time.Millisecond, func() { released <- struct{}{} })
	}()
	deadline := time.After(time.Minute)
	work := time.NewTicker(100 * time.Millisecond)
	defer work.Stop()
	for waiting := true; waiting; {
		sink = make([]byte, 2*idleBytes)
		select {
		case <-released:
			waiting = false
		case <-work.C:
		case <-deadline:
			t.Fatal("memory is not released")
		}
	}
	stop()
	<-done
}

var sink []byte
