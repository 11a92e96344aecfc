package distributor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/dskit/tenant"
	"google.golang.org/grpc/codes"

	"example.com/loki/ingester"
	"example.com/loki/internal/pace"
	"example.com/loki/internal/push"
	"example.com/loki/internal/route"
	"example.com/loki/internal/wire"
	"example.com/loki/limits"
)

// Routes returns the endpoints that take pushes and hand them to s. Of cfg the bounds of bodies and the
// clock count; an error says what is wrong with it. Of the limits, nil for the defaults, that of OTLP counts. A nil logger is silent.
func Routes(cfg Config, s Service, provider limits.Provider, logger *slog.Logger) ([]route.Route, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, fmt.Errorf("distributor: %w", err)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if provider == nil {
		provider = limits.Fixed(limits.Default())
	}
	h := &handlers{
		service: s,
		limits:  provider,
		now:     cfg.Now,
		log:     logger,
		pace:    cfg.Pace,
		decoder: push.NewDecoder(push.Limits{MaxBody: cfg.MaxBody, MaxDecompressed: cfg.MaxDecompressed, MaxInflight: cfg.MaxInflight}),
	}
	post := []string{http.MethodPost}
	return []route.Route{
		{Methods: post, Path: "/loki/api/v1/push", Tenant: true, Handler: h.push(h.decoder.Push)},
		{Methods: post, Path: "/api/prom/push", Tenant: true, Handler: h.push(h.decoder.PromPush)},
		{Methods: post, Path: "/otlp/v1/logs", Tenant: true, Handler: http.HandlerFunc(h.serveOTLP)},
	}, nil
}

// handlers serve the endpoints.
type handlers struct {
	service Service
	limits  limits.Provider
	now     func() time.Time
	log     *slog.Logger
	pace    *pace.Pace
	decoder *push.Decoder
}

func requestBody(ctx context.Context, r *http.Request) push.Body {
	return push.Body{
		Reader:      bodyReader{ctx, r.Body},
		Length:      r.ContentLength,
		ContentType: r.Header.Get("Content-Type"),
		Encoding:    strings.Join(r.Header.Values("Content-Encoding"), ", "),
	}
}

// bodyReader reads a body as it comes: what waits for a client wants no processor.
type bodyReader struct {
	ctx  context.Context // of the push, and this is a part of it
	body io.Reader
}

func (r bodyReader) Read(p []byte) (int, error) {
	defer pace.Idle(r.ctx)()
	return r.body.Read(p)
}

// store pushes a decoded body and releases it.
func (h *handlers) store(ctx context.Context, body *push.Request) error {
	defer body.Release()
	return h.service.Push(ctx, &PushRequest{Streams: body.Streams, Size: body.Size})
}

func (h *handlers) push(decode func(push.Body) (*push.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, done := h.pace.Push(r.Context())
		defer done()
		body, err := decode(requestBody(ctx, r))
		if err == nil {
			err = h.store(ctx, body)
		}
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		status := h.answer(w, r, err)
		http.Error(w, err.Error(), status)
	})
}

// serveOTLP takes an export of OpenTelemetry logs. Errors are google.rpc.Status messages in the format
// of the request, as the protocol wants it. An export without records is a success.
func (h *handlers) serveOTLP(w http.ResponseWriter, r *http.Request) {
	ctx, done := h.pace.Push(r.Context())
	defer done()
	var body *push.Request
	id, err := tenant.TenantID(ctx)
	if err == nil {
		body, err = h.decoder.OTLP(requestBody(ctx, r), &h.limits(id).OTLP, h.now())
	}
	if err == nil && len(body.Streams) == 0 {
		body.Release()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if err == nil {
		err = h.store(ctx, body)
	}
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	status := h.answer(w, r, err)
	contentType, message := push.OTLPStatus(r.Header.Get("Content-Type"), uint32(statusCode(status)), err.Error())
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Content-Length", strconv.Itoa(len(message)))
	w.WriteHeader(status)
	// The client is gone if this fails.
	_, _ = w.Write(message)
}

// statusClientClosed is what nginx logs when a client went away before the answer.
const statusClientClosed = 499

// retryAfter is what a client should wait when the server cannot take pushes, in seconds.
const retryAfter = "5"

// httpStatus is the one place that says which error is which status.
func httpStatus(err error) int {
	for _, m := range []struct {
		err    error
		status int
	}{
		// Errors that mean that nothing was stored come before those that mean that some was.
		{ingester.ErrDiskFull, http.StatusServiceUnavailable},
		{ingester.ErrNotReady, http.StatusServiceUnavailable},
		{ingester.ErrWriteLog, http.StatusServiceUnavailable},
		{push.ErrBusy, http.StatusServiceUnavailable},
		{ingester.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{push.ErrTooLarge, http.StatusRequestEntityTooLarge},
		{wire.ErrRequestSize, http.StatusRequestEntityTooLarge},
		{wire.ErrMessageSize, http.StatusRequestEntityTooLarge},
		{push.ErrInvalid, http.StatusBadRequest},
		{ErrNoStreams, http.StatusUnprocessableEntity},
		{ErrLabels, http.StatusBadRequest},
		{ErrRateLimited, http.StatusTooManyRequests},
		{ingester.ErrStreamLimit, http.StatusTooManyRequests},
		{ErrRefused, http.StatusBadRequest},
		{context.Canceled, statusClientClosed},
		{context.DeadlineExceeded, http.StatusGatewayTimeout},
	} {
		if errors.Is(err, m.err) {
			return m.status
		}
	}
	return http.StatusInternalServerError
}

// statusCode is the gRPC code that says the same as an HTTP status.
func statusCode(status int) codes.Code {
	switch status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		return codes.InvalidArgument
	case http.StatusTooManyRequests:
		return codes.ResourceExhausted
	case http.StatusServiceUnavailable:
		return codes.Unavailable
	case http.StatusGatewayTimeout:
		return codes.DeadlineExceeded
	case statusClientClosed:
		return codes.Canceled
	}
	return codes.Internal
}

// answer sets the headers that belong to an error, logs it if an operator should know, and returns its
// status.
func (h *handlers) answer(w http.ResponseWriter, r *http.Request, err error) int {
	status := httpStatus(err)
	switch {
	case errors.Is(err, push.ErrTooLarge):
		id, err := tenant.TenantID(r.Context())
		if d, ok := h.service.(*Distributor); ok && err == nil {
			d.tenant(id) // so that its metrics are forgotten some day
			d.discard(BodyTooLarge, id, 0, int(max(r.ContentLength, 0)))
		}
	case status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
		fallthrough
	case status >= 500:
		id, _ := tenant.TenantID(r.Context())
		h.log.Error("push failed", "tenant", id, "path", r.URL.Path, "status", status, "err", err)
	}
	return status
}
