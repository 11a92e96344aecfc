package program

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	idleCheck = 5 * time.Second
	idleAfter = 10 // checks in a row that found little done: by then the store has dropped its cache
	idleBytes = 16 << 20
)

// releaseWhenIdle gives memory back to the system when the process has had nothing to do for a while, until ctx is
// done. The garbage collector runs when as much has been allocated as is in use, so after a burst of queries nothing
// would make it run.
func releaseWhenIdle(ctx context.Context, check time.Duration, release func()) {
	ticker := time.NewTicker(check)
	defer ticker.Stop()
	var w idleWatch
	w.allocated = allocatedBytes()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if w.idle(allocatedBytes()) {
			release()
		}
	}
}

// releaseMemory frees what nobody uses, pools included: these give up what was idle for two collections.
func releaseMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}

// idleWatch tells when a process becomes idle.
type idleWatch struct {
	allocated uint64 // when looked at last
	quiet     int    // checks in a row
	busy      bool   // since it was idle last
}

// idle takes how much has been allocated in all, and tells once after a busy time that the process has become idle.
func (w *idleWatch) idle(allocated uint64) bool {
	quiet := allocated-w.allocated < idleBytes
	w.allocated = allocated
	if !quiet {
		w.quiet, w.busy = 0, true
		return false
	}
	w.quiet++
	if w.quiet < idleAfter || !w.busy {
		return false
	}
	w.busy = false
	return true
}

func allocatedBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
