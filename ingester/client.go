package ingester

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// NewClient returns the ingester behind a connection. Its errors are those of the Service; if the
// process cannot be reached they have the gRPC status Unavailable. Batches of Select hold only rows
// that the time range and the hints of the request don't rule out.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewIngesterClient(conn), errors: WireErrors()}
}

type client struct {
	rpc    wirepb.IngesterClient
	errors []wire.Kind
	piece  atomic.Int64 // how large the messages of a push may be; 0 means wire.PieceSize
}

var _ Service = (*client)(nil)

// minPiece is the least that messages of a push are cut to, in bytes.
const minPiece = 16 << 10

// Push implements Service. A push is cut into messages; where the other side takes only smaller ones, into smaller
// ones. If even an entry by itself is too large for a message the error is ErrTooLarge.
func (c *client) Push(ctx context.Context, req *PushRequest) error {
	for piece := cmp.Or(int(c.piece.Load()), wire.PieceSize); ; piece /= 4 {
		err := c.push(ctx, req, piece)
		switch {
		case !errors.Is(err, wire.ErrMessageSize):
			if err == nil && piece < wire.PieceSize {
				c.piece.Store(int64(piece)) // it won't change while the other side runs
			}
			return err
		case piece/4 < minPiece:
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
	}
}

// push sends messages of about the size of a piece.
func (c *client) push(ctx context.Context, req *PushRequest, piece int) error {
	w := &pushWriter{piece: piece}
	_, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.PushResponse, error) {
		msg, more := w.next(req.Streams)
		if !more {
			return c.rpc.Push(ctx, msg)
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // of a call that was not finished
		stream, err := c.rpc.PushLarge(ctx)
		if err != nil {
			return nil, err
		}
		for {
			if err := stream.Send(msg); err != nil || !more {
				return stream.CloseAndRecv() // after a failure the answer says why
			}
			msg, more = w.next(req.Streams)
		}
	})
	return err
}

// pushWriter cuts streams into messages.
type pushWriter struct {
	piece         int // about how large messages get, in bytes
	stream, entry int // where the next message begins
}

// next returns the next message, and whether there are more.
func (p *pushWriter) next(streams []Stream) (*wirepb.PushRequest, bool) {
	m, w := &wirepb.PushRequest{}, &wire.EntriesWriter{}
	p.reserve(streams, w)
	size := 0
	for ; p.stream < len(streams); p.stream, p.entry = p.stream+1, 0 {
		if size+w.Size() >= p.piece {
			m.Entries = w.Take()
			return m, true
		}
		s := &streams[p.stream]
		ps := &wirepb.PushStream{Continued: p.entry > 0}
		if !ps.Continued {
			ps.Labels = wire.EncodeLabels(s.Labels)
			size += len(ps.Labels) + 8
		}
		m.Streams = append(m.Streams, ps)
		for ; p.entry < len(s.Entries); p.entry++ {
			if size+w.Size() >= p.piece && ps.Count > 0 {
				m.Entries = w.Take()
				return m, true
			}
			writeEntry(w, &s.Entries[p.entry])
			ps.Count++
		}
	}
	m.Entries = w.Take()
	return m, false
}

// reserve makes room for what is left, or for one message.
func (p *pushWriter) reserve(streams []Stream, w *wire.EntriesWriter) {
	entries, size := 0, 0
	from := p.entry
	for i := p.stream; i < len(streams); i++ {
		for j := from; j < len(streams[i].Entries); j++ {
			entries++
			size += len(streams[i].Entries[j].Line)
			if size >= p.piece {
				w.Reserve(entries, size)
				return
			}
		}
		from = 0
	}
	w.Reserve(entries, size)
}

func writeEntry(w *wire.EntriesWriter, e *Entry) {
	w.Add(e.Time, e.Line)
	for _, f := range e.Metadata {
		w.Field(f.Name, f.Value)
	}
}

// Select implements Service.
func (c *client) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		var r wire.BatchReceiver
		overlaps := wire.OverlapReceiver{Take: req.Overlaps}
		for m, err := range wire.Messages(ctx, c.errors, wire.Open(c.rpc.Select, wire.EncodeSelect(req))) {
			var b *column.Batch
			if err == nil {
				if overlaps.Add(m) {
					continue
				}
				b, err = r.Add(m)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if b != nil && !yield(b, nil) {
				return
			}
		}
	}
}

// Labels implements Service.
func (c *client) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return wire.AskStrings(ctx, wire.EncodeList("", start, end, matchers, nil), c.errors, c.rpc.Labels)
}

// LabelValues implements Service.
func (c *client) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return wire.AskStrings(ctx, wire.EncodeList(name, start, end, matchers, nil), c.errors, c.rpc.LabelValues)
}

// Series implements Service.
func (c *client) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	return wire.AskSeries(ctx, c.errors, wire.Open(c.rpc.Series, wire.EncodeList("", start, end, matchers, nil)))
}

// Volumes implements Service.
func (c *client) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) ([]logql.StreamVolume, error) {
	return wire.AskVolumes(ctx, wire.EncodeList("", start, end, matchers, known), c.errors, c.rpc.Volumes)
}

// Oldest implements Service.
func (c *client) Oldest(ctx context.Context, start, end int64, matchers []*labels.Matcher, known []string) (int64, error) {
	m, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.OldestResponse, error) {
		return c.rpc.Oldest(ctx, wire.EncodeList("", start, end, matchers, known))
	})
	if err != nil {
		return 0, err
	}
	return m.Time, nil
}

// Tail implements Service. It returns when the other side has subscribed.
func (c *client) Tail(ctx context.Context, matchers []*labels.Matcher) iter.Seq2[*TailBatch, error] {
	req := &wirepb.IngesterTailRequest{Matchers: wire.EncodeMatchers(matchers)}
	msgs := wire.Subscribe(ctx, c.errors, wire.Open(c.rpc.Tail, req))
	return func(yield func(*TailBatch, error) bool) {
		var r streamReader
		var batch *TailBatch
		for m, err := range msgs {
			if err == nil {
				if batch == nil {
					batch = &TailBatch{At: time.Unix(0, m.At)}
					if m.Gap != 0 {
						batch.Gap = time.Unix(0, m.Gap)
					}
				}
				batch.Dropped += int(m.Dropped)
				batch.Streams, err = r.read(batch.Streams, m.Streams, m.Entries)
			}
			if err == nil {
				batch.Lost, err = wire.DecodeLost(batch.Lost, m.Lost, &r.labels)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if m.More {
				continue
			}
			if !yield(batch, nil) {
				return
			}
			batch = nil
		}
	}
}

// Flush implements Service.
func (c *client) Flush(ctx context.Context, tenant string) error {
	_, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.FlushResponse, error) {
		return c.rpc.Flush(ctx, &wirepb.FlushRequest{Tenant: []byte(tenant)})
	})
	return err
}
