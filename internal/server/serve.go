package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServeOptions bound what a client may cost. The zero value has limits: a negative duration switches
// a timeout off.
type ServeOptions struct {
	ReadHeaderTimeout time.Duration // for the headers of a request; 0 means 10s
	ReadTimeout       time.Duration // for a whole request; 0 means 30s
	IdleTimeout       time.Duration // between requests of a connection; 0 means 2m
	// WriteTimeout bounds a request from its headers to the last byte of the answer. It should be
	// longer than the longest query. 0 means 90s: 30s beyond the default query timeout. Routes that
	// stream are not bound by it.
	WriteTimeout time.Duration
	// ShutdownTimeout is how long requests may go on after ctx is done. 0 means 30s, negative not at
	// all. Routes that stream end at once.
	ShutdownTimeout time.Duration
	MaxHeaderBytes  int // 0 means 1 MiB, larger requests get 431
	// Logger gets what the HTTP server complains about, at debug. nil is silent.
	Logger *slog.Logger
}

// closeGrace is how long a handler may take to notice that its request was cancelled.
const closeGrace = 5 * time.Second

// Serve serves h on l until ctx is done, then stops: no new connections, streams end, other requests
// have ShutdownTimeout to finish. l is closed in any case. When Serve returns nil every request has
// ended and no goroutine of the server is left; else the error says what went wrong.
func Serve(ctx context.Context, l net.Listener, h http.Handler, opts ServeOptions) error {
	logger := opts.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	base, cancelAll := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelAll()
	stopping, stopStreams := context.WithCancel(context.Background())
	defer stopStreams()

	// http.Server forgets connections that a handler has taken over, so their handlers are counted here.
	var running inflight
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.enter()
			defer running.leave()
			h.ServeHTTP(w, r)
		}),
		ReadHeaderTimeout: cmp.Or(opts.ReadHeaderTimeout, 10*time.Second),
		ReadTimeout:       cmp.Or(opts.ReadTimeout, 30*time.Second),
		WriteTimeout:      cmp.Or(opts.WriteTimeout, 90*time.Second),
		IdleTimeout:       cmp.Or(opts.IdleTimeout, 2*time.Minute),
		MaxHeaderBytes:    cmp.Or(opts.MaxHeaderBytes, 1<<20),
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(base, stoppingKey{}, stopping)
		},
	}

	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	var err error
	select {
	case err = <-served: // the listener failed
	case <-ctx.Done():
	}

	stopStreams()
	bound := cmp.Or(opts.ShutdownTimeout, 30*time.Second)
	deadline, cancel := context.WithTimeout(base, max(bound, 0))
	defer cancel()
	shutdownErr := srv.Shutdown(deadline)
	if shutdownErr == nil {
		shutdownErr = running.wait(deadline)
	}
	if shutdownErr != nil {
		cancelAll()
		_ = srv.Close() // the connections end; what is left is reported below
		last, cancel := context.WithTimeout(context.Background(), closeGrace)
		defer cancel()
		shutdownErr = fmt.Errorf("requests were cut off after %s", bound)
		if running.wait(last) != nil {
			shutdownErr = fmt.Errorf("requests did not end %s after they were cancelled", closeGrace)
		}
	}
	if err == nil {
		err = <-served
	}
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	if err := errors.Join(err, shutdownErr); err != nil {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

// inflight counts requests. A sync.WaitGroup does not fit: requests may still arrive while it is
// waited for, and the wait is bounded.
type inflight struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n becomes 0; nil if nobody waits
}

func (f *inflight) enter() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
}

func (f *inflight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.n--; f.n == 0 && f.zero != nil {
		close(f.zero)
		f.zero = nil
	}
}

// wait returns nil when no request is left, or the context's error when that comes first.
func (f *inflight) wait(ctx context.Context) error {
	f.mu.Lock()
	if f.n == 0 {
		f.mu.Unlock()
		return nil
	}
	if f.zero == nil {
		f.zero = make(chan struct{})
	}
	zero := f.zero
	f.mu.Unlock()
	select {
	case <-zero:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stoppingKey is where Serve puts a context that ends when the server begins to stop.
type stoppingKey struct{}

// untilShutdown prepares a request whose answer may take long: no deadline of the server applies, and
// its context ends when the server begins to stop. In a server that Serve does not run, only its own
// context ends it.
func untilShutdown(w http.ResponseWriter, r *http.Request) (*http.Request, context.CancelFunc) {
	c := http.NewResponseController(w)
	// Writers that have no deadlines (tests, HTTP/2 of a host) have none to lift.
	_ = c.SetReadDeadline(time.Time{})
	_ = c.SetWriteDeadline(time.Time{})

	ctx, cancel := context.WithCancel(r.Context())
	stopping, ok := ctx.Value(stoppingKey{}).(context.Context)
	if !ok {
		return r.WithContext(ctx), cancel
	}
	release := context.AfterFunc(stopping, cancel)
	return r.WithContext(ctx), func() { release(); cancel() }
}
