package storetest

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"sync"

	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
	"example.com/loki/store"
)

// Fake is a store.Service in memory. It is slow and obvious: each stream of a segment is a page, and
// hints are ignored. The zero value is empty and ready; it is safe for concurrent use.
type Fake struct {
	mu      sync.Mutex
	tenants map[string]map[ulid.ULID]*fakeSegment
}

var _ store.Service = (*Fake)(nil)

type fakeSegment struct {
	info    store.SegmentInfo
	streams []*fakeStream
}

type fakeStream struct {
	stream *column.Stream
	rows   *store.StreamRows
	bytes  int64 // of metadata
}

func (s *fakeStream) times() (lo, hi int64) {
	return s.rows.Times[0], s.rows.Times[len(s.rows.Times)-1]
}

func (s *fakeStream) matches(ms []*labels.Matcher, start, end int64) bool {
	for _, m := range ms {
		if !m.Matches(s.stream.Labels.Get(m.Name)) {
			return false
		}
	}
	lo, hi := s.times()
	return lo < end && hi >= start
}

func (f *Fake) segments(ctx context.Context, start, end int64) ([]*fakeSegment, error) {
	tenant, err := user.ExtractOrgID(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrTenant, err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []*fakeSegment
	for _, s := range f.tenants[tenant] {
		if s.info.Rows > 0 && s.info.MinTime < end && s.info.MaxTime >= start {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *fakeSegment) int { return a.info.ID.Compare(b.info.ID) })
	return out, nil
}

// Put implements store.Service.
func (f *Fake) Put(ctx context.Context, id ulid.ULID, rows store.Rows) (store.SegmentInfo, error) {
	tenant, err := user.ExtractOrgID(ctx)
	if err != nil {
		return store.SegmentInfo{}, fmt.Errorf("%w: %w", store.ErrTenant, err)
	}
	if s := f.segment(tenant, id); s != nil {
		return s.info, nil
	}
	seg := &fakeSegment{info: store.SegmentInfo{ID: id, MinTime: math.MaxInt64, MaxTime: math.MinInt64}}
	i := &seg.info
	for r, err := range rows {
		if err != nil {
			return store.SegmentInfo{}, err
		}
		if n := len(seg.streams); n > 0 && labels.Compare(seg.streams[n-1].stream.Labels, r.Labels) >= 0 {
			return store.SegmentInfo{}, fmt.Errorf("%w: streams out of order", store.ErrInput)
		}
		if len(r.Times) == 0 || !slices.IsSorted(r.Times) {
			return store.SegmentInfo{}, fmt.Errorf("%w: times out of order", store.ErrInput)
		}
		s := &fakeStream{stream: column.NewStream(r.Labels.Copy()), rows: cloneRows(r)}
		for _, m := range r.Metadata {
			for _, x := range m.Index {
				if x > 0 {
					s.bytes += int64(column.MetadataSize(m.Values[x-1]))
				}
			}
		}
		seg.streams = append(seg.streams, s)
		lo, hi := s.times()
		i.MinTime, i.MaxTime = min(i.MinTime, lo), max(i.MaxTime, hi)
		i.Streams++
		i.Rows += int64(len(r.Times))
		off := r.Lines.Offsets
		i.RawBytes += int64(off[len(off)-1] - off[0])
		i.MetadataBytes += s.bytes
	}
	if i.Rows == 0 {
		i.MinTime, i.MaxTime = 0, 0
	}
	i.SizeBytes = i.RawBytes + i.MetadataBytes
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tenants == nil {
		f.tenants = make(map[string]map[ulid.ULID]*fakeSegment)
	}
	if f.tenants[tenant] == nil {
		f.tenants[tenant] = make(map[ulid.ULID]*fakeSegment)
	}
	f.tenants[tenant][id] = seg
	return seg.info, nil
}

func (f *Fake) segment(tenant string, id ulid.ULID) *fakeSegment {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tenants[tenant][id]
}

func cloneRows(r *store.StreamRows) *store.StreamRows {
	out := &store.StreamRows{
		Labels: r.Labels.Copy(), Times: slices.Clone(r.Times),
		Lines: column.Lines{Data: slices.Clone(r.Lines.Data), Offsets: slices.Clone(r.Lines.Offsets)},
	}
	for _, m := range r.Metadata {
		c := store.NamedMetadata{Name: m.Name, Metadata: column.Metadata{Index: slices.Clone(m.Index)}}
		for _, v := range m.Values {
			c.Values = append(c.Values, slices.Clone(v))
		}
		out.Metadata = append(out.Metadata, c)
	}
	return out
}

// Exists implements store.Service.
func (f *Fake) Exists(ctx context.Context, id ulid.ULID) (bool, error) {
	tenant, err := user.ExtractOrgID(ctx)
	if err != nil {
		return false, fmt.Errorf("%w: %w", store.ErrTenant, err)
	}
	return f.segment(tenant, id) != nil, nil
}

// Segments implements store.Service.
func (f *Fake) Segments(ctx context.Context, start, end int64) ([]store.SegmentInfo, error) {
	segs, err := f.segments(ctx, start, end)
	var out []store.SegmentInfo
	for _, s := range segs {
		out = append(out, s.info)
	}
	return out, err
}

// Select implements logql.Source.
func (f *Fake) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		segs, err := f.segments(ctx, req.Start, req.End)
		if err != nil {
			yield(nil, err)
			return
		}
		var batches []*column.Batch
		holders := make(map[uint64][]*column.Run)
		for _, seg := range segs {
			part := seg.info.ID.String()
			if slices.Contains(req.Known, part) || req.Parts != nil && !slices.Contains(req.Parts, part) {
				continue
			}
			for page, s := range seg.streams {
				if !s.matches(req.Matchers, req.Start, req.End) {
					continue
				}
				lo, hi := s.times()
				b := &column.Batch{
					Runs:    []column.Run{{Stream: s.stream, To: len(s.rows.Times), MinTime: lo, MaxTime: hi}},
					MinTime: lo, MaxTime: hi, Part: part, Page: page,
					RawBytes: int64(len(s.rows.Lines.Data)), Columns: fakeColumns{s.rows},
				}
				batches = append(batches, b)
				run := &b.Runs[0]
				for _, o := range holders[s.stream.Hash] {
					if o.MinTime <= hi && o.MaxTime >= lo && labels.Equal(o.Stream.Labels, s.stream.Labels) {
						o.Shared, run.Shared = true, true
					}
				}
				holders[s.stream.Hash] = append(holders[s.stream.Hash], run)
			}
		}
		slices.SortStableFunc(batches, func(a, b *column.Batch) int {
			if req.Direction == logql.Backward {
				return cmp.Compare(b.MaxTime, a.MaxTime)
			}
			return cmp.Compare(a.MinTime, b.MinTime)
		})
		for _, b := range batches {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Labels implements store.Service.
func (f *Fake) Labels(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]string, error) {
	series, err := f.Series(ctx, start, end, ms)
	set := make(map[string]bool)
	for _, ls := range series {
		ls.Range(func(l labels.Label) { set[l.Name] = true })
	}
	return slices.Sorted(maps.Keys(set)), err
}

// LabelValues implements store.Service.
func (f *Fake) LabelValues(ctx context.Context, name string, start, end int64, ms []*labels.Matcher) ([]string, error) {
	series, err := f.Series(ctx, start, end, ms)
	set := make(map[string]bool)
	for _, ls := range series {
		if v := ls.Get(name); v != "" {
			set[v] = true
		}
	}
	return slices.Sorted(maps.Keys(set)), err
}

// Series implements store.Service.
func (f *Fake) Series(ctx context.Context, start, end int64, ms []*labels.Matcher) ([]labels.Labels, error) {
	vs, err := f.Volumes(ctx, start, end, ms, nil, nil)
	var out []labels.Labels
	for _, v := range vs {
		out = append(out, v.Labels)
	}
	return out, err
}

// Volumes implements store.Service.
func (f *Fake) Volumes(ctx context.Context, start, end int64, ms []*labels.Matcher, by, parts []string) ([]logql.StreamVolume, error) {
	segs, err := f.segments(ctx, start, end)
	if err != nil {
		return nil, err
	}
	var out []logql.StreamVolume
	for _, seg := range segs {
		if parts != nil && !slices.Contains(parts, seg.info.ID.String()) {
			continue
		}
		for _, s := range seg.streams {
			if !s.matches(ms, start, end) {
				continue
			}
			lo, hi := s.times()
			share := (float64(min(hi, end-1)-max(lo, start)) + 1) / (float64(hi-lo) + 1)
			i, found := slices.BinarySearchFunc(out, s.stream.Labels, func(v logql.StreamVolume, ls labels.Labels) int {
				return labels.Compare(v.Labels, ls)
			})
			if !found {
				out = slices.Insert(out, i, logql.StreamVolume{Labels: s.stream.Labels})
			}
			out[i].Chunks++
			out[i].Entries += int64(math.Round(share * float64(len(s.rows.Times))))
			out[i].Bytes += int64(math.Round(share * float64(int64(len(s.rows.Lines.Data))+s.bytes)))
		}
	}
	if by != nil {
		out = logql.GroupVolumes(out, by)
	}
	return out, nil
}

// fakeColumns are the rows of one stream.
type fakeColumns struct{ rows *store.StreamRows }

func (c fakeColumns) Rows() int { return len(c.rows.Times) }

func (c fakeColumns) Times(ctx context.Context) ([]int64, error) { return c.rows.Times, ctx.Err() }

func (c fakeColumns) LineLengths(ctx context.Context) ([]uint32, error) {
	out := make([]uint32, len(c.rows.Times))
	for i := range out {
		out[i] = c.rows.Lines.Offsets[i+1] - c.rows.Lines.Offsets[i]
	}
	return out, ctx.Err()
}

func (c fakeColumns) Lines(ctx context.Context) (column.Lines, error) { return c.rows.Lines, ctx.Err() }

func (c fakeColumns) MetadataNames(ctx context.Context) ([]string, error) {
	var out []string
	for _, m := range c.rows.Metadata {
		out = append(out, m.Name)
	}
	return out, ctx.Err()
}

func (c fakeColumns) Metadata(ctx context.Context, name string) (column.Metadata, error) {
	for _, m := range c.rows.Metadata {
		if m.Name == name {
			return m.Metadata, ctx.Err()
		}
	}
	return column.Metadata{}, ctx.Err()
}

func (c fakeColumns) Release() {}
