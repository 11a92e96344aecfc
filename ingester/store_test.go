package ingester

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// memStore is a store.Service in memory. Each stream of a segment is one batch.
type memStore struct {
	mu       sync.Mutex
	segments map[string]map[ulid.ULID]*memSegment // by tenant
	putErr   error                                // what Put returns, if not nil
	blocked  chan struct{}                        // Put waits until it is closed, if not nil
	puts     int
}

type memSegment struct {
	info    store.SegmentInfo
	streams []memStream
}

type memStream struct {
	stream *column.Stream
	rows   []memRow
}

type memRow struct {
	time int64
	line string
	meta [][2]string
}

var _ store.Service = (*memStore)(nil)

func newMemStore() *memStore { return &memStore{segments: map[string]map[ulid.ULID]*memSegment{}} }

func (s *memStore) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putErr = err
}

func (s *memStore) Put(ctx context.Context, id ulid.ULID, rows store.Rows) (store.SegmentInfo, error) {
	tenant, _ := user.ExtractOrgID(ctx)
	s.mu.Lock()
	s.puts++
	err, blocked := s.putErr, s.blocked
	s.mu.Unlock()
	if err != nil {
		return store.SegmentInfo{}, err
	}
	if blocked != nil {
		select {
		case <-blocked:
		case <-ctx.Done():
			return store.SegmentInfo{}, ctx.Err()
		}
	}
	seg := &memSegment{info: store.SegmentInfo{ID: id}}
	var before labels.Labels
	for sr, err := range rows {
		if err != nil {
			return store.SegmentInfo{}, err
		}
		if len(seg.streams) > 0 && labels.Compare(before, sr.Labels) >= 0 {
			return store.SegmentInfo{}, errors.New("streams out of order")
		}
		before = sr.Labels
		ms := memStream{stream: column.NewStream(sr.Labels)}
		for i, t := range sr.Times {
			if i > 0 && t < sr.Times[i-1] {
				return store.SegmentInfo{}, errors.New("times out of order")
			}
			r := memRow{time: t, line: string(sr.Lines.Row(i))}
			for _, m := range sr.Metadata {
				if v, ok := m.Row(i); ok {
					r.meta = append(r.meta, [2]string{m.Name, string(v)})
				}
			}
			if seg.info.Rows == 0 {
				seg.info.MinTime, seg.info.MaxTime = t, t
			}
			seg.info.MinTime, seg.info.MaxTime = min(seg.info.MinTime, t), max(seg.info.MaxTime, t)
			seg.info.Rows++
			seg.info.RawBytes += int64(len(r.line))
			ms.rows = append(ms.rows, r)
		}
		seg.streams = append(seg.streams, ms)
		seg.info.Streams++
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.segments[tenant] == nil {
		s.segments[tenant] = map[ulid.ULID]*memSegment{}
	}
	if old := s.segments[tenant][id]; old != nil {
		return old.info, nil
	}
	s.segments[tenant][id] = seg
	return seg.info, nil
}

func (s *memStore) Exists(ctx context.Context, id ulid.ULID) (bool, error) {
	tenant, _ := user.ExtractOrgID(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.segments[tenant][id] != nil, nil
}

func (s *memStore) all(ctx context.Context) []*memSegment {
	tenant, _ := user.ExtractOrgID(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*memSegment
	for _, seg := range s.segments[tenant] {
		out = append(out, seg)
	}
	slices.SortFunc(out, func(a, b *memSegment) int { return a.info.ID.Compare(b.info.ID) })
	return out
}

func (s *memStore) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	var out []store.SegmentInfo
	for _, seg := range s.all(ctx) {
		if seg.info.MinTime < end && seg.info.MaxTime >= start {
			out = append(out, seg.info)
		}
	}
	return out, nil
}

func (s *memStore) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		var bs []*column.Batch
		for _, seg := range s.all(ctx) {
			if id := seg.info.ID.String(); slices.Contains(req.Known, id) || req.Parts != nil && !slices.Contains(req.Parts, id) {
				continue
			}
			for n, ms := range seg.streams {
				if !matches(ms.stream.Labels, req.Matchers) {
					continue
				}
				lo, hi := ms.rows[0].time, ms.rows[len(ms.rows)-1].time
				if lo >= req.End || hi < req.Start {
					continue
				}
				bs = append(bs, &column.Batch{
					Runs:    []column.Run{{Stream: ms.stream, To: len(ms.rows), MinTime: lo, MaxTime: hi}},
					MinTime: lo, MaxTime: hi, Part: seg.info.ID.String(), Page: n, Columns: &memColumns{rows: ms.rows},
				})
			}
		}
		slices.SortStableFunc(bs, func(a, b *column.Batch) int {
			if req.Direction == logql.Forward {
				return cmp.Compare(a.MinTime, b.MinTime)
			}
			return cmp.Compare(b.MaxTime, a.MaxTime)
		})
		for _, b := range bs {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func matches(ls labels.Labels, ms []*labels.Matcher) bool {
	for _, m := range ms {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

func (s *memStore) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, parts []string) ([]logql.StreamVolume, error) {
	var out []logql.StreamVolume
	for _, seg := range s.all(ctx) {
		if parts != nil && !slices.Contains(parts, seg.info.ID.String()) {
			continue
		}
		for _, st := range seg.streams {
			v := logql.StreamVolume{Labels: st.stream.Labels, Chunks: 1}
			for _, r := range st.rows {
				if start <= r.time && r.time < end {
					v.Entries++
					v.Bytes += int64(len(r.line))
				}
			}
			if matches(st.stream.Labels, ms) && v.Entries > 0 {
				out = append(out, v)
			}
		}
	}
	slices.SortFunc(out, func(a, b logql.StreamVolume) int { return labels.Compare(a.Labels, b.Labels) })
	return mergeVolumes(out), nil
}

func (s *memStore) Labels(context.Context, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, errors.New("not needed here")
}
func (s *memStore) LabelValues(context.Context, string, int64, int64, []*labels.Matcher) ([]string, error) {
	return nil, errors.New("not needed here")
}
func (s *memStore) Series(context.Context, int64, int64, []*labels.Matcher) ([]labels.Labels, error) {
	return nil, errors.New("not needed here")
}

type memColumns struct{ rows []memRow }

func (c *memColumns) Rows() int { return len(c.rows) }
func (c *memColumns) Times(context.Context) ([]int64, error) {
	var out []int64
	for _, r := range c.rows {
		out = append(out, r.time)
	}
	return out, nil
}
func (c *memColumns) LineLengths(context.Context) ([]uint32, error) {
	var out []uint32
	for _, r := range c.rows {
		out = append(out, uint32(len(r.line)))
	}
	return out, nil
}
func (c *memColumns) Lines(context.Context) (column.Lines, error) {
	l := column.Lines{Offsets: []uint32{0}}
	for _, r := range c.rows {
		l.Data = append(l.Data, r.line...)
		l.Offsets = append(l.Offsets, uint32(len(l.Data)))
	}
	return l, nil
}
func (c *memColumns) MetadataNames(context.Context) ([]string, error) {
	var out []string
	for _, r := range c.rows {
		for _, m := range r.meta {
			out = append(out, m[0])
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}
func (c *memColumns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	m := column.Metadata{Index: make([]uint32, len(c.rows))}
	for i, r := range c.rows {
		for _, kv := range r.meta {
			if kv[0] == name {
				m.Values = append(m.Values, []byte(kv[1]))
				m.Index[i] = uint32(len(m.Values))
			}
		}
	}
	return m, nil
}
func (c *memColumns) Release() {}

// discard drops segments.
type discard struct{ *memStore }

func (discard) Put(_ context.Context, id ulid.ULID, rows store.Rows) (store.SegmentInfo, error) {
	info := store.SegmentInfo{ID: id}
	for r, err := range rows {
		if err != nil {
			return info, err
		}
		info.Rows += int64(len(r.Times))
	}
	return info, nil
}
