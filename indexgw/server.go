package indexgw

import (
	"context"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// RegisterServer makes s answer the calls of clients.
func RegisterServer(reg grpc.ServiceRegistrar, s Service) {
	wirepb.RegisterIndexGatewayServer(reg, &server{service: s})
}

type server struct {
	wirepb.UnimplementedIndexGatewayServer
	service Service
}

// Labels sends names.
func (s *server) Labels(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.Strings]) error {
	return wire.SendStrings(m, stream, nil, s.service.Labels)
}

// LabelValues sends values.
func (s *server) LabelValues(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.Strings]) error {
	return wire.SendValues(m, stream, nil, s.service.LabelValues)
}

// Series sends streams.
func (s *server) Series(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.LabelSets]) error {
	return wire.SendStreams(m, stream, nil, s.service.Series)
}

// Volumes sends volumes.
func (s *server) Volumes(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.VolumeList]) error {
	return wire.SendVolumes(m, stream, nil, func(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]logql.StreamVolume, error) {
		return s.service.Volumes(ctx, start, end, ms, wire.By(m), wire.Parts(m.HasParts, m.Parts))
	})
}

// segmentsPerMessage is about a piece of them.
const segmentsPerMessage = 8 << 10

// Segments sends what is in the catalog.
func (s *server) Segments(m *wirepb.ListRequest, stream grpc.ServerStreamingServer[wirepb.SegmentList]) error {
	all, err := s.service.Segments(wire.Incoming(stream.Context()), m.Start, m.End)
	if err != nil {
		return wire.ToStatus(err, nil)
	}
	out := &wirepb.SegmentList{}
	ids := 0
	for i := range all {
		g := &all[i]
		p := &wirepb.Segment{
			Id:            g.ID.Bytes(),
			MinTime:       g.MinTime,
			MaxTime:       g.MaxTime,
			Streams:       g.Streams,
			Rows:          g.Rows,
			RawBytes:      g.RawBytes,
			MetadataBytes: g.MetadataBytes,
			SizeBytes:     g.SizeBytes,
		}
		for _, id := range g.Replaces {
			p.Replaces = append(p.Replaces, id.Bytes())
		}
		p.Writers = wire.ToBytes(g.Writers)
		out.Segments = append(out.Segments, p)
		if ids += 4 + len(g.Replaces); ids >= segmentsPerMessage {
			if err := stream.Send(out); err != nil {
				return err
			}
			out, ids = &wirepb.SegmentList{}, 0
		}
	}
	return stream.Send(out)
}
