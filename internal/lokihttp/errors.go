package lokihttp

import (
	"context"
	"errors"
	"net/http"

	"github.com/grafana/dskit/user"

	"example.com/loki/logql"
	"example.com/loki/logql/syntax"
	"example.com/loki/store"
)

// StatusClientClosed is the status of requests that the client gave up; nobody reads it but the metrics.
const StatusClientClosed = 499

// ParamError is a parameter that cannot be used.
type ParamError struct {
	Text string // for the user
}

// Error implements error.
func (e *ParamError) Error() string { return e.Text }

// Status returns the status code of an error that every endpoint may have.
func Status(err error) int {
	var (
		param    *ParamError
		parse    *syntax.ParseError
		query    *logql.QueryError
		tooLarge *http.MaxBytesError
	)
	switch {
	case errors.Is(err, store.ErrUnavailable): // or else a time-out of it would look like the query's
		return http.StatusServiceUnavailable
	case errors.As(err, &param), errors.As(err, &parse), errors.As(err, &query):
		return http.StatusBadRequest
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, user.ErrTooManyOrgIDs):
		return http.StatusBadRequest
	case errors.Is(err, user.ErrNoOrgID):
		return http.StatusUnauthorized
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled):
		return StatusClientClosed
	}
	return http.StatusInternalServerError
}

// WriteError answers with a text. Nothing must have been written before.
func WriteError(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	// The client may be gone; there is nobody left to tell.
	_, _ = w.Write(append([]byte(text), '\n'))
}
