package ruler

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"

	"example.com/loki/internal/lokihttp"
	"example.com/loki/internal/route"
)

// maxGroupBytes is how large a group of rules may be as YAML.
const maxGroupBytes = 10 << 20

// Routes returns the HTTP endpoints: those of lokitool for rules, as YAML, under /loki/api/v1/rules and
// /api/prom/rules, and those of Prometheus for their state, as JSON, under /prometheus/api/v1.
func Routes(s Service, logger *slog.Logger) []route.Route {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	a := &api{service: s, log: logger}
	get := []string{http.MethodGet}
	var routes []route.Route
	for _, base := range []string{"/loki/api/v1/rules", "/api/prom/rules"} {
		routes = append(routes,
			route.Route{Methods: get, Path: base, Handler: http.HandlerFunc(a.list), Tenant: true},
			methods(base+"/{namespace}", map[string]http.HandlerFunc{
				http.MethodGet: a.list, http.MethodPost: a.set, http.MethodDelete: a.deleteNamespace,
			}),
			methods(base+"/{namespace}/{group}", map[string]http.HandlerFunc{http.MethodGet: a.get, http.MethodDelete: a.delete}),
		)
	}
	return append(routes,
		route.Route{Methods: get, Path: "/prometheus/api/v1/rules", Handler: http.HandlerFunc(a.rules), Tenant: true},
		route.Route{Methods: get, Path: "/prometheus/api/v1/alerts", Handler: http.HandlerFunc(a.alerts), Tenant: true},
	)
}

// methods is a route whose methods have handlers of their own.
func methods(path string, by map[string]http.HandlerFunc) route.Route {
	return route.Route{
		Methods: slices.Sorted(maps.Keys(by)), Path: path, Tenant: true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h, ok := by[r.Method]
			if !ok {
				h = by[http.MethodGet] // HEAD
			}
			h(w, r)
		}),
	}
}

type api struct {
	service Service
	log     *slog.Logger
}

// fail answers with an error as text.
func (a *api) fail(w http.ResponseWriter, r *http.Request, err error) {
	status := lokihttp.Status(err)
	switch {
	case errors.Is(err, ErrNoGroup), errors.Is(err, ErrNoNamespace):
		status = http.StatusNotFound
	case errors.Is(err, ErrInvalid), errors.Is(err, ErrLimit):
		status = http.StatusBadRequest
	case errors.Is(err, ErrReadOnly):
		status = http.StatusMethodNotAllowed
	}
	if status == http.StatusInternalServerError {
		a.log.Error("request for rules failed", "path", r.URL.Path, "err", err)
	}
	lokihttp.WriteError(w, status, err.Error())
}

func writeYAML(w http.ResponseWriter, text []byte) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(text) // the client may be gone; there is nobody left to tell
}

// accepted answers as Prometheus' API does where there is nothing to say.
func accepted(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(envelope{Status: "success"})
}

func (a *api) list(w http.ResponseWriter, r *http.Request) {
	groups, err := a.service.Groups(r.Context(), r.PathValue("namespace"))
	switch {
	case err != nil:
		a.fail(w, r, err)
	case len(groups) == 0:
		lokihttp.WriteError(w, http.StatusNotFound, "no rule groups found")
	default:
		writeYAML(w, FormatNamespaces(groups))
	}
}

func (a *api) get(w http.ResponseWriter, r *http.Request) {
	g, err := a.service.Group(r.Context(), r.PathValue("namespace"), r.PathValue("group"))
	if err != nil {
		a.fail(w, r, err)
		return
	}
	writeYAML(w, FormatGroup(g))
}

func (a *api) set(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxGroupBytes))
	if err != nil {
		a.fail(w, r, fmt.Errorf("read rule group: %w", err))
		return
	}
	g, err := ParseGroup(r.PathValue("namespace"), text)
	if err == nil {
		err = a.service.SetGroup(r.Context(), g)
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	accepted(w)
}

func (a *api) delete(w http.ResponseWriter, r *http.Request) {
	if err := a.service.DeleteGroup(r.Context(), r.PathValue("namespace"), r.PathValue("group")); err != nil {
		a.fail(w, r, err)
		return
	}
	accepted(w)
}

func (a *api) deleteNamespace(w http.ResponseWriter, r *http.Request) {
	if err := a.service.DeleteNamespace(r.Context(), r.PathValue("namespace")); err != nil {
		a.fail(w, r, err)
		return
	}
	accepted(w)
}
