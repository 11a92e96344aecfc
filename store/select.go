package store

import (
	"cmp"
	"context"
	"fmt"
	"iter"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// Select implements logql.Source. Which pages there are to read is known from indexes and filters alone.
func (s *Store) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		p, err := s.newPlanner(ctx, req)
		if err != nil {
			yield(nil, err)
			return
		}
		for {
			ref, err := p.next(ctx)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if ref == nil || !yield(ref.batch(s.columns), nil) {
				return
			}
		}
	}
}

// pageRef is a page to read.
type pageRef struct {
	seg      *segment
	part     string
	page     int
	min, max int64
	raw      int64 // bytes of lines in the runs
	meta     int64 // and of their metadata
	runs     []column.Run
}

func (r *pageRef) batch(reader *columnReader) *column.Batch {
	cols := &pageColumns{reader: reader, seg: r.seg, page: r.page}
	return &column.Batch{
		Runs: r.runs, MinTime: r.min, MaxTime: r.max, Part: r.part, Page: r.page,
		RawBytes: r.raw, MetadataBytes: r.meta, Fetched: cols.fetched.Load,
		Totals: cols, Columns: cols,
	}
}

// selected is a segment with what a query wants of it.
type selected struct {
	path    string
	seg     *segment // nil until it is opened
	info    SegmentInfo
	streams []int // that match
}

// indexError wraps what the index reader says.
func (s *segment) indexError(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		return cmp.Or(ctx.Err(), err)
	}
	return corrupt(s.path, "index", s.offset(secIndex), err)
}

func (s *segment) stream(n int) (*column.Stream, error) {
	st, err := s.index.stream(n)
	if err != nil {
		return nil, corrupt(s.path, "index", s.offset(secIndex), fmt.Errorf("stream %d: %w", n, err))
	}
	return st, nil
}

// pages appends the pages of a segment that hold rows of interest. Its number tells it from others in
// shared.
func (x *selected) pages(ctx context.Context, req *logql.SelectRequest, p *pruner, shared *sharing, number int, refs []pageRef) ([]pageRef, error) {
	t := x.seg.table
	part := x.info.ID.String()
	lines, meta, err := p.filters(ctx, x.seg)
	if err != nil {
		return nil, err
	}
	cur := -1 // page of the last run; runs of a segment come in the order of its pages
	drop := false
	first := len(refs)
	for i, n := range x.streams {
		if i%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		from, to := t.runsOf(n, req.Start, req.End)
		if from == to {
			continue
		}
		st, err := x.seg.stream(n)
		if err != nil {
			return nil, err
		}
		for r := from; r < to; r++ {
			page := int(t.page[r])
			if page != cur {
				cur = page
				p.seen++
				if drop = lines != nil && !lines[page].hasAll(p.lineKeys); drop {
					p.dropped++
				}
			}
			if drop || meta != nil && !p.metadata(meta[page], st) {
				continue
			}
			if len(refs) == first || refs[len(refs)-1].page != page {
				refs = append(refs, pageRef{seg: x.seg, part: part, page: page, min: t.min[r], max: t.max[r]})
			}
			ref := &refs[len(refs)-1]
			ref.min, ref.max = min(ref.min, t.min[r]), max(ref.max, t.max[r])
			ref.raw += t.lineBytes[r]
			ref.meta += t.metaBytes[r]
			a, b := t.rows(r, x.seg.dir)
			ref.runs = append(ref.runs, column.Run{
				Stream: st, From: a, To: b, MinTime: t.min[r], MaxTime: t.max[r],
				Shared: shared.overlaps(number, st, t.min[r], t.max[r]),
			})
		}
	}
	return refs, nil
}

// pruner rules out pages and runs by hints.
type pruner struct {
	lineKeys      []uint64
	metas         []*labels.Matcher
	metaKeys      []uint64
	seen, dropped int // pages
}

func newPruner(req *logql.SelectRequest) *pruner {
	p := &pruner{}
	for _, n := range req.Contains {
		p.lineKeys = append(p.lineKeys, needleKeys(n.Text)...)
	}
	for _, m := range req.Metadata {
		// An empty value also means rows without the name.
		if m.Type == labels.MatchEqual && m.Value != "" {
			p.metas = append(p.metas, m)
			p.metaKeys = append(p.metaKeys, metaKey(m.Name, m.Value))
		}
	}
	return p
}

// filters returns those that the hints can use.
func (p *pruner) filters(ctx context.Context, s *segment) (lines, meta []filter, err error) {
	if len(p.lineKeys) > 0 {
		if lines, err = s.lineFilters.get(ctx); err != nil {
			return nil, nil, err
		}
	}
	if len(p.metas) > 0 {
		meta, err = s.metaFilters.get(ctx)
	}
	return lines, meta, err
}

// metadata tells whether rows of a stream in a page of that filter may have what the hints say, in
// their metadata or else in their labels.
func (p *pruner) metadata(f filter, st *column.Stream) bool {
	for i, m := range p.metas {
		if !f.has(p.metaKeys[i]) && st.Labels.Get(m.Name) != m.Value {
			return false
		}
	}
	return true
}
