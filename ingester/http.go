package ingester

import (
	"net/http"

	"example.com/loki/internal/route"
)

// Routes returns the HTTP endpoints of the ingester.
func (i *Ingester) Routes() []route.Route {
	return []route.Route{
		{Path: "/flush", Handler: http.HandlerFunc(i.flushHandler)},
	}
}

// flushHandler cuts the parts of all tenants and answers 204 when they are stored.
func (i *Ingester) flushHandler(w http.ResponseWriter, r *http.Request) {
	if err := i.ready(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err := i.Flush(r.Context(), ""); err != nil {
		i.logger.Error("flush asked for over HTTP failed", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
