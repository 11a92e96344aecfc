package querier

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
	wirepb.RegisterQuerierServer(reg, &server{service: s, errors: WireErrors()})
}

type server struct {
	wirepb.UnimplementedQuerierServer
	service Service
	errors  []wire.Kind
}

// Run sends the answer to a task.
func (s *server) Run(m *wirepb.Task, stream grpc.ServerStreamingServer[wirepb.Piece]) error {
	return wire.SendPartial(m, stream, s.errors, s.service.Run)
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
		return s.service.Volumes(ctx, start, end, ms, wire.By(m))
	})
}

// Survey tells what would be read.
func (s *server) Survey(ctx context.Context, m *wirepb.SurveyRequest) (*wirepb.SurveyResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.SurveyResponse, error) {
		ms, err := wire.DecodeMatchers(m.Matchers)
		if err != nil {
			return nil, err
		}
		pieces, err := s.service.Survey(ctx, &SurveyRequest{Matchers: ms, Cuts: m.Cuts})
		resp := &wirepb.SurveyResponse{Pieces: make([]*wirepb.SurveyPiece, len(pieces))}
		for i, p := range pieces {
			resp.Pieces[i] = &wirepb.SurveyPiece{Bytes: p.Bytes, Source: []byte(p.Source)}
		}
		return resp, err
	})
}

// Tail sends what a live query finds.
func (s *server) Tail(m *wirepb.TailRequest, stream grpc.ServerStreamingServer[wirepb.TailPiece]) error {
	req := &TailRequest{Query: string(m.Query), Start: m.Start, Limit: int(m.Limit), Categorize: m.Categorize}
	for res, err := range s.service.Tail(wire.Incoming(stream.Context()), req) {
		if err != nil {
			return wire.ToStatus(err, s.errors)
		}
		if err := wire.SendTail(wire.Tailed{Streams: res.Streams, Dropped: res.Dropped, Lost: res.Lost}, stream.Send); err != nil {
			return err
		}
	}
	return nil
}
