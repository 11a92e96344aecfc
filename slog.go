package loki

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/grafana/dskit/user"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"example.com/loki/distributor"
	"example.com/loki/ingester"
)

// SlogHandler writes records of log/slog into an engine. The message becomes the line; the level and
// all attributes become structured metadata, those in groups under names joined with "_". A record
// never waits for the engine: if the engine falls behind by more than Config.SlogBuffer records, new
// ones are dropped and counted. Close of the engine writes what is buffered.
//
// Its methods may be called from several goroutines.
type SlogHandler struct {
	sink   *slogSink
	labels distributor.LabelSet
	level  slog.Leveler
	prefix string           // open groups, each followed by "_"
	attrs  []ingester.Field // from WithAttrs, names already prefixed
}

// SlogHandler returns a handler that writes into the engine as stream labels, given as names and
// values in turn, and as Config.Tenant. Without labels the stream is {job="slog"}. Only records of
// level Info and above are written; see SlogHandler.WithLevel.
//
//	slog.SetDefault(slog.New(eng.SlogHandler("app", "shop")))
func (e *Engine) SlogHandler(labels ...string) *SlogHandler {
	if len(labels) == 0 {
		labels = []string{"job", "slog"}
	}
	var set distributor.LabelSet
	for i := 0; i < len(labels); i += 2 {
		value := ""
		if i+1 < len(labels) {
			value = labels[i+1]
		}
		set = append(set, distributor.Label{Name: labels[i], Value: value})
	}
	return &SlogHandler{sink: e.slog, labels: set, level: slog.LevelInfo}
}

// WithLevel returns a handler that writes only records of at least this level.
func (h *SlogHandler) WithLevel(l slog.Leveler) *SlogHandler {
	c := *h
	c.level = l
	return &c
}

// Dropped returns how many records of all handlers of the engine were lost because its buffer was full,
// because the engine refused them or because it was closed.
func (h *SlogHandler) Dropped() uint64 { return h.sink.dropped.Load() }

// Flush waits until all records handled before are written, or ctx is done.
func (h *SlogHandler) Flush(ctx context.Context) error { return h.sink.flush(ctx) }

// Enabled implements slog.Handler.
func (h *SlogHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

// Handle implements slog.Handler. It never blocks; an error means that the record was dropped.
func (h *SlogHandler) Handle(_ context.Context, r slog.Record) error {
	fields := make([]ingester.Field, 0, 1+len(h.attrs)+r.NumAttrs())
	fields = append(fields, ingester.Field{Name: "level", Value: []byte(strings.ToLower(r.Level.String()))})
	fields = append(fields, h.attrs...)
	r.Attrs(func(a slog.Attr) bool {
		fields = appendAttr(fields, h.prefix, a)
		return true
	})
	at := r.Time
	if at.IsZero() {
		at = h.sink.now()
	}
	return h.sink.add(slogRecord{labels: h.labels, entry: ingester.Entry{
		Time:     at.UnixNano(),
		Line:     []byte(r.Message),
		Metadata: fields,
	}})
}

// WithAttrs implements slog.Handler.
func (h *SlogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	if len(attrs) == 0 {
		return h
	}
	c := *h
	c.attrs = append([]ingester.Field(nil), h.attrs...)
	for _, a := range attrs {
		c.attrs = appendAttr(c.attrs, h.prefix, a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (h *SlogHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	c := *h
	c.prefix = h.prefix + name + "_"
	return &c
}

// appendAttr appends an attribute, and of a group all it holds. Empty attributes are left out, as
// slog.Handler demands.
func appendAttr(dst []ingester.Field, prefix string, a slog.Attr) []ingester.Field {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		if a.Key != "" {
			prefix += a.Key + "_"
		}
		for _, g := range v.Group() {
			dst = appendAttr(dst, prefix, g)
		}
		return dst
	}
	if a.Key == "" && v.Equal(slog.Value{}) {
		return dst
	}
	return append(dst, ingester.Field{Name: prefix + a.Key, Value: appendValue(nil, v)})
}

func appendValue(dst []byte, v slog.Value) []byte {
	switch v.Kind() {
	case slog.KindString:
		return append(dst, v.String()...)
	case slog.KindInt64:
		return strconv.AppendInt(dst, v.Int64(), 10)
	case slog.KindUint64:
		return strconv.AppendUint(dst, v.Uint64(), 10)
	case slog.KindFloat64:
		return strconv.AppendFloat(dst, v.Float64(), 'g', -1, 64)
	case slog.KindBool:
		return strconv.AppendBool(dst, v.Bool())
	case slog.KindDuration:
		return append(dst, v.Duration().String()...)
	case slog.KindTime:
		return v.Time().AppendFormat(dst, time.RFC3339Nano)
	}
	switch x := v.Any().(type) {
	case error:
		return append(dst, x.Error()...)
	case encoding.TextMarshaler:
		if text, err := x.MarshalText(); err == nil {
			return append(dst, text...)
		}
	}
	return fmt.Append(dst, v.Any())
}

// errSlogFull is returned by Handle for a record that was dropped; log/slog ignores it.
var errSlogFull = errors.New("loki: the buffer for slog records is full")

type slogRecord struct {
	labels distributor.LabelSet
	entry  ingester.Entry
	done   chan<- struct{} // set on a marker: closed when all before it is written
}

// slogSink collects the records of all handlers of an engine and pushes them in batches. run is its
// one goroutine.
type slogSink struct {
	tenant  string
	push    func(context.Context, *distributor.PushRequest) error
	now     func() time.Time
	log     *slog.Logger
	records chan slogRecord
	dropped atomic.Uint64
	counter prometheus.Counter

	mu     sync.RWMutex // held for reading while sending; guards closed
	closed bool
}

// slogBatch bounds how many records go into one push.
const slogBatch = 1024

func newSlogSink(cfg Config, push func(context.Context, *distributor.PushRequest) error, reg prometheus.Registerer) *slogSink {
	return &slogSink{
		tenant: cfg.Tenant, push: push, now: cfg.Now, log: cfg.Logger,
		records: make(chan slogRecord, cfg.SlogBuffer),
		counter: promauto.With(reg).NewCounter(prometheus.CounterOpts{
			Name: "loki_slog_dropped_records_total",
			Help: "Records of log/slog that were lost because the engine fell behind, refused them or was closed.",
		}),
	}
}

func (s *slogSink) add(r slogRecord) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		s.drop(1)
		return ErrClosed
	}
	select {
	case s.records <- r:
		return nil
	default:
		s.drop(1)
		return errSlogFull
	}
}

func (s *slogSink) drop(n int) {
	s.dropped.Add(uint64(n))
	s.counter.Add(float64(n))
}

func (s *slogSink) flush(ctx context.Context) error {
	done := make(chan struct{})
	s.mu.RLock()
	closed := s.closed
	if !closed {
		select {
		case s.records <- slogRecord{done: done}:
		case <-ctx.Done():
			s.mu.RUnlock()
			return ctx.Err()
		}
	}
	s.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop lets run end once it has written what is buffered.
func (s *slogSink) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.records)
	}
}

// run pushes records until stop was called. It takes what has gathered while the last push was under
// way, so the busier the host, the larger the batches.
func (s *slogSink) run() {
	ctx := user.InjectOrgID(context.Background(), s.tenant)
	for first := range s.records {
		batch, marks := s.gather(first)
		if n := len(batch); n > 0 {
			if err := s.push(ctx, slogRequest(batch)); err != nil {
				refused := n
				var partial *distributor.PushError
				if errors.As(err, &partial) {
					refused = min(n, partial.Refused)
				}
				s.drop(refused)
				s.log.Warn("slog records were refused", "records", refused, "err", err)
			}
		}
		for _, m := range marks {
			close(m)
		}
	}
}

func (s *slogSink) gather(r slogRecord) (batch []slogRecord, marks []chan<- struct{}) {
	for {
		if r.done != nil {
			marks = append(marks, r.done)
		} else {
			batch = append(batch, r)
		}
		if len(batch) == slogBatch {
			return batch, marks
		}
		var ok bool
		select {
		case r, ok = <-s.records:
			if !ok {
				return batch, marks
			}
		default:
			return batch, marks
		}
	}
}

// slogRequest groups consecutive records of one handler into streams.
func slogRequest(batch []slogRecord) *distributor.PushRequest {
	req := &distributor.PushRequest{}
	for _, r := range batch {
		last := len(req.Streams) - 1
		if last < 0 || &req.Streams[last].Labels[0] != &r.labels[0] {
			req.Streams = append(req.Streams, distributor.Stream{Labels: r.labels})
			last++
		}
		req.Streams[last].Entries = append(req.Streams[last].Entries, r.entry)
	}
	return req
}
