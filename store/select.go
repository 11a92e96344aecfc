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
	blocks   uint64 // a bit for each line block that the runs lie in; 0: all
}

func (r *pageRef) batch(reader *columnReader) *column.Batch {
	cols := &pageColumns{reader: reader, seg: r.seg, page: r.page, blocks: r.blocks}
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
	var blocks blockCursor
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
				blocks = blockCursor{page: &x.seg.dir.pages[page], wanted: allBlocks}
				if lines != nil {
					blocks.wanted = p.lineBlocks(lines[page], blocks.page)
				}
				if blocks.wanted == 0 {
					p.dropped++
				}
			}
			if blocks.wanted == 0 || meta != nil && !p.metadata(filter(meta[page]), st) {
				continue
			}
			rowsFrom, rowsTo := t.rows(r, x.seg.dir)
			run := column.Run{
				Stream: st, MinTime: t.min[r], MaxTime: t.max[r],
				Shared: shared.overlaps(number, st, t.min[r], t.max[r]),
			}
			for a, b, touched := blocks.next(rowsFrom, rowsTo); a < b; a, b, touched = blocks.next(b, rowsTo) {
				if len(refs) == first || refs[len(refs)-1].page != page {
					refs = append(refs, pageRef{seg: x.seg, part: part, page: page, min: t.min[r], max: t.max[r]})
				}
				ref := &refs[len(refs)-1]
				ref.min, ref.max = min(ref.min, t.min[r]), max(ref.max, t.max[r])
				ref.raw += t.lineBytes[r] * int64(b-a) / int64(rowsTo-rowsFrom)
				ref.meta += t.metaBytes[r] * int64(b-a) / int64(rowsTo-rowsFrom)
				ref.blocks |= touched
				run.From, run.To = a, b
				ref.runs = append(ref.runs, run)
			}
		}
	}
	return refs, nil
}

const allBlocks = ^uint64(0)

// blockCursor finds the line blocks of rows of a page that are asked for in ascending order.
type blockCursor struct {
	page   *pageMeta
	wanted uint64 // a bit for each block
	block  int
	begin  int // its first row
}

// next returns the first rows of [from, to) that lie in wanted blocks, as far as these follow one another,
// and the blocks. There are none if a is b.
func (c *blockCursor) next(from, to int) (a, b int, blocks uint64) {
	for at := from; at < to; {
		end := c.begin + int(c.page.lines[c.block].rows)
		bit := uint64(1) << c.block
		switch {
		case at < end && c.wanted&bit != 0:
			if blocks == 0 {
				a = at
			}
			blocks |= bit
			b = min(end, to)
			at = b
		case at < end && blocks != 0:
			return a, b, blocks
		case at < end:
			at = end
		}
		if at >= end && at < to {
			c.block, c.begin = c.block+1, end
		}
	}
	return a, b, blocks
}

// pruner rules out pages and runs by hints.
type pruner struct {
	needle        needle
	metas         []*labels.Matcher
	metaKeys      []uint64
	seen, dropped int      // pages
	words         []uint64 // of the needle, that line blocks must have of their own
}

func newPruner(req *logql.SelectRequest) *pruner {
	p := &pruner{}
	for _, n := range req.Contains {
		p.needle.add(n.Text)
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
func (p *pruner) filters(ctx context.Context, s *segment) (lines, meta [][]byte, err error) {
	if !p.needle.empty() {
		if lines, err = s.lineFilters.get(ctx); err != nil {
			return nil, nil, err
		}
	}
	if len(p.metas) > 0 {
		meta, err = s.metaFilters.get(ctx)
	}
	return lines, meta, err
}

// lineBlocks returns which line blocks of a page, of which filters are those of lines, may have what the
// hints say.
func (p *pruner) lineBlocks(filters []byte, page *pageMeta) (blocks uint64) {
	if len(filters) == 0 {
		return 0
	}
	common, rest := filter(filters[:page.common]), filters[page.common:]
	p.words = p.words[:0]
	for _, k := range p.needle.words {
		if !common.has(k) {
			p.words = append(p.words, k)
		}
	}
	for i, b := range page.lines {
		own := filter(rest[:b.filter])
		rest = rest[b.filter:]
		if own.hasAll(p.words) && own.hasAll(p.needle.ids) {
			blocks |= 1 << i
		}
	}
	return blocks
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
