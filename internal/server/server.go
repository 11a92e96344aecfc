// Package server turns the routes of components into one http.Handler, and serves a handler on a
// listener with limits that keep slow or hostile clients from costing more than their share.
//
// Mount is used by the library: it opens no port and starts no goroutine, so that a host can put the
// handler into a server of its own. Serve is used by programs that have no server yet.
//
//	request → method → tenant → handler          (inside: panics become 500)
//	        ↘ duration, in flight, log line       (outside: what the client saw)
package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/client_golang/prometheus"

	"example.com/loki/internal/route"
)

// Options of Mount. The zero value works: one tenant, silent, not measured.
type Options struct {
	// Tenant is who asks when AuthEnabled is false. Empty means "fake", as in Loki.
	Tenant string
	// AuthEnabled makes the header X-Scope-OrgID say who asks. Without it the header is ignored.
	// In both cases a tenant that the host has put into the request's context (dskit's
	// user.InjectOrgID) comes first.
	AuthEnabled bool
	// Prefix is put before each path, such as /logs. A slash at its end is dropped.
	Prefix string
	// Logger gets panics, and requests at debug. nil is silent.
	Logger *slog.Logger
	// Registerer gets the metrics of requests. nil counts without publishing.
	Registerer prometheus.Registerer
}

// defaultTenant is the tenant of an engine without authentication. Its name is Loki's, so that
// dashboards and tools which look for it find it.
const defaultTenant = "fake"

// gzipMinSize is below one packet: compressing less than that costs time and saves none.
const gzipMinSize = 1400

// Mount returns a handler that serves the routes. Unknown paths are answered 404, methods that a route
// does not have 405, a missing tenant 401 and one that cannot be a tenant's name 400. Answers of
// routes that do not stream are compressed when the client accepts gzip and they are worth it.
//
// Like http.ServeMux it panics when two routes have the same pattern: routes are part of the program.
func Mount(routes []route.Route, opts Options) http.Handler {
	s := &mounted{
		tenant:  cmp.Or(opts.Tenant, defaultTenant),
		auth:    opts.AuthEnabled,
		log:     opts.Logger,
		metrics: newMetrics(opts.Registerer),
		idBase:  newIDBase(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	compress, err := gzhttp.NewWrapper(
		gzhttp.MinSize(gzipMinSize),
		gzhttp.EnableZstd(false), // Loki's clients speak gzip; an encoder a request costs megabytes
		gzhttp.CompressionLevel(1),
	)
	if err != nil {
		panic("server: " + err.Error()) // constant options: cannot happen
	}
	prefix := strings.TrimRight(opts.Prefix, "/")
	mux := http.NewServeMux()
	for _, rt := range routes {
		h := s.serve(rt, routeName(prefix+rt.Path))
		if !rt.Streaming {
			h = compress(h)
		}
		mux.Handle(prefix+rt.Path, h)
	}
	mux.Handle("/", s.serve(route.Route{
		Methods: knownMethods,
		Handler: http.NotFoundHandler(),
	}, "other"))
	return mux
}

// mounted is what the handlers of one Mount share.
type mounted struct {
	tenant  string
	auth    bool
	log     *slog.Logger
	metrics *metrics

	idBase string        // differs between processes
	lastID atomic.Uint64 // of the requests that got an id
}

// knownMethods are the values of the label "method"; anything else counts as "other", so that a
// client cannot make series by inventing methods.
var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
	http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

// serve returns the handler of one route with everything around it except compression.
func (s *mounted) serve(rt route.Route, name string) http.Handler {
	methods := rt.Methods
	if methods == nil {
		methods = []string{http.MethodGet, http.MethodPost}
	}
	if slices.Contains(methods, http.MethodGet) && !slices.Contains(methods, http.MethodHead) {
		methods = append(slices.Clip(methods), http.MethodHead) // net/http drops the body
	}
	allow := strings.Join(methods, ", ")
	h := rt.Handler

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		method := r.Method
		if !slices.Contains(knownMethods, method) {
			method = "other"
		}
		inflight := s.metrics.inflight.WithLabelValues(method, name)
		inflight.Inc()
		rec := &recorder{ResponseWriter: w}
		// Deferred, so that a request ends in the metrics however the handler ends.
		defer func() {
			inflight.Dec()
			took := time.Since(start)
			s.metrics.duration.WithLabelValues(method, name, rec.statusText(), strconv.FormatBool(rec.hijacked)).
				Observe(took.Seconds())
			if s.log.Enabled(r.Context(), slog.LevelDebug) {
				s.log.Debug("request", "id", s.requestID(r), "method", r.Method, "uri", r.URL.RequestURI(),
					"status", rec.status(), "bytes", rec.written, "took", took, "from", r.RemoteAddr)
			}
		}()
		defer s.recoverPanic(rec, r, name)

		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", allow)
			http.Error(rec, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		if rt.Tenant {
			ctx, err := s.withTenant(r, rt.Tenants)
			if err != nil {
				refuseTenant(rec, err)
				return
			}
			r = r.WithContext(ctx)
		}
		if rt.Streaming {
			var stop context.CancelFunc
			r, stop = untilShutdown(rec, r)
			defer stop()
		}
		h.ServeHTTP(rec, r)
	})
}

// recoverPanic turns a panic of a handler into an answer: 500 where nothing has been sent, else a
// broken connection, because half an answer must not look like a whole one.
func (s *mounted) recoverPanic(rec *recorder, r *http.Request, name string) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	s.metrics.panics.Inc()
	id := s.requestID(r)
	s.log.Error("panic in an HTTP handler", "route", name, "id", id, "panic", v, "stack", string(debug.Stack()))
	if rec.code != 0 || rec.hijacked {
		panic(http.ErrAbortHandler)
	}
	http.Error(rec, "internal error, request "+id, http.StatusInternalServerError)
}

// requestID returns the id that the client gave a request, if it is one, or a new one.
func (s *mounted) requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-Id")
	if id != "" && len(id) <= 64 && strings.Trim(id, idCharacters) == "" {
		return id
	}
	id = s.idBase + strconv.FormatUint(s.lastID.Add(1), 36)
	r.Header.Set("X-Request-Id", id) // the same id when it is asked for again
	return id
}

const idCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."

func newIDBase() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:]) + "-"
}

// routeName is how a path is called in metrics: loki_api_v1_query_range.
func routeName(path string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(path)) {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			b.WriteByte(c)
		case b.Len() > 0 && b.String()[b.Len()-1] != '_':
			b.WriteByte('_')
		}
	}
	return cmp.Or(strings.TrimRight(b.String(), "_"), "root")
}

// maxTenants is how many tenants a request may name: each costs a query of its own.
const maxTenants = 100

// withTenant returns the request's context with its tenant inside, or with several if that is allowed.
func (s *mounted) withTenant(r *http.Request, several bool) (context.Context, error) {
	ctx := r.Context()
	id, err := user.ExtractOrgID(ctx)
	switch {
	case err == nil && id != "": // the host knows who asks
	case s.auth:
		if id, err = tenantOfHeader(r.Header); err != nil {
			return nil, err
		}
	default:
		id = s.tenant
	}
	ids := []string{id}
	if several {
		if ids = strings.Split(id, "|"); len(ids) > maxTenants {
			return nil, fmt.Errorf("%w: it names %d tenants, at most %d are allowed", errTenant, len(ids), maxTenants)
		}
	}
	for _, id := range ids {
		if id == "" && len(ids) > 1 {
			return nil, fmt.Errorf("%w: one of its tenants has no name", errTenant)
		}
		if err := checkTenant(id); err != nil {
			return nil, err
		}
	}
	return user.InjectOrgID(ctx, id), nil
}
