package indexgw

import (
	"context"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/grpc"

	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
	"example.com/loki/store"
)

// NewClient returns the gateway behind a connection. Its errors are those of the Service; if the
// process cannot be reached they have the gRPC status Unavailable.
func NewClient(conn grpc.ClientConnInterface) Service {
	return &client{rpc: wirepb.NewIndexGatewayClient(conn)}
}

// client has no errors of its own: those of the store travel in any case.
type client struct {
	rpc wirepb.IndexGatewayClient
}

var _ Service = (*client)(nil)

// Labels implements Service.
func (c *client) Labels(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return wire.AskStrings(ctx, wire.EncodeList("", start, end, matchers, nil), nil, c.rpc.Labels)
}

// LabelValues implements Service.
func (c *client) LabelValues(ctx context.Context, name string, start, end int64, matchers []*labels.Matcher) ([]string, error) {
	return wire.AskStrings(ctx, wire.EncodeList(name, start, end, matchers, nil), nil, c.rpc.LabelValues)
}

// Series implements Service.
func (c *client) Series(ctx context.Context, start, end int64, matchers []*labels.Matcher) ([]labels.Labels, error) {
	return wire.AskSeries(ctx, nil, wire.Open(c.rpc.Series, wire.EncodeList("", start, end, matchers, nil)))
}

// Volumes implements Service.
func (c *client) Volumes(ctx context.Context, start, end int64, matchers []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	return wire.AskVolumes(ctx, wire.EncodeVolumeRequest(start, end, matchers, by, parts), nil, c.rpc.Volumes)
}

// Segments implements Service.
func (c *client) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	var all []store.SegmentInfo
	err := wire.Receive(ctx, nil, wire.Open(c.rpc.Segments, wire.EncodeList("", start, end, nil, nil)), func(m *wirepb.SegmentList) error {
		for _, s := range m.Segments {
			info, err := decodeSegment(s)
			if err != nil {
				return err
			}
			all = append(all, info)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func decodeSegment(m *wirepb.Segment) (store.SegmentInfo, error) {
	info := store.SegmentInfo{
		MinTime:       m.MinTime,
		MaxTime:       m.MaxTime,
		Streams:       m.Streams,
		Rows:          m.Rows,
		RawBytes:      m.RawBytes,
		MetadataBytes: m.MetadataBytes,
		SizeBytes:     m.SizeBytes,
	}
	if err := info.ID.UnmarshalBinary(m.Id); err != nil {
		return info, wire.Malformed("segment: %v", err)
	}
	for _, b := range m.Replaces {
		var id ulid.ULID
		if err := id.UnmarshalBinary(b); err != nil {
			return info, wire.Malformed("segment %s replaces: %v", info.ID, err)
		}
		info.Replaces = append(info.Replaces, id)
	}
	info.Writers = wire.ToStrings(m.Writers)
	return info, nil
}
