package indexgw

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/grafana/dskit/tenant"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/cache"
	"example.com/loki/internal/wire"
	"example.com/loki/internal/wire/wirepb"
	"example.com/loki/logql"
	"example.com/loki/store"
)

// question is what a gateway is asked, but for the segments that the answer comes from.
type question struct {
	kind, name string
	start, end int64
	matchers   []*labels.Matcher
	by         []string // labels by which volumes are grouped; nil: not
	parts      []string // nil: all segments of the range
	whole      bool     // the range only decides which segments are looked at: what they have then counts as a whole
}

// kept returns a kept answer or computes one, and keeps it if it is known which segments it came from.
func kept[T any](ctx context.Context, st store.Service, c cache.Cache, q question, code coding[T], compute func() (T, error)) (T, error) {
	if c == cache.None() {
		return compute()
	}
	before, err := q.key(ctx, st)
	if err != nil || before == "" {
		return compute() // it knows best what is wrong
	}
	sealed := cache.Sealed{Cache: c}
	if data := sealed.Get(ctx, before)[0]; data != nil {
		if answer, err := code.decode(data); err == nil {
			return answer, nil
		}
	}
	answer, err := compute()
	if err != nil {
		return answer, err
	}
	// Segments come and go, but none comes back. So what is the same before and after was the same in between.
	if after, err := q.key(ctx, st); err == nil && after == before {
		if data, err := code.encode(answer); err == nil {
			sealed.Set(ctx, after, data)
		}
	}
	return answer, nil
}

// key names the answer by everything that it depends on: who asks, what is asked, and the segments that there are to
// answer it. It is empty if one of the parts is not among those of the range that count.
func (q question) key(ctx context.Context, st store.Service) (string, error) {
	id, err := tenant.TenantID(ctx)
	if err != nil {
		return "", err
	}
	segments, err := st.Segments(ctx, q.start, q.end)
	if err != nil {
		return "", err
	}
	if q.parts != nil {
		wanted := make(map[string]bool, len(q.parts))
		for _, part := range q.parts {
			wanted[part] = true
		}
		segments = slices.DeleteFunc(segments, func(s store.SegmentInfo) bool { return !wanted[s.ID.String()] })
		if len(segments) != len(wanted) {
			return "", nil
		}
	}
	h := sha256.New()
	first, last := int64(math.MaxInt64), int64(math.MinInt64)
	for i := range segments {
		h.Write(segments[i].ID[:])
		first, last = min(first, segments[i].MinTime), max(last, segments[i].MaxTime)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "1 %s %d:%s %d:%s %x", q.kind, len(id), id, len(q.name), q.name, h.Sum(nil))
	if !q.whole {
		// Beyond what there is a range makes no difference.
		start, end := max(q.start, first), q.end
		if end > last {
			end = math.MaxInt64
		}
		fmt.Fprintf(&b, " %d %d", start, end)
	}
	for _, m := range q.matchers {
		fmt.Fprintf(&b, " %d:%s%s%d:%s", len(m.Name), m.Name, m.Type, len(m.Value), m.Value)
	}
	if q.by != nil {
		fmt.Fprintf(&b, " by %d", len(q.by))
		for _, name := range q.by {
			fmt.Fprintf(&b, " %d:%s", len(name), name)
		}
	}
	return b.String(), nil
}

// coding turns answers into bytes and back.
type coding[T any] interface {
	encode(T) ([]byte, error)
	decode([]byte) (T, error)
}

type texts struct{}

func (texts) encode(list []string) ([]byte, error) {
	return (&wirepb.Strings{Values: wire.ToBytes(list)}).MarshalVT()
}

func (texts) decode(data []byte) ([]string, error) {
	var m wirepb.Strings
	if err := m.UnmarshalVT(data); err != nil {
		return nil, err
	}
	return wire.ToStrings(m.Values), nil
}

type series struct{}

func (series) encode(list []labels.Labels) ([]byte, error) {
	m := &wirepb.LabelSets{Sets: make([][]byte, len(list))}
	for i, ls := range list {
		m.Sets[i] = wire.EncodeLabels(ls)
	}
	return m.MarshalVT()
}

func (series) decode(data []byte) ([]labels.Labels, error) {
	var m wirepb.LabelSets
	if err := m.UnmarshalVT(data); err != nil {
		return nil, err
	}
	var d wire.LabelDecoder
	list := make([]labels.Labels, len(m.Sets))
	for i, set := range m.Sets {
		var err error
		if list[i], err = d.Decode(set); err != nil {
			return nil, err
		}
	}
	return list, nil
}

type volumes struct{}

func (volumes) encode(list []logql.StreamVolume) ([]byte, error) {
	return (&wirepb.VolumeList{Volumes: wire.EncodeVolumes(list)}).MarshalVT()
}

func (volumes) decode(data []byte) ([]logql.StreamVolume, error) {
	var m wirepb.VolumeList
	if err := m.UnmarshalVT(data); err != nil {
		return nil, err
	}
	var d wire.VolumeDecoder
	return d.Append(nil, m.Volumes)
}
