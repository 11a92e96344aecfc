package handover

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"example.com/loki/internal/route"
)

// Routes are the endpoints described at the top of the package.
func (h *Handover) Routes() []route.Route {
	return []route.Route{
		{Path: "/ingester/prepare_shutdown", Methods: []string{http.MethodGet, http.MethodPost, http.MethodDelete}, Handler: http.HandlerFunc(h.prepareShutdown)},
		{Path: "/ingester/shutdown", Handler: http.HandlerFunc(h.shutdownNow)},
	}
}

func (h *Handover) prepareShutdown(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodPost:
		if h.cfg.Dir != "" {
			if err := os.WriteFile(filepath.Join(h.cfg.Dir, marker), []byte("The next stop of this ingester is for good.\n"), 0o640); err != nil {
				http.Error(w, "this would not survive a crash: "+err.Error(), http.StatusInternalServerError)
				return
			}
		}
		h.prepare(true)
		h.log.Info("the next stop of this ingester is for good: it will flush and leave the ring")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodDelete:
		h.prepare(false)
		h.forgetMarker()
		w.WriteHeader(http.StatusNoContent)
	default:
		h.mu.Lock()
		set := h.prepared
		h.mu.Unlock()
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		text := "unset\n"
		if set {
			text = "set\n"
		}
		_, _ = w.Write([]byte(text)) // the client has gone: nobody to tell
	}
}

func (h *Handover) shutdownNow(w http.ResponseWriter, r *http.Request) {
	flush, err1 := flag(r, "flush", true)
	deleteTokens, err2 := flag(r, "delete_ring_tokens", false)
	terminate, err3 := flag(r, "terminate", true)
	if err := errors.Join(err1, err2, err3); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	// Whoever asked may go away meanwhile.
	if err := h.Shutdown(context.WithoutCancel(r.Context()), flush, deleteTokens); err != nil {
		h.log.Error("shutdown of the ingester that was asked for over HTTP failed", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	h.log.Info("the ingester was shut down by request", "flush", flush, "delete_ring_tokens", deleteTokens, "terminate", terminate)
	w.WriteHeader(http.StatusNoContent)
	if terminate && h.cfg.Terminate != nil {
		h.cfg.Terminate()
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
