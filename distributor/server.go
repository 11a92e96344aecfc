package distributor

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"google.golang.org/grpc"

	"example.com/loki/ingester"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
)

// RegisterServer makes s answer the calls of clients.
func RegisterServer(reg grpc.ServiceRegistrar, s Service) {
	wirepb.RegisterDistributorServer(reg, &server{service: s, errors: WireErrors()})
}

type server struct {
	wirepb.UnimplementedDistributorServer
	service Service
	errors  []wire.Kind
}

// Push stores a request of one message.
func (s *server) Push(ctx context.Context, m *wirepb.DistributorPushRequest) (*wirepb.DistributorPushResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.DistributorPushResponse, error) {
		req := &PushRequest{}
		if err := addPiece(req, m); err != nil {
			return nil, err
		}
		return &wirepb.DistributorPushResponse{}, s.service.Push(ctx, req)
	})
}

// PushLarge stores a request of several messages.
func (s *server) PushLarge(stream grpc.ClientStreamingServer[wirepb.DistributorPushRequest, wirepb.DistributorPushResponse]) error {
	resp, err := wire.Handle(stream.Context(), s.errors, func(ctx context.Context) (*wirepb.DistributorPushResponse, error) {
		req := &PushRequest{}
		for size, limit := 0, wire.MaxRequest(ctx); ; {
			m, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return &wirepb.DistributorPushResponse{}, s.service.Push(ctx, req)
			}
			if err != nil {
				return nil, err
			}
			if size += m.SizeVT(); size > limit {
				return nil, wire.RequestTooLarge(limit)
			}
			if err := addPiece(req, m); err != nil {
				return nil, err
			}
		}
	})
	if err != nil {
		return err
	}
	return stream.SendAndClose(resp)
}

// addPiece adds what a message holds to req.
func addPiece(req *PushRequest, m *wirepb.DistributorPushRequest) error {
	req.Size = int(m.Size)
	in, err := wire.ReadEntries(m.Entries)
	if err != nil {
		return err
	}
	names := in.Names()
	entries := make([]ingester.Entry, in.Entries())
	fields := make([]ingester.Field, in.Fields())
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
			e.Metadata[i] = ingester.Field{Name: names[name], Value: value}
		}
	}
	for _, raw := range m.Streams {
		if int(raw.Count) > len(entries) {
			return wire.Malformed("%d entries where %d are left", raw.Count, len(entries))
		}
		some := entries[:raw.Count:raw.Count]
		entries = entries[raw.Count:]
		if raw.Continued {
			if len(req.Streams) == 0 {
				return wire.Malformed("the first stream goes on with none")
			}
			last := &req.Streams[len(req.Streams)-1]
			last.Entries = append(last.Entries, some...)
			continue
		}
		s := Stream{Text: string(raw.Text), Entries: some}
		if raw.HasLabels {
			if s.Labels, err = decodeSet(raw.Labels); err != nil {
				return err
			}
		}
		req.Streams = append(req.Streams, s)
	}
	if len(entries) > 0 {
		return wire.Malformed("%d entries belong to no stream", len(entries))
	}
	return nil
}

// decodeSet returns what encodeSet was given; not nil.
func decodeSet(data []byte) (LabelSet, error) {
	set := LabelSet{}
	for len(data) > 0 {
		var l Label
		for _, s := range [2]*string{&l.Name, &l.Value} {
			n, size := binary.Uvarint(data)
			if size <= 0 || n > uint64(len(data)-size) {
				return nil, wire.Malformed("labels end too early")
			}
			*s = string(data[size : size+int(n)])
			data = data[size+int(n):]
		}
		set = append(set, l)
	}
	return set, nil
}
