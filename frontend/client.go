package frontend

import (
	"context"
	"iter"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
	"example.com/loki/querier"
)

// NewClient returns the frontend behind a connection. Its errors are those of the Service; if the
// process cannot be reached they have the gRPC status Unavailable.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewFrontendClient(conn), errors: WireErrors()}
}

type client struct {
	rpc    wirepb.FrontendClient
	errors []wire.Kind
}

var _ Service = (*client)(nil)

// Query implements Service.
func (c *client) Query(ctx context.Context, p *logql.Params) (*logql.Result, error) {
	return wire.AskResult(ctx, c.errors, wire.Open(c.rpc.Query, wire.EncodeParams(p)))
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
func (c *client) Series(ctx context.Context, start, end int64, matchers [][]*labels.Matcher) ([]labels.Labels, error) {
	m := &wirepb.SeriesRequest{Start: start, End: end}
	for _, ms := range matchers {
		m.Selectors = append(m.Selectors, &wirepb.Selector{Matchers: wire.EncodeMatchers(ms)})
	}
	return wire.AskSeries(ctx, c.errors, wire.Open(c.rpc.Series, m))
}

// IndexStats implements Service.
func (c *client) IndexStats(ctx context.Context, start, end int64, matchers []*labels.Matcher) (IndexStats, error) {
	m, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.IndexStatsResponse, error) {
		return c.rpc.IndexStats(ctx, wire.EncodeList("", start, end, matchers, nil))
	})
	if err != nil {
		return IndexStats{}, err
	}
	return decodeStats(m), nil
}

// IndexShards implements Service.
func (c *client) IndexShards(ctx context.Context, start, end int64, matchers []*labels.Matcher, targetBytes int64) ([]IndexShard, error) {
	m, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.IndexShardsResponse, error) {
		return c.rpc.IndexShards(ctx, &wirepb.IndexShardsRequest{
			Start: start, End: end, Matchers: wire.EncodeMatchers(matchers), TargetBytes: targetBytes,
		})
	})
	if err != nil {
		return nil, err
	}
	shards := make([]IndexShard, len(m.Shards))
	for i, s := range m.Shards {
		shards[i] = IndexShard{Min: s.Min, Max: s.Max, IndexStats: decodeStats(s.Stats)}
	}
	return shards, nil
}

// decodeStats takes nil for nothing.
func decodeStats(m *wirepb.IndexStatsResponse) IndexStats {
	return IndexStats{Streams: m.GetStreams(), Chunks: m.GetChunks(), Entries: m.GetEntries(), Bytes: m.GetBytes()}
}

// Volume implements Service.
func (c *client) Volume(ctx context.Context, req *VolumeRequest) (*logql.Result, error) {
	return wire.AskResult(ctx, c.errors, wire.Open(c.rpc.Volume, &wirepb.VolumeRequest{
		Start:        req.Start,
		End:          req.End,
		Matchers:     wire.EncodeMatchers(req.Matchers),
		Limit:        int64(req.Limit),
		Step:         int64(req.Step),
		TargetLabels: wire.ToBytes(req.TargetLabels),
		ByLabel:      req.ByLabel,
	}))
}

// Tail implements Service.
func (c *client) Tail(ctx context.Context, req *querier.TailRequest) iter.Seq2[*querier.TailResponse, error] {
	m := &wirepb.TailRequest{Query: []byte(req.Query), Start: req.Start, Limit: int64(req.Limit), Categorize: req.Categorize}
	return func(yield func(*querier.TailResponse, error) bool) {
		for t, err := range wire.AskTail(ctx, m, c.errors, c.rpc.Tail) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&querier.TailResponse{Streams: t.Streams, Dropped: t.Dropped, Lost: t.Lost}, nil) {
				return
			}
		}
	}
}
