package store

import (
	"context"
	"math"

	"example.com/loki/logql"
)

// walk finds what a query has to read of a segment, page by page.
type walk struct {
	seg                *segment
	table              *streamTable
	req                *logql.SelectRequest
	prune              *pruner
	shared             *sharing
	number             int      // of the segment in shared
	part               string   // the segment's name
	groups             *groups  // nil: streams are to be told apart
	lines              [][]byte // filters of each page; nil: nobody asks
	meta               [][]byte // likewise
	has                []labelValue
	picks              []pick
	ends               []int     // in picks, of each page that was found
	begin              int       // in picks, of the last one
	lastSpan           timeRange // times of the last pick
	page               int       // the one that was looked at last
	blocks             blockCursor
	parts              []stretch // of the run at hand
	refs               []pageRef
	groupFrom, groupTo int       // the streams of the group of the stream that was looked at last
	free               timeRange // see isFree
}

// pages returns the pages of a segment that hold rows of interest. Its number tells it from others in
// shared.
func (x *selected) pages(ctx context.Context, req *logql.SelectRequest, p *pruner, shared *sharing, number int) ([]pageRef, error) {
	w := walk{seg: x.seg, table: x.seg.table, req: req, prune: p, shared: shared, number: number, part: x.info.ID.String(), page: -1, free: timeRange{math.MaxInt64, math.MinInt64}}
	var err error
	if w.lines, w.meta, err = p.filters(ctx, x.seg); err != nil {
		return nil, err
	}
	for _, m := range p.metas {
		w.has = append(w.has, x.seg.index.labelValue(m.Name, m.Value))
	}
	if req.Project != nil {
		w.groups = x.seg.index.group(req.Project.Names)
	}
	t := w.table
	for _, in := range x.streams {
		run, end := int(t.firstRun[in.from]), int(t.firstRun[in.to])
		for page, s := t.pageOf(run), int(in.from); run < end; page++ {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			to := min(end, int(t.pageFirst[page+1]))
			if w.enter(page) {
				if err := w.runs(ctx, s, run, to); err != nil {
					return nil, err
				}
			}
			if run = to; run < end {
				s = t.streamOf(run)
			}
		}
	}
	from := 0
	for i, end := range w.ends {
		w.refs[i].picks = w.picks[from:end:end]
		from = end
	}
	return w.refs, nil
}

// enter tells whether a page may have rows of interest.
func (w *walk) enter(page int) bool {
	span := w.table.pageTimes[page]
	if span.max < w.req.Start || span.min >= w.req.End {
		return false
	}
	if page != w.page {
		w.page = page
		w.prune.seen++
		w.blocks = blockCursor{page: &w.seg.dir.pages[page], wanted: allBlocks}
		if w.lines != nil {
			w.blocks.wanted = w.prune.lineBlocks(w.lines[page], w.blocks.page)
		}
		if w.blocks.wanted == 0 {
			w.prune.dropped++
		}
	}
	return w.blocks.wanted != 0
}

// runs looks at some runs of the page, the first of which is one of stream s.
func (w *walk) runs(ctx context.Context, s, run, to int) error {
	t := w.table
	if w.whole(s, run, to) {
		w.add(s, run, to-run, 0, int(t.pageRows[w.page]), 1<<len(w.blocks.page.lines)-1)
		return nil
	}
	for ; run < to; run++ {
		for int(t.firstRun[s+1]) <= run {
			s++
		}
		if n := w.alike(s, run, to); n > 1 {
			w.addAlike(s, run, n)
			run += n - 1
			s = t.streamOf(run)
			continue
		}
		lo, hi := t.min[run], t.max[run]
		if hi < w.req.Start || lo >= w.req.End {
			continue
		}
		if w.meta != nil && !w.prune.metadata(filter(w.meta[w.page]), w.has, s) {
			continue
		}
		from, end := t.rows(run)
		probe := w.blocks
		if a, b, _ := probe.next(from, end); a == b {
			w.blocks = probe
			continue
		}
		if err := w.find(ctx, s, run, end); err != nil {
			return err
		}
		for _, part := range w.parts {
			runs := runUnknown
			switch {
			case part.fate == fateLeft:
				from = part.to
				continue
			case part.fate == fateAlone && w.groups != nil && !w.apart(lo, hi):
				runs = 1 // with others of the group
			case part.fate == fateAlone:
				runs = runAlone
			case w.shared.digests:
				runs = runShared
			}
			for a, b, touched := w.blocks.next(from, part.to); a < b; a, b, touched = w.blocks.next(b, part.to) {
				w.add(s, run, runs, a, b, touched)
			}
			from = part.to
		}
	}
	return nil
}

// find sets the parts of a run of stream s that have one fate each; end is the row after its last one. It does so only if the fate matters by
// now.
func (w *walk) find(ctx context.Context, s, run, end int) error {
	w.parts = append(w.parts[:0], stretch{end, fateShared})
	lo, hi := w.table.min[run], w.table.max[run]
	if !w.shared.digests && (w.groups == nil || w.apart(lo, hi)) {
		return nil
	}
	shared, err := w.shared.overlaps(w.number, s, lo, hi)
	if err != nil {
		return err
	}
	if !shared {
		w.parts[0].fate = fateAlone
		return nil
	}
	parts, err := w.shared.stretches(ctx, w.number, s, run)
	if len(parts) > 0 {
		w.parts = append(w.parts[:0], parts...)
	}
	return err
}

// whole tells that runs [run, to), of streams from s on, are a page that need not be looked at more closely: all of its rows
// are wanted, and of one group.
func (w *walk) whole(s, run, to int) bool {
	if w.groups == nil || w.lines != nil || w.meta != nil || w.separate() {
		return false
	}
	first, end := w.table.pageRuns(w.page)
	span := w.table.pageTimes[w.page]
	if run != first || to != end || span.min < w.req.Start || span.max >= w.req.End || w.apart(span.min, span.max) || w.shared.covers(span.min, span.max) {
		return false
	}
	return int(w.table.firstRun[min(w.groupEnd(s), w.table.streams())]) >= to
}

// alike returns how many runs from one of stream s on, before run to, are wanted as a whole, of one group, and of rows that
// nobody else has. Where streams have a row or two each, looking at all others costs more than counting their rows.
func (w *walk) alike(s, run, to int) int {
	if w.groups == nil || w.lines != nil || w.meta != nil || w.separate() {
		return 0
	}
	t := w.table
	to = min(to, int(t.firstRun[min(w.groupEnd(s), t.streams())]))
	n := 0
	for lows, highs := t.min[run:to], t.max[run:to]; n < len(lows); n++ {
		if (lows[n] < w.free.min || highs[n] > w.free.max) && (n > 0 || !w.isFree(lows[n], highs[n])) {
			break
		}
	}
	return n
}

// isFree tells whether all rows of these times are asked for, and no other segment or source may have copies of them. If so it
// sets free to all times around them of which that holds.
func (w *walk) isFree(lo, hi int64) bool {
	if lo < w.req.Start || hi >= w.req.End || w.apart(lo, hi) || w.shared.covers(lo, hi) {
		return false
	}
	w.free = w.shared.between(lo)
	w.free.min, w.free.max = max(w.free.min, w.req.Start), min(w.free.max, w.req.End-1)
	if p := w.req.Project; p.ApartFrom < p.ApartThrough {
		if lo < p.ApartFrom {
			w.free.max = min(w.free.max, p.ApartFrom-1)
		} else {
			w.free.min = max(w.free.min, p.ApartThrough)
		}
	}
	return true
}

// addAlike adds all rows of some runs of one group, the first of which is one of stream s.
func (w *walk) addAlike(s, run, runs int) {
	from, _ := w.table.rows(run)
	_, to := w.table.rows(run + runs - 1)
	_, _, touched := w.blocks.next(from, to) // all blocks are wanted
	w.add(s, run, runs, from, to, touched)
}

// separate tells that runs of the page stay what they are, since more is known of each than of all together.
func (w *walk) separate() bool {
	p := &w.seg.dir.pages[w.page]
	return p.countSize > 0 && p.countsAll == countsRuns
}

// apart tells whether another source may have copies of rows of these times.
func (w *walk) apart(lo, hi int64) bool {
	p := w.req.Project
	return lo < p.ApartThrough && hi >= p.ApartFrom
}

// groupEnd returns the first stream behind the group of a stream. Streams are asked for in ascending order.
func (w *walk) groupEnd(s int) int {
	if s >= w.groupTo {
		w.groupFrom, w.groupTo = w.groups.of(s)
	}
	return w.groupTo
}

// together tells whether a stream is of the same group as one before it.
func (w *walk) together(before, s int) bool {
	w.groupEnd(s)
	return before >= w.groupFrom
}

// add adds rows of the page, which lie in so many runs of one group; or of one run that is to stay apart, see pick.
func (w *walk) add(s, run, runs, from, to int, blocks uint64) {
	t := w.table
	if len(w.refs) == 0 || w.refs[len(w.refs)-1].page != w.page {
		w.refs = append(w.refs, pageRef{
			seg: w.seg, part: w.part, page: w.page, min: t.min[run], max: t.max[run], shared: w.shared, number: w.number, groups: w.groups,
		})
		w.begin = len(w.picks)
		w.ends = append(w.ends, w.begin)
	}
	ref := &w.refs[len(w.refs)-1]
	ref.blocks |= blocks
	span := timeRange{t.min[run], t.max[run]}
	switch {
	case runs > 1 && to-from == int(t.pageRows[w.page]):
		span = t.pageTimes[w.page]
		ref.raw, ref.meta = w.seg.dir.pages[w.page].rawBytes, w.seg.dir.pages[w.page].metaBytes
	case runs > 1:
		for r := run; r < run+runs; r++ {
			span.min, span.max = min(span.min, t.min[r]), max(span.max, t.max[r])
			ref.raw += int64(t.lineBytes[r])
			ref.meta += int64(t.metaBytes[r])
		}
	default:
		rowsFrom, rowsTo := t.rows(run)
		ref.raw += int64(t.lineBytes[run]) * int64(to-from) / int64(rowsTo-rowsFrom)
		ref.meta += int64(t.metaBytes[run]) * int64(to-from) / int64(rowsTo-rowsFrom)
	}
	ref.min, ref.max = min(ref.min, span.min), max(ref.max, span.max)
	if runs > 0 && len(w.picks) > w.begin && !w.separate() {
		last := &w.picks[len(w.picks)-1]
		both := timeRange{min(span.min, w.lastSpan.min), max(span.max, w.lastSpan.max)}
		if last.runs > 0 && int(last.to) == from && w.together(int(last.stream), s) && !w.apart(both.min, both.max) {
			last.to = int32(to)
			last.runs = int32(run+runs) - last.run
			w.lastSpan = both
			return
		}
	}
	w.picks, w.lastSpan = append(w.picks, pick{int32(s), int32(run), int32(runs), int32(from), int32(to)}), span
	w.ends[len(w.ends)-1] = len(w.picks)
}
