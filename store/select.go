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
		search := &searches{}
		for {
			ref, err := p.next(ctx)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if ref == nil {
				return
			}
			if err := ref.findRuns(); err != nil {
				yield(nil, s.report(err))
				return
			}
			if !yield(ref.batch(s.columns, search), nil) {
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

	// The runs to read, and once it is the page's turn what is known of them: where there are very many streams, it is
	// their labels that take time, and most pages are not read.
	picks  []pick
	runs   []column.Run
	blocks uint64 // a bit for each line block that the runs lie in; 0: all
	shared *sharing
	number int     // of the segment in shared
	groups *groups // nil: streams are to be told apart
}

// pick is a run of a segment, by the numbers of it and of its stream, or the rows of it that are wanted. Or it is rows
// of so many runs, from that one on, of streams of one group.
type pick struct{ stream, run, runs, from, to int32 }

// What stands for the number of runs of a pick of one run that is not to be joined with others.
const (
	runUnknown = 0  // whether others may have the same rows is found out once it is the page's turn
	runAlone   = -1 // none have
	runShared  = -2 // others may have
)

// findRuns sets the runs.
func (r *pageRef) findRuns() error {
	t := r.seg.table
	r.runs = make([]column.Run, 0, len(r.picks))
	m := streamMaker{index: r.seg.index, expect: len(r.picks)}
	for _, p := range r.picks {
		run := column.Run{From: int(p.from), To: int(p.to), MinTime: t.min[p.run], MaxTime: t.max[p.run]}
		if p.runs > 0 {
			run.Stream, run.Mixed = r.groups.show(int(p.stream)), p.runs > 1
			run.MinTime, run.MaxTime = t.timesOf(r.page, int(p.run), int(p.runs))
		} else {
			st, err := m.stream(int(p.stream))
			if err != nil {
				return r.seg.streamError(int(p.stream), err)
			}
			run.Stream = st
			if run.Shared = p.runs == runShared; p.runs == runUnknown {
				if run.Shared, err = r.shared.overlaps(r.number, int(p.stream), run.MinTime, run.MaxTime); err != nil {
					return err
				}
			}
		}
		r.runs = append(r.runs, run)
	}
	r.picks = nil
	return nil
}

// batch returns the page as a batch. Its lines can be searched unless search is nil.
func (r *pageRef) batch(reader *columnReader, search *searches) *column.Batch {
	cols := &pageColumns{reader: reader, seg: r.seg, page: r.page, blocks: r.blocks, searches: search}
	return &column.Batch{
		Runs: r.runs, MinTime: r.min, MaxTime: r.max, Part: r.part, Page: r.page,
		RawBytes: r.raw, MetadataBytes: r.meta, Fetched: cols.fetched.Load,
		Totals: cols, Columns: cols,
	}
}

// selected is a segment with what a query wants of it.
type selected struct {
	tenant  string
	path    string
	seg     *segment // nil until it is opened
	info    SegmentInfo
	streams streamSet // that match
	without bool      // it has nothing that the query looks for
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
		return nil, s.streamError(n, err)
	}
	return st, nil
}

func (s *segment) streamError(n int, err error) error {
	return corrupt(s.path, "index", s.offset(secIndex), fmt.Errorf("stream %d: %w", n, err))
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
func (p *pruner) metadata(f filter, label []labelValue, stream int) bool {
	for i := range p.metas {
		if !f.has(p.metaKeys[i]) && !label[i].of(stream) {
			return false
		}
	}
	return true
}
