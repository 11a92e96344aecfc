package querier

import (
	"context"
	"iter"

	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
)

// NewClient returns the querier behind a connection. Its errors are those of the Service; if the
// process cannot be reached they have the gRPC status Unavailable.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewQuerierClient(conn), errors: WireErrors()}
}

type client struct {
	rpc    wirepb.QuerierClient
	errors []wire.Kind
}

var _ Service = (*client)(nil)

// Run implements Service.
func (c *client) Run(ctx context.Context, t *logql.Task) (*logql.Partial, error) {
	return wire.AskPartial(ctx, t, c.errors, c.rpc.Run)
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
func (c *client) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by []string) ([]logql.StreamVolume, error) {
	return wire.AskVolumes(ctx, wire.EncodeVolumeRequest(start, end, matchers, by, nil), c.errors, c.rpc.Volumes)
}

// Survey implements Service.
func (c *client) Survey(ctx context.Context, req *SurveyRequest) ([]SurveyPiece, error) {
	m, err := wire.Call(ctx, c.errors, func(ctx context.Context) (*wirepb.SurveyResponse, error) {
		return c.rpc.Survey(ctx, &wirepb.SurveyRequest{Matchers: wire.EncodeMatchers(req.Matchers), Cuts: req.Cuts})
	})
	if err != nil || len(m.Pieces) == 0 {
		return nil, err
	}
	pieces := make([]SurveyPiece, len(m.Pieces))
	for i, p := range m.Pieces {
		pieces[i] = SurveyPiece{Bytes: p.Bytes, Source: string(p.Source)}
	}
	return pieces, nil
}

// Tail implements Service.
func (c *client) Tail(ctx context.Context, req *TailRequest) iter.Seq2[*TailResponse, error] {
	m := &wirepb.TailRequest{Query: []byte(req.Query), Start: req.Start, Limit: int64(req.Limit), Categorize: req.Categorize}
	return func(yield func(*TailResponse, error) bool) {
		for t, err := range wire.AskTail(ctx, m, c.errors, c.rpc.Tail) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(&TailResponse{Streams: t.Streams, Dropped: t.Dropped, Lost: t.Lost}, nil) {
				return
			}
		}
	}
}
