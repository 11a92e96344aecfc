package loki

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"github.com/grafana/dskit/services"

	"example.com/loki/internal/route"
)

// An ingester that is told to go for good writes all that it holds into segments and leaves the ring, so that
// nobody waits for it and its folder may be deleted. That is asked for in two steps (prepare, then stop the process)
// or in one:
//
//	/ingester/prepare_shutdown   POST: the next stop is for good; GET: "set" or "unset"; DELETE: no, it is not
//	/ingester/shutdown           now; flush=false keeps the lines in the log and the place on the ring,
//	                             delete_ring_tokens=true takes new places at the next start, terminate=false
//	                             leaves the process running, though it serves nothing any more

// shutdownMarker is a file in Config.Dir that says that the next stop is for good. It survives a crash.
const shutdownMarker = "shutdown-requested.txt"

// keeper is a place on the ring that may be kept over a stop.
type keeper interface {
	Keep() bool
	SetKeep(bool)
}

// retirement is whether the ingester of this process goes for good.
type retirement struct {
	marker   string // path; empty without a folder
	place    keeper // nil without a ring
	usual    bool   // what place does if nobody asks otherwise
	prepared bool   // the next stop is for good
	done     bool   // it has gone; the process may still be there
}

func (e *Engine) newRetirement() {
	if e.cfg.Dir != "" {
		e.retire.marker = filepath.Join(e.cfg.Dir, shutdownMarker)
	}
	if k, ok := e.members[Ingester].(keeper); ok {
		e.retire.place, e.retire.usual = k, k.Keep()
	}
}

// resumeRetirement takes over what was asked for before a restart.
func (e *Engine) resumeRetirement() {
	if !e.plan.targets[Ingester] || e.retire.marker == "" {
		return
	}
	if _, err := os.Stat(e.retire.marker); err == nil {
		e.cfg.Logger.Warn("the next stop of this ingester is for good, as was asked for before the restart", "file", e.retire.marker)
		e.setPrepared(true)
	}
}

func (e *Engine) setPrepared(on bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.retire.prepared = on
	if e.retire.place != nil {
		e.retire.place.SetKeep(!on && e.retire.usual)
	}
}

// retired tells whether the ingester has gone.
func (e *Engine) retired() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.retire.done {
		return errors.New("the ingester of this process was shut down for good")
	}
	return nil
}

// lastFlush makes segments of everything before a stop that is for good. With a ring the lifecycler does it, when
// others have heard that nothing more should come here.
func (e *Engine) lastFlush() {
	e.mu.Lock()
	due := e.retire.prepared && !e.retire.done
	e.mu.Unlock()
	if !due {
		return
	}
	if e.retire.place == nil {
		if err := e.heads().Flush(context.Background(), ""); err != nil {
			e.cfg.Logger.Error("not everything became a segment before the last stop; the write-ahead log keeps it", "err", err)
			return
		}
	} else if e.retire.place.Keep() {
		return // it could not flush, and has said so
	}
	e.forgetMarker()
}

func (e *Engine) forgetMarker() {
	if e.retire.marker == "" {
		return
	}
	if err := os.Remove(e.retire.marker); err != nil && !errors.Is(err, os.ErrNotExist) {
		e.cfg.Logger.Error("the next start will believe that its stop is for good", "err", err)
	}
}

// ShutdownIngester makes the ingester of this process go for good: it writes all that it holds into segments and
// leaves the ring. From then on the engine is not ready and refuses all calls; it should be closed. If the lines
// can't be written ShutdownIngester returns why, and nothing has changed, unless the store fails just then: then the
// ingester is still in the ring, as one that is LEAVING.
//
// With flush false the lines stay in the write-ahead log, and the ingester stays on the ring as one that is
// away. deleteTokens makes it take new places on the ring at the next start.
func (e *Engine) ShutdownIngester(ctx context.Context, flush, deleteTokens bool) error {
	if e.retired() != nil {
		return nil
	}
	ctx, done, err := e.enterWrite(ctx)
	if err != nil {
		return err
	}
	defer done()
	if !e.plan.targets[Ingester] {
		return notHere(Ingester)
	}
	if flush {
		if err := e.heads().Flush(ctx, ""); err != nil {
			return err
		}
	}
	place := e.retire.place
	if place != nil {
		place.SetKeep(!flush)
		// Now the rest, as soon as nothing more comes.
		if err := services.StopAndAwaitTerminated(ctx, e.lives[ingesterMember]); err != nil {
			return fmt.Errorf("loki: leave the ring: %w", err)
		}
		if flush && place.Keep() {
			return errors.New("loki: the last lines could not be written into segments, so the ingester stays in the ring; see the log")
		}
	}
	e.mu.Lock()
	e.retire.done = true
	e.mu.Unlock()
	if flush && place == nil {
		// What came between the first flush and now.
		if err := e.heads().Flush(ctx, ""); err != nil {
			return err
		}
	}
	if deleteTokens {
		if t, ok := e.cfg.Cluster.Membership.(interface{ DeleteTokens() error }); ok {
			if err := t.DeleteTokens(); err != nil {
				return fmt.Errorf("loki: %w", err)
			}
		}
	}
	e.forgetMarker()
	return nil
}

// shutdownRoutes are the endpoints described at the top.
func (e *Engine) shutdownRoutes() []route.Route {
	return []route.Route{
		{Path: "/ingester/prepare_shutdown", Methods: []string{http.MethodGet, http.MethodPost, http.MethodDelete}, Handler: http.HandlerFunc(e.prepareShutdown)},
		{Path: "/ingester/shutdown", Handler: http.HandlerFunc(e.shutdownNow)},
	}
}

func (e *Engine) prepareShutdown(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		if e.retire.marker != "" {
			if err := os.WriteFile(e.retire.marker, []byte("The next stop of this ingester is for good.\n"), 0o640); err != nil {
				http.Error(w, "this would not survive a crash: "+err.Error(), http.StatusInternalServerError)
				return
			}
		}
		e.setPrepared(true)
		e.cfg.Logger.Info("the next stop of this ingester is for good: it will flush and leave the ring")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		e.setPrepared(false)
		e.forgetMarker()
		w.WriteHeader(http.StatusNoContent)
	default:
		e.mu.Lock()
		set := e.retire.prepared
		e.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text := "unset\n"
		if set {
			text = "set\n"
		}
		_, _ = w.Write([]byte(text)) // the client has gone: nobody to tell
	}
}

func (e *Engine) shutdownNow(w http.ResponseWriter, r *http.Request) {
	flush, err1 := flag(r, "flush", true)
	deleteTokens, err2 := flag(r, "delete_ring_tokens", false)
	terminate, err3 := flag(r, "terminate", true)
	if err := errors.Join(err1, err2, err3); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// Whoever asked may go away meanwhile.
	if err := e.ShutdownIngester(context.WithoutCancel(r.Context()), flush, deleteTokens); err != nil {
		e.cfg.Logger.Error("shutdown of the ingester that was asked for over HTTP failed", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	e.cfg.Logger.Info("the ingester was shut down by request", "flush", flush, "delete_ring_tokens", deleteTokens, "terminate", terminate)
	w.WriteHeader(http.StatusNoContent)
	if terminate && e.cfg.Terminate != nil {
		e.cfg.Terminate()
	}
}

// flag reads a parameter that is true or false.
func flag(r *http.Request, name string, def bool) (bool, error) {
	text := r.FormValue(name)
	if text == "" {
		return def, nil
	}
	v, err := strconv.ParseBool(text)
	if err != nil {
		return false, fmt.Errorf("%s is %q; use true or false", name, text)
	}
	return v, nil
}
