package ingester

import (
	"cmp"
	"context"
	"iter"
	"math"
	"slices"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// Size of a batch: what the pages of segments have, so that whoever executes a query meets one size.
const (
	pageBytes = 512 << 10
	pageRows  = 64 << 10
)

// Select implements logql.Source. It yields the rows of all parts that are in memory or were stored
// within Config.HandoverWindow, but for those in req.Known.
func (i *Ingester) Select(ctx context.Context, req *logql.SelectRequest) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		if err := i.selectBatches(ctx, req, yield); err != nil {
			yield(nil, err)
		}
	}
}

// selectBatches calls yield for each batch. It returns nil after yield has returned false.
func (i *Ingester) selectBatches(ctx context.Context, req *logql.SelectRequest, yield func(*column.Batch, error) bool) error {
	t, err := i.reading(ctx)
	if err != nil || t == nil || req.Start >= req.End {
		return err
	}
	wanted := partFilter(req.Parts, req.Known)
	held, stored := t.holding(wanted, req.Start, req.End)
	var pages []*page
	for n := range held {
		if err := held[n].find(ctx, t, req); err != nil {
			return err
		}
	}
	markShared(held, stored)
	if req.Overlaps != nil {
		req.Overlaps(overlaps(held, stored, req.Since, req.Until))
	}
	for n := range held {
		pages = append(pages, held[n].pages()...)
	}
	sortPages(pages, req.Direction)

	if len(stored) == 0 {
		for n, p := range pages {
			if err := ctx.Err(); err != nil {
				return err
			}
			pages[n] = nil
			if !yield(p.take(req, &i.buffers), nil) {
				return nil
			}
		}
		return nil
	}
	return i.mergeStored(ctx, req, held, stored, pages, yield)
}

// mergeStored yields the pages together with the batches of parts that the store has by now.
func (i *Ingester) mergeStored(ctx context.Context, req *logql.SelectRequest, held []holding, stored []storedPart, pages []*page, yield func(*column.Batch, error) bool) error {
	sub := *req
	sub.Known = nil
	sub.Parts = make([]string, len(stored))
	for n, s := range stored {
		sub.Parts[n] = s.id
	}
	next, stop := iter.Pull2(i.store.Select(ctx, &sub))
	defer stop()
	b, err, more := next()
	for more || len(pages) > 0 {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			if more {
				b.Release()
			}
			return err
		}
		if more && (len(pages) == 0 || inOrder(req.Direction, b.MinTime, b.MaxTime, pages[0].min, pages[0].max)) {
			markStored(b, held)
			if !yield(b, nil) {
				return nil
			}
			b, err, more = next()
			continue
		}
		p := pages[0]
		pages[0] = nil
		pages = pages[1:]
		if !yield(p.take(req, &i.buffers), nil) {
			if more {
				b.Release()
			}
			return nil
		}
	}
	return err
}

// overlaps returns the times of what was found, as far as they overlap those from since to until. What a stored
// part has of each stream is not known here.
func overlaps(held []holding, stored []storedPart, since, until int64) []logql.Overlap {
	var all []logql.Overlap
	for _, s := range stored {
		if s.min <= until && since <= s.max {
			all = append(all, logql.Overlap{Any: true, MinTime: s.min, MaxTime: s.max})
		}
	}
	for n := range held {
		for _, f := range held[n].streams {
			if f.min <= until && since <= f.max {
				all = append(all, logql.Overlap{Stream: f.Hash, MinTime: f.min, MaxTime: f.max})
			}
		}
	}
	return all
}

// inOrder tells that the first of two batches may come first.
func inOrder(d logql.Direction, aMin, aMax, bMin, bMax int64) bool {
	if d == logql.Forward {
		return aMin <= bMin
	}
	return aMax >= bMax
}

// partFilter returns a function that tells whether a request is about a part.
func partFilter(parts, known []string) func(id string) bool {
	set := func(ids []string) map[string]struct{} {
		m := make(map[string]struct{}, len(ids))
		for _, id := range ids {
			m[id] = struct{}{}
		}
		return m
	}
	in, out := set(parts), set(known)
	return func(id string) bool {
		if _, ok := out[id]; ok {
			return false
		}
		_, ok := in[id]
		return ok || parts == nil
	}
}

// holding is a part in memory as one request sees it.
type holding struct {
	part *part
	id   string
	gathered
	streams []found
	untaken int // pages that nobody has taken yet
}

// found is a stream and those of its rows that are in the range of a request.
type found struct {
	*stream
	rows     []row // in order, no doubles
	min, max int64
	shared   []interval // times that other parts have of this stream
}

type interval struct{ min, max int64 }

func (iv interval) overlaps(min, max int64) bool { return iv.min <= max && min <= iv.max }

// holding returns the parts that a request has to read, in memory and in the store. It is one
// moment's truth: each part is in exactly one of the two.
func (t *tenant) holding(wanted func(string) bool, start, end int64) ([]holding, []storedPart) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var held []holding
	for _, p := range t.parts() {
		if id := p.id.String(); p.rows > 0 && p.min < end && p.max >= start && wanted(id) {
			held = append(held, holding{part: p, id: id})
		}
	}
	var stored []storedPart
	for _, s := range t.stored {
		if s.min < end && s.max >= start && wanted(s.id) {
			stored = append(stored, s)
		}
	}
	return held, stored
}

// atOnce is how many streams are looked at under one lock.
const atOnce = 4096

// find gathers the streams and rows that match.
func (h *holding) find(ctx context.Context, t *tenant, req *logql.SelectRequest) error {
	refs, err := h.part.match(ctx, t, req.Matchers)
	if err != nil {
		return err
	}
	type unordered struct {
		at    int // in h.streams
		clean int
	}
	var messy []unordered
	h.streams = make([]found, 0, min(len(refs), 1<<16))
	for len(refs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		some := refs[:min(len(refs), atOnce)]
		refs = refs[len(some):]
		t.mu.RLock()
		for _, ref := range some {
			s := h.part.streams[ref]
			if len(s.rows) == 0 || s.min >= req.End || s.max < req.Start {
				continue
			}
			if int(s.clean) < len(s.rows) {
				messy = append(messy, unordered{len(h.streams), int(s.clean)})
			}
			h.streams = append(h.streams, found{stream: s, rows: s.rows, min: s.min, max: s.max})
		}
		h.blocks = h.part.blocks
		t.mu.RUnlock()
	}
	h.names = h.part.names.Load()
	for _, m := range messy {
		f := &h.streams[m.at]
		f.rows = h.part.putInOrder(t, f.stream, f.rows, m.clean, h.blocks)
	}
	kept := h.streams[:0]
	for _, f := range h.streams {
		f.clip(req.Start, req.End)
		if len(f.rows) > 0 {
			kept = append(kept, f)
		}
	}
	h.streams = kept
	return nil
}

// clip leaves the rows with start <= time < end.
func (f *found) clip(start, end int64) {
	at := func(t int64) int {
		n, _ := slices.BinarySearchFunc(f.rows, t, func(r row, t int64) int { return cmp.Compare(r.time, t) })
		return n
	}
	if n := len(f.rows); n > 0 && f.rows[n-1].time >= end {
		f.rows = f.rows[:at(end)]
	}
	if len(f.rows) > 0 && f.rows[0].time < start {
		f.rows = f.rows[at(start):]
	}
	if n := len(f.rows); n > 0 {
		f.min, f.max = f.rows[0].time, f.rows[n-1].time
	}
}

// putInOrder returns the rows in order and without doubles, and keeps that for later readers.
func (p *part) putInOrder(t *tenant, s *stream, rows []row, clean int, blocks [][]byte) []row {
	tidied := tidy(rows, clean, blocks)
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(s.clean) != clean || cap(s.rows) == 0 || &s.rows[0] != &rows[0] {
		return tidied // somebody else did it, or rows were moved by growing: not worth the trouble
	}
	if len(tidied) == len(rows) && &tidied[0] == &rows[0] {
		s.clean = int32(len(tidied))
		return tidied
	}
	late := s.rows[len(rows):]
	s.rows = append(tidied[:len(tidied):len(tidied)], late...)
	s.clean = int32(len(tidied))
	return tidied
}

// markShared finds the streams that several parts have rows of in overlapping times. held has to be found.
func markShared(held []holding, stored []storedPart) {
	if len(held)+len(stored) < 2 {
		return
	}
	type place struct{ part, stream int }
	first := make(map[uint64]place)
	again := make(map[uint64][]place)
	for n := range held {
		for m := range held[n].streams {
			h := held[n].streams[m].Hash
			if f, ok := first[h]; !ok {
				first[h] = place{n, m}
			} else {
				if again[h] == nil {
					again[h] = []place{f}
				}
				again[h] = append(again[h], place{n, m})
			}
		}
	}
	for _, places := range again {
		for _, a := range places {
			fa := &held[a.part].streams[a.stream]
			for _, b := range places {
				if fb := &held[b.part].streams[b.stream]; a.part != b.part {
					fa.shared = append(fa.shared, interval{fb.min, fb.max})
				}
			}
		}
	}
	// What a stored part has of each stream is not known here: take its whole range.
	for n := range held {
		for m := range held[n].streams {
			for _, s := range stored {
				f := &held[n].streams[m]
				f.shared = append(f.shared, interval{s.min, s.max})
			}
		}
	}
}

// markStored marks the runs of a stored batch that share times with parts in memory.
func markStored(b *column.Batch, held []holding) {
	for n := range b.Runs {
		r := &b.Runs[n]
		for m := range held {
			if r.Shared {
				break
			}
			for _, f := range held[m].byHash(r.Stream.Hash) {
				r.Shared = r.Shared || f.min <= r.MaxTime && r.MinTime <= f.max
			}
		}
	}
}

// byHash returns the streams of a hash; it is used for few batches only.
func (h *holding) byHash(hash uint64) []found {
	n := slices.IndexFunc(h.streams, func(f found) bool { return f.Hash == hash })
	if n < 0 {
		return nil
	}
	return h.streams[n : n+1]
}

// page is a batch in the making.
type page struct {
	holding  *holding
	number   int
	runs     []pageRun
	rows     int
	bytes    int64
	min, max int64
}

type pageRun struct {
	stream *found
	rows   []row
}

// pages groups what was found. A stream with much gets pages of its own, consecutive in time; small ones share.
func (h *holding) pages() []*page {
	var pages []*page
	add := func() *page {
		p := &page{holding: h, number: len(pages), min: math.MaxInt64, max: math.MinInt64}
		pages = append(pages, p)
		return p
	}
	var common *page
	for n := range h.streams {
		f := &h.streams[n]
		count, bytes := fill(f.rows)
		if count == len(f.rows) && count < pageRows/4 && bytes < pageBytes/4 {
			if common == nil || common.rows+count > pageRows || common.bytes+bytes > pageBytes {
				common = add()
			}
			common.add(f, f.rows, bytes)
			continue
		}
		// All of it in pages of its own: their numbers have to ascend with time, since they decide
		// between rows of one time.
		for rows := f.rows; len(rows) > 0; rows = rows[count:] {
			count, bytes = fill(rows)
			add().add(f, rows[:count], bytes)
		}
	}
	h.untaken = len(pages)
	return pages
}

// take returns the page's batch and forgets its rows; with the last page of a part, the part's memory. A slow query must
// not keep that of all parts which became segments since it began.
func (p *page) take(req *logql.SelectRequest, buffers *headBuffers) *column.Batch {
	b := p.batch(req, buffers)
	h := p.holding
	if h.untaken--; h.untaken == 0 {
		h.gathered, h.part = gathered{}, nil
		for n := range h.streams {
			h.streams[n].rows = nil
		}
	}
	return b
}

// fill returns how many rows make a page, and their line bytes.
func fill(rows []row) (int, int64) {
	bytes := int64(0)
	for n := range rows {
		if n == pageRows || bytes >= pageBytes {
			return n, bytes
		}
		bytes += int64(rows[n].len)
	}
	return len(rows), bytes
}

func (p *page) add(f *found, rows []row, bytes int64) {
	p.runs = append(p.runs, pageRun{f, rows})
	p.rows += len(rows)
	p.bytes += bytes
	p.min, p.max = min(p.min, rows[0].time), max(p.max, rows[len(rows)-1].time)
}

// batch makes the page readable.
func (p *page) batch(req *logql.SelectRequest, buffers *headBuffers) *column.Batch {
	rows := p.runs[0].rows
	if len(p.runs) > 1 {
		rows = make([]row, 0, p.rows)
		for _, r := range p.runs {
			rows = append(rows, r.rows...)
		}
	}
	b := &column.Batch{
		Runs:     make([]column.Run, 0, len(p.runs)),
		MinTime:  p.min,
		MaxTime:  p.max,
		Part:     p.holding.id,
		Page:     p.number,
		RawBytes: p.bytes,
		Head:     true,
		Columns: &headColumns{buffers: buffers,
			gathered: gathered{rows: rows, blocks: p.holding.blocks, names: p.holding.names}},
	}
	at := 0
	for _, r := range p.runs {
		for rows := r.rows; len(rows) > 0; {
			n := r.stream.alike(rows, req)
			run := column.Run{Stream: &r.stream.Stream, From: at, To: at + n, MinTime: rows[0].time, MaxTime: rows[n-1].time}
			for _, iv := range r.stream.shared {
				run.Shared = run.Shared || iv.overlaps(run.MinTime, run.MaxTime)
			}
			b.Runs = append(b.Runs, run)
			rows, at = rows[n:], run.To
		}
	}
	return b
}

// alike returns how many rows, of which there is one at least, lie all or none of them at times of which other parts have
// rows of the stream, and so for times of which the reader of other parts wants to know. Rows at such times have to be
// told from copies, which costs more than counting them, and parts meet at their edges only.
func (f *found) alike(rows []row, req *logql.SelectRequest) int {
	n := len(rows)
	edge := func(t int64) { // those before t are not like those from t on
		if rows[0].time < t && t <= rows[n-1].time {
			n, _ = slices.BinarySearchFunc(rows[:n], t, func(r row, t int64) int { return cmp.Compare(r.time, t) })
		}
	}
	edges := func(iv interval) {
		edge(iv.min)
		if iv.max < math.MaxInt64 {
			edge(iv.max + 1)
		}
	}
	for _, iv := range f.shared {
		edges(iv)
	}
	if req.Overlaps != nil {
		edges(interval{req.Since, req.Until})
	}
	return n
}

// sortPages orders pages as Select has to yield them; ties by arrival.
func sortPages(pages []*page, d logql.Direction) {
	slices.SortStableFunc(pages, func(a, b *page) int {
		if d == logql.Forward {
			return cmp.Compare(a.min, b.min)
		}
		return cmp.Compare(b.max, a.max)
	})
}
