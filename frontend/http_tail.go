package frontend

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"example.com/loki/internal/lokihttp"
	"example.com/loki/logql/syntax"
	"example.com/loki/querier"
)

// maxTailDelay is the most that delay_for may be, in seconds.
const maxTailDelay = 5

// tailQueue is how many answers wait for a client whose delay_for is not over or who reads slowly.
const tailQueue = 16

// tail serves a live query over a WebSocket. What is wrong with the request is answered before the
// connection is upgraded, anything later closes the connection with a code and a reason.
func (h *handler) tail(w http.ResponseWriter, r *http.Request, f url.Values) error {
	start, _, err := lokihttp.Bounds(f, h.cfg.Now())
	if err != nil {
		return err
	}
	old := strings.HasPrefix(r.URL.Path, "/api/prom/")
	req := &querier.TailRequest{Query: f.Get("query"), Start: start, Categorize: !old && lokihttp.Categorize(r.Header)}
	if req.Limit, err = lokihttp.Limit(f, "limit", lokihttp.DefaultLimit); err != nil {
		return err
	}
	delay, err := lokihttp.Int(f, "delay_for", 0)
	if err != nil {
		return err
	}
	if delay < 0 || delay > maxTailDelay {
		return &lokihttp.ParamError{Text: "delay_for can't be greater than 5 or negative; it is a number of seconds"}
	}
	if _, err := syntax.ParseLog(req.Query); err != nil {
		return err
	}
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return nil // Accept has answered
	}
	defer conn.CloseNow()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	if most := h.cfg.TailMaxDuration; most > 0 {
		defer time.AfterFunc(most, func() { cancel(errTailOver) }).Stop()
	}
	// CloseRead answers pings and notices when the client leaves. It goes on while the server stops: a
	// connection whose read is cancelled can't be closed in good order any more.
	reading := conn.CloseRead(context.WithoutCancel(r.Context()))
	defer context.AfterFunc(reading, func() { cancel(errClientGone) })()

	t := &tailConn{conn: conn, old: old, categorize: req.Categorize, ping: h.cfg.TailPing, timeout: h.cfg.TailWriteTimeout}
	queue := make(chan queued, tailQueue)
	var writer, pinger sync.WaitGroup
	writer.Go(func() {
		if err := t.write(ctx, queue); err != nil {
			cancel(err)
		}
	})
	pinger.Go(func() {
		if err := t.pings(ctx); err != nil {
			cancel(err)
		}
	})
	err = h.follow(ctx, req, time.Duration(delay)*time.Second, queue)
	close(queue)
	writer.Wait() // it sends what is left, unless ctx has ended
	cancel(err)
	pinger.Wait()

	switch {
	case errors.Is(err, errClientGone):
	case errors.Is(err, errTailOver):
		conn.Close(websocket.StatusInternalError, errTailOver.Error()) // the code that Loki uses for it
	case r.Context().Err() != nil:
		conn.Close(websocket.StatusGoingAway, "the server stops")
	case err == nil:
		conn.Close(websocket.StatusNormalClosure, "the query has ended")
	case statusOf(err) < http.StatusInternalServerError:
		conn.Close(websocket.StatusPolicyViolation, reason(err))
	case reading.Err() == nil: // a write that failed has closed the connection
		h.log.Error("tail failed", "error", err)
		conn.Close(websocket.StatusInternalError, reason(err))
	}
	return nil
}

var (
	errClientGone = errors.New("the client has left")
	errTailOver   = errors.New("reached tail max duration limit")
)

// reason shortens an error to what a close frame can hold.
func reason(err error) string {
	text := err.Error()
	const most = 120
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > 0 && text[cut]&0xC0 == 0x80 { // not within a character
		cut--
	}
	return text[:cut]
}

// queued is an answer and when it may be sent.
type queued struct {
	res *querier.TailResponse
	due time.Time
}

// follow passes what the query yields to the queue until it ends. When the queue is full it waits; what
// the ingester must drop meanwhile is counted there.
func (h *handler) follow(ctx context.Context, req *querier.TailRequest, delay time.Duration, queue chan<- queued) error {
	for res, err := range h.service.Tail(ctx, req) {
		if err != nil {
			return err
		}
		select {
		case queue <- queued{res, time.Now().Add(delay)}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return context.Cause(ctx)
}

// tailConn sends frames to a client.
type tailConn struct {
	conn       *websocket.Conn
	old        bool // frames in the shape of the API before version 1
	categorize bool
	ping       time.Duration
	timeout    time.Duration
}

// write sends answers when they are due.
func (t *tailConn) write(ctx context.Context, queue <-chan queued) error {
	var buf []byte
	for q := range queue {
		if wait := time.Until(q.due); wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return nil
			}
		}
		if t.old {
			buf = lokihttp.AppendOldTail(buf[:0], q.res.Streams, q.res.Dropped, q.res.Lost, time.Now())
		} else {
			buf = lokihttp.AppendTail(buf[:0], q.res.Streams, t.categorize, q.res.Dropped, q.res.Lost, time.Now())
		}
		if err := t.send(ctx, buf); err != nil {
			return err
		}
	}
	return nil
}

// lastWrite is how long a frame may take that is being written when the tail ends. Cancelling it at once
// would leave no connection to say goodbye on.
const lastWrite = time.Second

// send writes one frame. A client that does not take it in time is cut off.
func (t *tailConn) send(ctx context.Context, frame []byte) error {
	write, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	timer := time.AfterFunc(t.timeout, cancel)
	defer timer.Stop()
	defer context.AfterFunc(ctx, func() { timer.Reset(min(lastWrite, t.timeout)) })()
	return t.conn.Write(write, websocket.MessageText, frame)
}

// pings asks the client regularly whether it is there.
func (t *tailConn) pings(ctx context.Context) error {
	ticker := time.NewTicker(t.ping)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		ctx, cancel := context.WithTimeout(ctx, t.timeout)
		err := t.conn.Ping(ctx)
		cancel()
		if err != nil {
			return err
		}
	}
}
