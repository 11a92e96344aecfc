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

// PushLarge stores a request of several messages.
func (s *server) PushLarge(stream grpc.ClientStreamingServer[wirepb.PushRequest, wirepb.PushResponse]) error {
	resp, err := wire.Handle(stream.Context(), s.errors, func(ctx context.Context) (*wirepb.PushResponse, error) {
		var streams []Stream
		var r streamReader
		for size, limit := 0, wire.MaxRequest(ctx); ; {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return &wirepb.PushResponse{}, s.service.Push(ctx, &PushRequest{Streams: streams})
			}
			if err != nil {
				return nil, err
			}
			if size += m.SizeVT(); size > limit {
				return nil, wire.RequestTooLarge(limit)
			}
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
	w := &pushWriter{}
	dropped, gap := int64(b.Dropped), int64(0)
	if !b.Gap.IsZero() {
		gap = b.Gap.UnixNano()
	}
	for {
		some, more := w.next(b.Streams)
		if err := send(&wirepb.IngesterTailPiece{
			Streams: some.Streams, Entries: some.Entries, Dropped: dropped, At: b.At.UnixNano(), More: more, Gap: gap,
		}); err != nil || !more {
			return err
		}
		dropped = 0
	}
}

// Flush cuts the parts of a tenant.
func (s *server) Flush(ctx context.Context, m *wirepb.FlushRequest) (*wirepb.FlushResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.FlushResponse, error) {
		return &wirepb.FlushResponse{}, s.service.Flush(ctx, string(m.Tenant))
	})
}
