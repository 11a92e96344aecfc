package program

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// Most of the heap is bytes of lines, which cost the garbage collector nothing to pass over: it may run
	// more often for less memory. So no more than this may be garbage, in percent of what is in use, …
	mostGarbage = 50
	// … nor more bytes than this, as long as that is leastGarbage percent. A collection with the heads of an ingester
	// full takes some 15 ms of processor time.
	garbageBytes = 96 << 20
	leastGarbage = 20

	collectorCheck = time.Second
)

// ownCollector tells that the program decides when the garbage collector runs, and not GOGC in the environment.
func ownCollector() bool { return os.Getenv("GOGC") == "" }

// boundGarbage sets how much garbage there may be by what is in use, every so often, until ctx is done.
func boundGarbage(ctx context.Context, check time.Duration) {
	ticker := time.NewTicker(check)
	defer ticker.Stop()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	set := mostGarbage
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(live)
		// To set it stops all goroutines for a moment.
		if p := garbagePercent(live[0].Value.Uint64()); p != set {
			debug.SetGCPercent(p)
			set = p
		}
	}
}

// garbagePercent returns what the garbage may be in percent of the bytes in use, in steps of five.
func garbagePercent(live uint64) int {
	p := min(garbageBytes*100/max(live, 1), mostGarbage)
	return max(int(p-p%5), leastGarbage)
}
