// Package handover passes on what an ingester holds, where the ingester is one of several: to queries of others while
// a segment is new, when there shall be more copies of lines than there were (Handover.Raise), and for good when the ingester goes.
//
// An ingester that is told to go for good writes all that it holds into segments and leaves the ring, so that
// nobody waits for it and its folder may be deleted. That is asked for in two steps (prepare, then stop the process)
// or in one:
//
//	/ingester/prepare_shutdown   POST: the next stop is for good; GET: "set" or "unset"; DELETE: no, it is not
//	/ingester/shutdown           now; flush=false keeps the lines in the log and the place on the ring,
//	                             delete_ring_tokens=true takes new places at the next start, terminate=false
//	                             leaves the process running, though it serves nothing any more
package handover

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"example.com/loki/ingester"
	"example.com/loki/store"
)

// Config of a Handover. The zero value is a good default.
type Config struct {
	// Dir is where a file says that the next stop is for good, so that a crash doesn't make that forgotten. Empty: it
	// is forgotten.
	Dir string
	// Log is the folder of the ingester's write-ahead log. Empty: it has none that outlives it.
	Log string
	// Refresh is the RefreshInterval of others' stores. 0 means store.SharedRefresh.
	Refresh time.Duration
	// DeleteTokens makes the ingester take other places on the ring at the next start. nil: it has none.
	DeleteTokens func() error
	// Terminate is called when a client of /ingester/shutdown wants the process to end, after it has been answered; it
	// must not block. nil means that the process goes on.
	Terminate func()
}

// marker is a file in Config.Dir that says that the next stop is for good.
const marker = "shutdown-requested.txt"

// Place is an ingester's place on a ring, which may be kept over a stop; a *ring.Lifecycler is one.
type Place interface {
	Keep() bool
	SetKeep(keep bool)
}

// Handover is that of one ingester. Its methods may be called from several goroutines, once it is set up.
type Handover struct {
	cfg   Config
	heads ingester.Service
	log   *slog.Logger
	goes  atomic.Bool // others are being told that nothing more should come here

	place Place // nil without a ring
	leave func(context.Context) error
	usual bool // what place does if nobody asks otherwise

	copies int // of lines that were in the log at the start; 0: there were none

	mu       sync.Mutex
	prepared bool // the next stop is for good
	gone     bool // it has gone; the process may still be there
}

// New returns the handover of an ingester. logger may be nil.
func New(cfg Config, heads ingester.Service, logger *slog.Logger) *Handover {
	cfg.Refresh = cmp.Or(cfg.Refresh, store.SharedRefresh)
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Handover{cfg: cfg, heads: heads, log: logger}
}

// SetPlace says where on a ring the ingester is; leave makes it leave and waits until it has. It is called before
// all other methods, if there is a ring.
func (h *Handover) SetPlace(p Place, leave func(context.Context) error) {
	h.place, h.leave, h.usual = p, leave, p.Keep()
}

// Served returns the ingester as others should see it: lists also have what became a segment so lately that
// others' stores may not know it, and while the ingester leaves for good it refuses pushes with ingester.ErrNotReady.
func (h *Handover) Served() ingester.Service {
	return served{h.heads, &h.goes, max(12*store.SharedRefresh, 3*h.cfg.Refresh)}
}

// Flush makes the ingester's lines independent of it; it is the ring.LifecyclerConfig.BeforeLeave. Others learn of
// the segments when they list the bucket the next time, so it waits until they have.
func (h *Handover) Flush(ctx context.Context) error {
	h.goes.Store(true) // not all have heard yet that nothing should come here any more
	if err := h.heads.Flush(ctx, ""); err != nil {
		h.goes.Store(false)
		return err
	}
	if err := h.awaitRefresh(ctx); err != nil {
		return err
	}
	return h.heads.Flush(ctx, "") // a push that was under way when the first flush began
}

// awaitRefresh waits until others have listed the bucket.
func (h *Handover) awaitRefresh(ctx context.Context) error {
	wait := time.NewTimer(h.cfg.Refresh + h.cfg.Refresh/10)
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Resume takes over what was asked for before a restart, and looks what the log is. It is called before the ingester starts.
func (h *Handover) Resume() {
	h.resumeCopies()
	if h.cfg.Dir == "" {
		return
	}
	file := filepath.Join(h.cfg.Dir, marker)
	if _, err := os.Stat(file); err == nil {
		h.log.Warn("the next stop of this ingester is for good, as was asked for before the restart", "file", file)
		h.prepare(true)
	}
}

func (h *Handover) prepare(on bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.prepared = on
	if h.place != nil {
		h.place.SetKeep(!on && h.usual)
	}
}

// Gone returns an error once the ingester has gone for good: from then on nothing may be asked of it.
func (h *Handover) Gone() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return errors.New("the ingester of this process was shut down for good")
	}
	return nil
}

// LastFlush makes segments of everything before a stop that is for good. With a ring the lifecycler does it, when
// others have heard that nothing more should come here. It is called when nothing is pushed any more and the place on
// the ring has been left, and before the ingester stops.
func (h *Handover) LastFlush() {
	h.mu.Lock()
	due := h.prepared && !h.gone
	h.mu.Unlock()
	if !due {
		return
	}
	if h.place == nil {
		if err := h.heads.Flush(context.Background(), ""); err != nil {
			h.log.Error("not everything became a segment before the last stop; the write-ahead log keeps it", "err", err)
			return
		}
	} else if h.place.Keep() {
		return // it could not flush, and has said so
	}
	h.forgetMarker()
}

func (h *Handover) forgetMarker() {
	if h.cfg.Dir == "" {
		return
	}
	if err := os.Remove(filepath.Join(h.cfg.Dir, marker)); err != nil && !errors.Is(err, os.ErrNotExist) {
		h.log.Error("the next start will believe that its stop is for good", "err", err)
	}
}

// Shutdown makes the ingester go for good: it writes all that it holds into segments and leaves the ring. From then on
// Gone returns an error. If the lines can't be written Shutdown returns why, and nothing has changed, unless the
// store fails just then: then the ingester is still in the ring, as one that is LEAVING.
//
// With flush false the lines stay in the write-ahead log, and the ingester stays on the ring as one that is
// away. deleteTokens makes it take new places on the ring at the next start.
func (h *Handover) Shutdown(ctx context.Context, flush, deleteTokens bool) error {
	if h.Gone() != nil {
		return nil
	}
	if flush {
		if err := h.heads.Flush(ctx, ""); err != nil {
			return err
		}
	}
	if h.place != nil {
		h.place.SetKeep(!flush)
		// Now the rest, as soon as nothing more comes.
		if err := h.leave(ctx); err != nil {
			return fmt.Errorf("leave the ring: %w", err)
		}
		if flush && h.place.Keep() {
			return errors.New("the last lines could not be written into segments, so the ingester stays in the ring; see the log")
		}
	}
	h.mu.Lock()
	h.gone = true
	h.mu.Unlock()
	if flush && h.place == nil {
		// What came between the first flush and now.
		if err := h.heads.Flush(ctx, ""); err != nil {
			return err
		}
	}
	if deleteTokens && h.cfg.DeleteTokens != nil {
		if err := h.cfg.DeleteTokens(); err != nil {
			return err
		}
	}
	h.forgetMarker()
	return nil
}
