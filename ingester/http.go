package ingester

import (
	"errors"
	"log/slog"
	"net/http"

	"example.com/loki/internal/route"
)

// Routes returns the HTTP endpoints of an ingester.
func Routes(s Service, logger *slog.Logger) []route.Route {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return []route.Route{{Path: "/flush", Handler: flush(s, logger)}}
}

// flush cuts the parts of all tenants and answers 204 when they are stored.
func flush(s Service, logger *slog.Logger) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch err := s.Flush(r.Context(), ""); {
		case err == nil:
			w.WriteHeader(http.StatusNoContent)
		case errors.Is(err, ErrNotReady):
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		default:
			logger.Error("flush asked for over HTTP failed", "err", err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}
}
