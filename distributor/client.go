package distributor

import (
	"context"
	"encoding/binary"

	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// NewClient returns the distributor behind a connection. Its errors are those of the Service; if the
// process cannot be reached they have the gRPC status Unavailable.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewDistributorClient(conn), errors: WireErrors()}
}

type client struct {
	rpc    wirepb.DistributorClient
	errors []wire.Kind
}

var _ Service = (*client)(nil)

// Push implements Service.
func (c *client) Push(ctx context.Context, req *PushRequest) error {
	w := &pushWriter{}
	_, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.DistributorPushResponse, error) {
		msg, more := w.next(req)
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
			msg, more = w.next(req)
		}
	})
	return err
}

// pushWriter cuts a request into messages.
type pushWriter struct {
	stream, entry int // where the next message begins
}

// next returns the next message, and whether there are more.
func (p *pushWriter) next(req *PushRequest) (*wirepb.DistributorPushRequest, bool) {
	m, w := &wirepb.DistributorPushRequest{Size: int64(req.Size)}, &wire.EntriesWriter{}
	size := 0
	for ; p.stream < len(req.Streams); p.stream, p.entry = p.stream+1, 0 {
		s := &req.Streams[p.stream]
		if size+w.Size() >= wire.PieceSize {
			m.Entries = w.Take()
			return m, true
		}
		raw := &wirepb.RawStream{Continued: p.entry > 0}
		if !raw.Continued {
			raw.Text, raw.HasLabels, raw.Labels = []byte(s.Text), s.Labels != nil, encodeSet(s.Labels)
			size += len(raw.Text) + len(raw.Labels) + 8
		}
		m.Streams = append(m.Streams, raw)
		for ; p.entry < len(s.Entries); p.entry++ {
			if size+w.Size() >= wire.PieceSize && raw.Count > 0 {
				m.Entries = w.Take()
				return m, true
			}
			e := &s.Entries[p.entry]
			w.Add(e.Time, e.Line)
			for _, f := range e.Metadata {
				w.Field(f.Name, f.Value)
			}
			raw.Count++
		}
	}
	m.Entries = w.Take()
	return m, false
}

// encodeSet writes labels as they were sent: in any order, valid or not.
func encodeSet(set LabelSet) []byte {
	var b []byte
	for _, l := range set {
		for _, s := range [2]string{l.Name, l.Value} {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
	}
	return b
}
