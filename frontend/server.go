package frontend

import (
	"context"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/querier"
)

// RegisterServer makes s answer the calls of clients.
func RegisterServer(reg grpc.ServiceRegistrar, s Service) {
	wirepb.RegisterFrontendServer(reg, &server{service: s, errors: WireErrors()})
}

type server struct {
	wirepb.UnimplementedFrontendServer
	service Service
	errors  []wire.Kind
}

// Query sends the answer to a query.
func (s *server) Query(m *wirepb.Params, stream grpc.ServerStreamingServer[wirepb.ResultPiece]) error {
	p := wire.DecodeParams(m)
	res, err := s.service.Query(wire.Incoming(stream.Context()), &p)
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	return wire.SendResult(res, stream.Send)
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
func (s *server) Series(m *wirepb.SeriesRequest, stream grpc.ServerStreamingServer[wirepb.LabelSets]) error {
	return wire.SendSeries(stream, s.errors, func(ctx context.Context) ([]labels.Labels, error) {
		matchers := make([][]*labels.Matcher, len(m.Selectors))
		for i, sel := range m.Selectors {
			var err error
			if matchers[i], err = wire.DecodeMatchers(sel.Matchers); err != nil {
				return nil, err
			}
		}
		return s.service.Series(ctx, m.Start, m.End, matchers)
	})
}

// IndexStats says how much a selector touches.
func (s *server) IndexStats(ctx context.Context, m *wirepb.ListRequest) (*wirepb.IndexStatsResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.IndexStatsResponse, error) {
		ms, err := wire.DecodeMatchers(m.Matchers)
		if err != nil {
			return nil, err
		}
		st, err := s.service.IndexStats(ctx, m.Start, m.End, ms)
		return encodeStats(st), err
	})
}

func encodeStats(s IndexStats) *wirepb.IndexStatsResponse {
	return &wirepb.IndexStatsResponse{Streams: s.Streams, Chunks: s.Chunks, Entries: s.Entries, Bytes: s.Bytes}
}

// IndexShards cuts what a selector touches into shards.
func (s *server) IndexShards(ctx context.Context, m *wirepb.IndexShardsRequest) (*wirepb.IndexShardsResponse, error) {
	return wire.Handle(ctx, s.errors, func(ctx context.Context) (*wirepb.IndexShardsResponse, error) {
		ms, err := wire.DecodeMatchers(m.Matchers)
		if err != nil {
			return nil, err
		}
		shards, err := s.service.IndexShards(ctx, m.Start, m.End, ms, m.TargetBytes)
		out := &wirepb.IndexShardsResponse{Shards: make([]*wirepb.IndexShard, len(shards))}
		for i, shard := range shards {
			out.Shards[i] = &wirepb.IndexShard{Min: shard.Min, Max: shard.Max, Stats: encodeStats(shard.IndexStats)}
		}
		return out, err
	})
}

// Volume sends volumes by label.
func (s *server) Volume(m *wirepb.VolumeRequest, stream grpc.ServerStreamingServer[wirepb.ResultPiece]) error {
	ms, err := wire.DecodeMatchers(m.Matchers)
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	res, err := s.service.Volume(wire.Incoming(stream.Context()), &VolumeRequest{
		Start:        m.Start,
		End:          m.End,
		Matchers:     ms,
		Limit:        int(m.Limit),
		Step:         time.Duration(m.Step),
		TargetLabels: wire.ToStrings(m.TargetLabels),
		ByLabel:      m.ByLabel,
	})
	if err != nil {
		return wire.ToStatus(err, s.errors)
	}
	return wire.SendResult(res, stream.Send)
}

// Tail sends what a live query finds.
func (s *server) Tail(m *wirepb.TailRequest, stream grpc.ServerStreamingServer[wirepb.TailPiece]) error {
	req := &querier.TailRequest{Query: string(m.Query), Start: m.Start, Limit: int(m.Limit), Categorize: m.Categorize}
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
