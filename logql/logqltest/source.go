// Package logqltest has what tests of LogQL need: a logql.Source over rows in memory, whose layout can
// be chosen so that one data set can be queried as one page, many pages or overlapping parts, and a
// runner for scripts of queries and their answers.
package logqltest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// Row is an entry of a stream.
type Row struct {
	Stream   labels.Labels
	Time     int64 // nanoseconds since 1970
	Line     string
	Metadata labels.Labels
}

// Layout says how a Source stores its rows. The zero value is one page of one part.
type Layout struct {
	// PageRows is the greatest number of rows of a page; 0 means that all fit in one.
	PageRows int
	// Parts is the number of parts the rows are spread over, those that arrived first in the first;
	// 0 means one.
	Parts int
	// Doubles, if not 0, stores each row whose number divides by it again, in a part of its own.
	Doubles int
	// Totals makes the source know the bytes of each run and what there is of it in each minute.
	Totals bool
}

// Source is a logql.Source over rows in memory. Its pages behave as badly as the contract allows:
// columns are made for each batch and overwritten when it is released.
type Source struct {
	totals bool
	pages  []*page
	open   atomic.Int64
	lines  atomic.Int64
}

// page is a batch to be.
type page struct {
	part     string
	number   int
	rows     []Row
	runs     []column.Run
	min, max int64
	raw      int64
}

// NewSource returns a source that holds rows, which have arrived in that order. Equal rows are one.
func NewSource(rows []Row, layout Layout) *Source {
	type stored struct {
		Row
		arrival int
	}
	seen := map[string]bool{}
	var all []stored
	for i, r := range rows {
		key := fmt.Sprint(r.Stream, r.Time, r.Line, "\x00", r.Metadata)
		if !seen[key] {
			seen[key] = true
			all = append(all, stored{r, i})
		}
	}
	count := max(1, layout.Parts)
	parts := make([][]stored, count)
	for i := range parts {
		parts[i] = slices.Clone(all[i*len(all)/count : (i+1)*len(all)/count])
	}
	if layout.Doubles > 0 {
		var again []stored
		for i := range all {
			if i%layout.Doubles == 0 {
				again = append(again, all[i])
			}
		}
		parts = append(parts, again)
	}

	s := &Source{totals: layout.Totals}
	streams := map[string]*column.Stream{}
	for n, part := range parts {
		slices.SortFunc(part, func(a, b stored) int {
			return cmp.Or(labels.Compare(a.Stream, b.Stream), cmp.Compare(a.Time, b.Time), cmp.Compare(a.arrival, b.arrival))
		})
		size := cmp.Or(layout.PageRows, max(1, len(part)))
		number := 0
		for chunk := range slices.Chunk(part, size) {
			p := &page{part: fmt.Sprintf("%026d", n), number: number, min: chunk[0].Time, max: chunk[0].Time}
			number++
			for i, r := range chunk {
				p.rows = append(p.rows, r.Row)
				p.min, p.max = min(p.min, r.Time), max(p.max, r.Time)
				p.raw += int64(len(r.Line))
				if i == 0 || !labels.Equal(r.Stream, chunk[i-1].Stream) {
					key := r.Stream.String()
					if streams[key] == nil {
						streams[key] = column.NewStream(r.Stream)
					}
					p.runs = append(p.runs, column.Run{Stream: streams[key], From: i, MinTime: r.Time})
				}
				run := &p.runs[len(p.runs)-1]
				run.To, run.MaxTime = i+1, r.Time
			}
			s.pages = append(s.pages, p)
		}
	}
	s.markShared()
	return s
}

// markShared marks the runs whose times overlap with those of the same stream in another part.
func (s *Source) markShared() {
	byStream := map[*column.Stream][]*column.Run{}
	part := map[*column.Run]string{}
	for _, p := range s.pages {
		for i := range p.runs {
			r := &p.runs[i]
			byStream[r.Stream] = append(byStream[r.Stream], r)
			part[r] = p.part
		}
	}
	for _, runs := range byStream {
		for _, a := range runs {
			for _, b := range runs {
				if part[a] != part[b] && a.MinTime <= b.MaxTime && b.MinTime <= a.MaxTime {
					a.Shared = true
				}
			}
		}
	}
}

// Open returns how many batches have been yielded and not released.
func (s *Source) Open() int { return int(s.open.Load()) }

// LinesRead returns how many batches have been asked for their lines.
func (s *Source) LinesRead() int { return int(s.lines.Load()) }

// Select implements logql.Source. It uses the hints to leave out pages in which no row has what they
// demand.
func (s *Source) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		pages := slices.Clone(s.pages)
		slices.SortStableFunc(pages, func(a, b *page) int {
			if req.Direction == logql.Backward {
				return cmp.Compare(b.max, a.max)
			}
			return cmp.Compare(a.min, b.min)
		})
		for _, p := range pages {
			if err := ctx.Err(); err != nil {
				yield(nil, err)
				return
			}
			if b := s.batch(p, req); b != nil && !yield(b, nil) {
				return
			}
		}
	}
}

// batch returns the batch of a page, or nil if no row of it is wanted.
func (s *Source) batch(p *page, req *logql.SelectRequest) *column.Batch {
	if p.max < req.Start || p.min >= req.End || slices.Contains(req.Known, p.part) ||
		req.Parts != nil && !slices.Contains(req.Parts, p.part) || !p.mayHold(req) {
		return nil
	}
	b := &column.Batch{Part: p.part, Page: p.number}
	for _, r := range p.runs {
		if !matchesAll(req.Matchers, r.Stream.Labels) {
			continue
		}
		if len(b.Runs) == 0 {
			b.MinTime, b.MaxTime = r.MinTime, r.MaxTime
		}
		b.MinTime, b.MaxTime = min(b.MinTime, r.MinTime), max(b.MaxTime, r.MaxTime)
		for _, row := range p.rows[r.From:r.To] {
			b.RawBytes += int64(len(row.Line))
		}
		b.Runs = append(b.Runs, r)
	}
	if len(b.Runs) == 0 {
		return nil
	}
	if req.Project != nil {
		b.Runs = project(b.Runs, req.Project)
	}
	// The order that Select promises is by the times of the whole page.
	b.MinTime, b.MaxTime = p.min, p.max
	s.open.Add(1)
	c := newColumns(p.rows, s)
	b.Columns = c
	if s.totals {
		b.Totals = &totals{c, b.Runs}
	}
	return b
}

// project leaves out labels, and joins runs, as far as it may.
func project(runs []column.Run, p *logql.Projection) []column.Run {
	var out []column.Run
	joins := false // the last one of out may be joined
	for _, r := range runs {
		if r.Shared || r.MinTime < p.ApartThrough && r.MaxTime >= p.ApartFrom {
			out, joins = append(out, r), false
			continue
		}
		r.Stream = column.NewStream(labels.NewBuilder(r.Stream.Labels).Keep(p.Names...).Labels())
		if n := len(out) - 1; joins && out[n].To == r.From && labels.Equal(out[n].Stream.Labels, r.Stream.Labels) {
			out[n].To, out[n].Mixed = r.To, true
			out[n].MinTime, out[n].MaxTime = min(out[n].MinTime, r.MinTime), max(out[n].MaxTime, r.MaxTime)
			continue
		}
		out, joins = append(out, r), true
	}
	return out
}

func matchesAll(matchers []*labels.Matcher, ls labels.Labels) bool {
	for _, m := range matchers {
		if !m.Matches(ls.Get(m.Name)) {
			return false
		}
	}
	return true
}

// mayHold applies the hints.
func (p *page) mayHold(req *logql.SelectRequest) bool {
	return slices.ContainsFunc(p.rows, func(r Row) bool {
		for _, n := range req.Contains {
			if n.FoldCase && !strings.Contains(strings.ToLower(r.Line), strings.ToLower(n.Text)) ||
				!n.FoldCase && !strings.Contains(r.Line, n.Text) {
				return false
			}
		}
		for _, m := range req.Metadata {
			if !m.Matches(r.Metadata.Get(m.Name)) && !m.Matches(r.Stream.Get(m.Name)) {
				return false
			}
		}
		return true
	})
}

// columns are the columns of one batch.
type columns struct {
	rows     []Row
	source   *Source
	released atomic.Bool

	mu       sync.Mutex
	times    []int64
	lengths  []uint32
	lines    column.Lines
	metadata map[string]column.Metadata
}

func newColumns(rows []Row, s *Source) *columns {
	return &columns{rows: rows, source: s, metadata: map[string]column.Metadata{}}
}

// use guards each access: using a released batch is a mistake of the caller.
func (c *columns) use() func() {
	if c.released.Load() {
		panic("logqltest: a column of a released batch is used")
	}
	c.mu.Lock()
	return c.mu.Unlock
}

// totals implement column.Totals.
type totals struct {
	*columns
	runs []column.Run
}

func (t *totals) known(from, to int) bool {
	return slices.ContainsFunc(t.runs, func(r column.Run) bool { return r.From == from && r.To == to })
}

func (t *totals) LineBytes(from, to int) (n int64, ok bool) {
	defer t.use()()
	if !t.known(from, to) {
		return 0, false
	}
	for _, r := range t.rows[from:to] {
		n += int64(len(r.Line))
	}
	return n, true
}

func (t *totals) Minutes(_ context.Context, from, to int) (m column.Minutes, ok bool, err error) {
	defer t.use()()
	if !t.known(from, to) {
		return m, false, nil
	}
	rows := slices.Clone(t.rows[from:to]) // of a run that is mixed in no order
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(a.Time, b.Time) })
	m.First = column.MinuteOf(rows[0].Time)
	n, bytes := uint32(0), uint32(0)
	for _, r := range rows {
		for m.First+int64(len(m.Rows)) < column.MinuteOf(r.Time) {
			m.Rows, m.Bytes = append(m.Rows, n), append(m.Bytes, bytes)
		}
		n++
		bytes += uint32(len(r.Line))
	}
	m.Rows, m.Bytes = append(m.Rows, n), append(m.Bytes, bytes)
	return m, true, nil
}

func (c *columns) Rows() int { return len(c.rows) }

func (c *columns) Times(context.Context) ([]int64, error) {
	defer c.use()()
	if c.times == nil {
		for _, r := range c.rows {
			c.times = append(c.times, r.Time)
		}
	}
	return c.times, nil
}

func (c *columns) LineLengths(context.Context) ([]uint32, error) {
	defer c.use()()
	if c.lengths == nil {
		for _, r := range c.rows {
			c.lengths = append(c.lengths, uint32(len(r.Line)))
		}
	}
	return c.lengths, nil
}

func (c *columns) Lines(context.Context) (column.Lines, error) {
	defer c.use()()
	if c.lines.Offsets == nil {
		c.source.lines.Add(1)
		c.lines.Offsets = []uint32{0}
		for _, r := range c.rows {
			c.lines.Data = append(c.lines.Data, r.Line...)
			c.lines.Offsets = append(c.lines.Offsets, uint32(len(c.lines.Data)))
		}
	}
	return c.lines, nil
}

func (c *columns) MetadataNames(context.Context) ([]string, error) {
	defer c.use()()
	var names []string
	for _, r := range c.rows {
		r.Metadata.Range(func(l labels.Label) {
			if !slices.Contains(names, l.Name) {
				names = append(names, l.Name)
			}
		})
	}
	slices.Sort(names)
	return names, nil
}

func (c *columns) Metadata(_ context.Context, name string) (column.Metadata, error) {
	defer c.use()()
	if m, ok := c.metadata[name]; ok {
		return m, nil
	}
	m := column.Metadata{}
	codes := map[string]uint32{}
	index := make([]uint32, len(c.rows))
	for i, r := range c.rows {
		if !r.Metadata.Has(name) {
			continue
		}
		v := r.Metadata.Get(name)
		if codes[v] == 0 {
			m.Values = append(m.Values, []byte(v))
			codes[v] = uint32(len(m.Values))
		}
		index[i] = codes[v]
		m.Index = index
	}
	c.metadata[name] = m
	return m, nil
}

// Release makes everything that was handed out worthless.
func (c *columns) Release() {
	if c.released.Swap(true) {
		panic("logqltest: a batch is released twice")
	}
	c.source.open.Add(-1)
	junk := func(b []byte) { copy(b, bytes.Repeat([]byte{'#'}, len(b))) }
	junk(c.lines.Data)
	for _, m := range c.metadata {
		for _, v := range m.Values {
			junk(v)
		}
		clear(m.Index)
	}
	clear(c.times)
	clear(c.lengths)
}
