package ingester

import (
	"context"
	"errors"
	"io"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// RegisterServer makes s answer the calls of clients.
func RegisterServer(reg grpc.ServiceRegistrar, s Service) {
	wirepb.RegisterIngesterServer(reg, &server{service: s, errors: WireErrors()})
}

type server struct {
	wirepb.UnimplementedIngesterServer
	service Service
	errors  []wire.Kind
}

// Push stores a request of one message.
func (s *server) Push(ctx context.Context, m *wirepb.PushRequest) (*wirepb.PushResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.PushResponse, error) {
		var r streamReader
		streams, err := r.read(nil, m.Streams, m.Entries)
		if err != nil {
			return nil, err
		}
		return &wirepb.PushResponse{}, s.service.Push(ctx, &PushRequest{Streams: streams})
	})
}

// PushLarge stores a request of several messages. What is larger than is kept in memory of one request is stored in
// parts, of which each is in the log before the next is read. The call succeeds when all are; if a part fails, the
// sender repeats all of it, and what is stored already is stored once.
func (s *server) PushLarge(stream grpc.ClientStreamingServer[wirepb.PushRequest, wirepb.PushResponse]) error {
	resp, err := wire.Handle(stream.Context(), s.errors, func(ctx context.Context) (*wirepb.PushResponse, error) {
		var streams []Stream
		var r streamReader
		parts := pushParts{service: s.service}
		for size, limit := 0, wire.MaxRequest(ctx); ; {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return &wirepb.PushResponse{}, parts.last(ctx, streams)
			}
			if err != nil {
				return nil, err
			}
			n := m.SizeVT()
			if size > 0 && size+n > limit {
				if streams, err = parts.next(ctx, streams); err != nil {
					return nil, err
				}
				size = 0
			}
			size += n
			if streams, err = r.read(streams, m.Streams, m.Entries); err != nil {
				return nil, err
			}
		}
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// pushParts stores a push in parts.
type pushParts struct {
	service Service
	refused *StreamLimitError // by all parts so far
	hashes  map[uint64]bool   // of the refused streams
}

// next stores a part and returns what the next begins with: the last stream, which may go on, without entries.
func (p *pushParts) next(ctx context.Context, streams []Stream) ([]Stream, error) {
	if err := p.store(ctx, streams); err != nil {
		return nil, err
	}
	last := streams[len(streams)-1]
	return []Stream{{Labels: last.Labels, Hash: last.Hash}}, nil
}

// last stores the last part and returns what Push returns.
func (p *pushParts) last(ctx context.Context, streams []Stream) error {
	if err := p.store(ctx, streams); err != nil {
		return err
	}
	if p.refused != nil {
		return p.refused
	}
	return nil
}

// store stores a part, and remembers the streams that were refused.
func (p *pushParts) store(ctx context.Context, streams []Stream) error {
	if len(streams) > 0 && len(streams[0].Entries) == 0 { // see next
		streams = streams[1:]
	}
	err := p.service.Push(ctx, &PushRequest{Streams: streams})
	var over *StreamLimitError
	if !errors.As(err, &over) {
		return err
	}
	if p.refused == nil {
		p.refused, p.hashes = &StreamLimitError{Tenant: over.Tenant, Limit: over.Limit}, map[uint64]bool{}
	}
	for _, ls := range over.Streams {
		if h := labels.StableHash(ls); !p.hashes[h] {
			p.hashes[h] = true
			p.refused.Streams = append(p.refused.Streams, ls)
		}
	}
	return nil
}

// streamReader makes streams of messages. What it returns are slices of the messages.
type streamReader struct {
	labels wire.LabelDecoder
}

// read appends the streams of a message to dst.
func (r *streamReader) read(dst []Stream, streams []*wirepb.PushStream, msg *wirepb.Entries) ([]Stream, error) {
	in, err := wire.ReadEntries(msg)
	if err != nil {
		return nil, err
	}
	names := in.Names()
	entries := make([]Entry, in.Entries())
	fields := make([]Field, in.Fields())
	for n := range entries {
		e := &entries[n]
		var count int
		e.Time, e.Line, count = in.Next()
		if count == 0 {
			continue
		}
		e.Metadata, fields = fields[:count:count], fields[count:]
		for i := range e.Metadata {
			name, value := in.Field()
			e.Metadata[i] = Field{Name: names[name], Value: value}
		}
	}
	for _, s := range streams {
		if int(s.Count) > len(entries) {
			return nil, wire.Malformed("%d entries where %d are left", s.Count, len(entries))
		}
		some := entries[:s.Count:s.Count]
		entries = entries[s.Count:]
		if s.Continued {
			if len(dst) == 0 {
				return nil, wire.Malformed("the first stream goes on with none")
			}
			last := &dst[len(dst)-1]
			last.Entries = append(last.Entries, some...)
			continue
		}
		ls, err := r.labels.Decode(s.Labels)
		if err != nil {
			return nil, err
		}
		dst = append(dst, Stream{Labels: ls, Hash: labels.StableHash(ls), Entries: some})
	}
	if len(entries) > 0 {
		return nil, wire.Malformed("%d entries belong to no stream", len(entries))
	}
	return dst, nil
}

// Select sends batches.
func (s *server) Select(m *wirepb.SelectRequest, stream grpc.ServerStreamingServer[wirepb.SelectPiece]) error {
	ctx := wire.Incoming(stream.Context())
	req, err := wire.DecodeSelect(m)
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	sender, err := wire.NewBatchSender(req, stream.Send)
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	var gone error // of the client
	if m.Overlaps {
		req.Overlaps = func(all []logql.Overlap) { gone = sender.Overlaps(all) }
	}
	for b, err := range s.service.Select(ctx, req) {
		if err == nil {
			if err = gone; err == nil {
				err = sender.Send(ctx, b)
			}
			b.Release()
		}
		if err != nil {
			return wire.ToStatus(err, s.errors)
		}
	}
	return nil
}

// Labels sends names.
func (s *server) Labels(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.Strings]) error {
	return wire.SendStrings(m, stream, s.errors, s.service.Labels)
}

// LabelValues sends values.
func (s *server) LabelValues(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.Strings]) error {
	return wire.SendValues(m, stream, s.errors, s.service.LabelValues)
}

// Series sends streams.
func (s *server) Series(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.LabelSets]) error {
	return wire.SendStreams(m, stream, s.errors, s.service.Series)
}

// Volumes sends volumes.
func (s *server) Volumes(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.VolumeList]) error {
	return wire.SendVolumes(m, stream, s.errors, func(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]logql.StreamVolume, error) {
		return s.service.Volumes(ctx, start, end, ms, wire.Parts(m.HasParts, m.Parts))
	})
}

// Oldest tells from when on there are rows.
func (s *server) Oldest(ctx context.Context, m *wirepb.ListRequest) (*wirepb.OldestResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.OldestResponse, error) {
		ms, err := wire.DecodeMatchers(m.Matchers)
		if err != nil {
			return nil, err
		}
		oldest, err := s.service.Oldest(ctx, m.Start, m.End, ms, wire.Parts(m.HasParts, m.Parts))
		return &wirepb.OldestResponse{Time: oldest}, err
	})
}

// Tail sends new entries.
func (s *server) Tail(m *wirepb.IngesterTailRequest, stream grpc.ServerStreamingServer[wirepb.IngesterTailPiece]) error {
	ms, err := wire.DecodeMatchers(m.Matchers)
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	batches := s.service.Tail(wire.Incoming(stream.Context()), ms)
	// The subscription stands; the client waits to hear that.
	if err := stream.SendHeader(nil); err != nil {
		return err
	}
	for b, err := range batches {
		if err != nil {
			return wire.ToStatus(err, s.errors)
		}
		if err := sendTail(b, stream.Send); err != nil {
			return err
		}
	}
	return nil
}

func sendTail(b *TailBatch, send func(*wirepb.IngesterTailPiece) error) error {
	w := &pushWriter{piece: wire.PieceSize}
	dropped, gap := int64(b.Dropped), int64(0)
	if !b.Gap.IsZero() {
		gap = b.Gap.UnixNano()
	}
	lost := wire.EncodeLost(b.Lost)
	for {
		some, more := w.next(b.Streams)
		if err := send(&wirepb.IngesterTailPiece{
			Streams: some.Streams, Entries: some.Entries, Dropped: dropped, At: b.At.UnixNano(), More: more, Gap: gap, Lost: lost,
		}); err != nil || !more {
			return err
		}
		dropped, lost = 0, nil
	}
}

// Flush cuts the parts of a tenant.
func (s *server) Flush(ctx context.Context, m *wirepb.FlushRequest) (*wirepb.FlushResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.FlushResponse, error) {
		return &wirepb.FlushResponse{}, s.service.Flush(ctx, string(m.Tenant))
	})
}
