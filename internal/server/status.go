package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"gopkg.in/yaml.v3"

	"example.com/loki/internal/route"
)

// Status is what the status routes tell. What is nil has no route.
type Status struct {
	// Ready returns nil when the engine can take pushes and queries, else what it waits for.
	Ready func(context.Context) error
	// Gatherer has the metrics.
	Gatherer prometheus.Gatherer
	// Config returns the configuration in effect and Defaults what it would be if nothing had been
	// set; see Document for what becomes of it.
	Config, Defaults func() any
	// Services returns the parts of the engine and their states, in the order to list them.
	Services func() []ServiceState
	// Level is the level of the engine's logger, if it can be changed while running.
	Level *slog.LevelVar
	// Pprof adds /debug/pprof/… and /debug/fgprof, which tells much about the process and costs time: ask for it.
	Pprof bool
}

// ServiceState is a part of an engine.
type ServiceState struct {
	Name  string // such as ingester
	State string // such as Running
}

// StatusRoutes returns the routes that tell how an engine is, rather than what is in it.
func StatusRoutes(s Status) []route.Route {
	get := []string{http.MethodGet}
	routes := []route.Route{{Methods: get, Path: "/loki/api/v1/status/buildinfo", Handler: http.HandlerFunc(buildInfo)}}
	if s.Ready != nil {
		routes = append(routes, route.Route{Methods: get, Path: "/ready", Handler: ready(s.Ready)})
	}
	if s.Gatherer != nil {
		routes = append(routes, route.Route{Methods: get, Path: "/metrics", Handler: promhttp.HandlerFor(
			s.Gatherer,
			// Compression is Mount's; errors of one collector must not hide the others' metrics.
			promhttp.HandlerOpts{DisableCompression: true, ErrorHandling: promhttp.ContinueOnError},
		)})
	}
	if s.Config != nil {
		routes = append(routes, route.Route{Methods: get, Path: "/config", Handler: config(s.Config, s.Defaults)})
	}
	if s.Services != nil {
		routes = append(routes, route.Route{Methods: get, Path: "/services", Handler: listServices(s.Services)})
	}
	if s.Level != nil {
		routes = append(routes, route.Route{Path: "/log_level", Handler: logLevel(s.Level)})
	}
	if s.Pprof {
		routes = append(routes, pprofRoutes()...)
	}
	return routes
}

func buildInfo(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, readBuild())
}

func ready(check func(context.Context) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := check(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		writeText(w, "ready\n")
	}
}

func listServices(list func() []ServiceState) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		var b strings.Builder
		for _, s := range list() {
			fmt.Fprintf(&b, "%s => %s\n", s.Name, s.State)
		}
		writeText(w, b.String())
	}
}

func config(current, defaults func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var doc any
		mode := r.URL.Query().Get("mode")
		switch {
		case mode == "":
			doc = Document(current())
		case mode == "defaults" && defaults != nil:
			doc = Document(defaults())
		case mode == "diffs" && defaults != nil:
			doc = diff(Document(current()), Document(defaults()))
		default:
			http.Error(w, fmt.Sprintf("unknown mode %.40q: use diffs or defaults, or leave it out", mode), http.StatusBadRequest)
			return
		}
		out, err := yaml.Marshal(doc)
		if err != nil {
			http.Error(w, "print configuration: "+err.Error(), http.StatusInternalServerError)
			return
		}
		writeText(w, string(out))
	}
}

func logLevel(v *slog.LevelVar) http.HandlerFunc {
	type answer struct {
		Message string `json:"message"`
		Status  string `json:"status,omitempty"`
	}
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			writeJSON(w, http.StatusOK, answer{Message: "Current log level is " + strings.ToLower(v.Level().String())})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		text := r.FormValue("log_level")
		var l slog.Level
		switch text {
		case "debug", "info", "warn", "error":
			_ = l.UnmarshalText([]byte(text)) // these four parse
		default:
			writeJSON(w, http.StatusBadRequest, answer{
				Message: fmt.Sprintf("unrecognized level %.40q: use debug, info, warn or error", text),
				Status:  "failed",
			})
			return
		}
		v.Set(l)
		writeJSON(w, http.StatusOK, answer{Message: "Log level set to " + text, Status: "success"})
	}
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write([]byte(text)) // a client that is gone needs no answer
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // a client that is gone needs no answer
}
