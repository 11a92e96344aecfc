package store

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"

	"example.com/loki/logql/column"
)

// Copies of the rows of a stream are told apart span by span, by their digests. The segments of one writer are taken
// together as far as their times of the stream in the span don't overlap, since writers cut segments at different
// places. Of those who hold the same in a span, the rows of the first by name are read; and if all do, or nobody else
// has rows in the span, these need not be compared with others.
//
// Segments are planned in groups, each with a sharing of its own, and runs of one span may be planned in
// different ones: so what becomes of a span follows from those segments alone that have rows in it, and all of them are
// known wherever one of them is planned. Spans of different levels either lie one within the other or apart. They are
// compared in the longest ones that there are, which don't depend on where one begins to look.

// stretch is rows of a run, up to row to of the page.
type stretch struct {
	to   int
	fate fate
}

// fate is what becomes of rows that others may have copies of.
type fate uint8

const (
	fateShared fate = iota // they have to be compared
	fateAlone              // nobody else's rows that are read are the same
	fateLeft               // the same rows are read of another segment
)

// judged are the fates of the rows of the streams of one hash.
type judged struct {
	once sync.Once
	err  error
	runs map[runOf][]stretch // of runs that have digests
}

// runOf is a run of a segment of a sharing.
type runOf struct{ seg, run int32 }

// stretches returns what becomes of the rows of a run of segment seg that overlaps those of others. There are none if all
// are to be compared.
func (sh *sharing) stretches(ctx context.Context, seg, stream, run int) ([]stretch, error) {
	if !sh.digests {
		return nil, nil
	}
	s := &sh.segs[seg]
	if s.seg.dir.pages[s.seg.table.pageOf(run)].digestSize == 0 {
		return nil, nil
	}
	hash, err := s.seg.index.hash(stream)
	if err != nil {
		return nil, s.seg.streamError(stream, err)
	}
	sh.mu.Lock()
	v := sh.judged[hash]
	if v == nil {
		v = &judged{}
		if sh.judged == nil {
			sh.judged = make(map[uint64]*judged)
		}
		sh.judged[hash] = v
	}
	sh.mu.Unlock()
	if v.once.Do(func() { v.runs, v.err = sh.judge(ctx, hash) }); v.err != nil {
		return nil, v.err
	}
	return v.runs[runOf{int32(seg), int32(run)}], nil
}

// digested is a run with digests whose spans are judged one after the other.
type digested struct {
	runDigests
	timeRange       // its rows
	entry     int32 // number in sharing.streams
	run       runOf
	row       int // the first one, in its page
	at        int // the span that is next
	parts     []stretch
}

// start returns the minute in which the next span begins.
func (d *digested) start() int64 { return (d.first + int64(d.at)) << d.level }

// skip passes over spans without rows.
func (d *digested) skip() {
	for d.at < len(d.ends) && d.ends[d.at] == d.before() {
		d.at++
	}
}

// before returns how many rows there are before the next span.
func (d *digested) before() uint32 {
	if d.at == 0 {
		return 0
	}
	return d.ends[d.at-1]
}

// judge finds the fates of the rows of all runs of the streams of a hash. find must have succeeded.
func (sh *sharing) judge(ctx context.Context, hash uint64) (map[runOf][]stretch, error) {
	var runs []*digested
	j := judgement{sh: sh}
	for n := sh.table[hash&uint64(len(sh.table)-1)]; n > 0; n = sh.streams[n-1].next {
		s := &sh.streams[n-1]
		if s.hash != hash {
			continue
		}
		seg := sh.segs[s.seg].seg
		t := seg.table
		for run := int(s.first); run < int(s.end); run++ {
			d, err := sh.digestsOf(ctx, int(s.seg), run)
			if err != nil {
				return nil, err
			}
			if d.ends == nil || !seg.info.mayHaveDigests() {
				j.unknown = append(j.unknown, timeRange{column.MinuteOf(t.min[run]), column.MinuteOf(t.max[run])})
				continue
			}
			row, _ := t.rows(run)
			runs = append(runs, &digested{runDigests: d, timeRange: timeRange{t.min[run], t.max[run]}, entry: n - 1, run: runOf{s.seg, int32(run)}, row: row})
		}
	}
	slices.SortFunc(runs, func(a, b *digested) int {
		return cmp.Or(cmp.Compare(a.start(), b.start()), cmp.Compare(a.run.seg, b.run.seg), cmp.Compare(a.run.run, b.run.run))
	})
	all := runs
	var active []*digested // those that have begun and have spans left
	begin := func(before int64) {
		for len(runs) > 0 && runs[0].start() < before {
			active, runs = append(active, runs[0]), runs[1:]
		}
	}
	for len(runs) > 0 || len(active) > 0 {
		// The next span is the longest of the first ones: all others that begin in it end in it.
		first := int64(math.MaxInt64)
		if len(runs) > 0 {
			first = runs[0].start()
		}
		for _, d := range active {
			first = min(first, d.start())
		}
		begin(first + 1)
		end := first + 1
		for _, d := range active {
			if d.start() == first {
				end = max(end, first+1<<d.level)
			}
		}
		begin(end)
		j.judge(active, first, end)
		active = slices.DeleteFunc(active, func(d *digested) bool { return d.at == len(d.ends) })
	}
	fates := make(map[runOf][]stretch, len(all))
	for _, d := range all {
		fates[d.run] = d.parts
	}
	return fates, nil
}

// judgement judges one span after the other.
type judgement struct {
	sh      *sharing
	unknown []timeRange // minutes, inclusive, of runs without digests
	held    []holding   // scratch
	copies  []holdings
}

// holding is what a segment has of a stream in a span: rows between two times.
type holding struct {
	entry  int32
	writer string
	timeRange
	rows  uint64
	sum   uint64
	known bool
}

// holdings are those of a writer.
type holdings struct {
	writer string
	rows   uint64
	sum    uint64
	known  bool
	fate   fate
}

// writer returns who has put a run.
func (j *judgement) writer(d *digested) string { return j.sh.segs[d.run.seg].seg.info.Writers[0] }

// judge finds the fates of rows of runs that lie in one span of time, in minutes, and passes over them.
func (j *judgement) judge(runs []*digested, first, end int64) {
	whole := timeRange{first*column.Minute + 1, end * column.Minute}
	j.held = j.held[:0]
	for _, d := range runs {
		if d.start() >= end {
			continue
		}
		r := timeRange{max(d.min, whole.min), min(d.max, whole.max)}
		n := slices.IndexFunc(j.held, func(h holding) bool { return h.entry == d.entry })
		if n < 0 {
			n = len(j.held)
			j.held = append(j.held, holding{entry: d.entry, writer: j.writer(d), timeRange: r, known: true})
		}
		h := &j.held[n]
		h.min, h.max = min(h.min, r.min), max(h.max, r.max)
		for d.at < len(d.ends) && d.start() < end {
			h.rows += uint64(d.ends[d.at] - d.before())
			h.sum += d.sums[d.at]
			h.known = h.known && d.sums[d.at] != 0
			d.at++
			d.skip()
		}
	}
	// What a writer has in several segments that overlap may be there twice.
	slices.SortFunc(j.held, func(a, b holding) int { return cmp.Or(cmp.Compare(a.writer, b.writer), cmp.Compare(a.min, b.min)) })
	j.copies = j.copies[:0]
	last := int64(0) // of the writer at hand
	for i := range j.held {
		h := &j.held[i]
		if i == 0 || h.writer != j.held[i-1].writer {
			j.copies = append(j.copies, holdings{writer: h.writer, rows: h.rows, sum: h.sum, known: h.known})
			last = h.max
			continue
		}
		c := &j.copies[len(j.copies)-1]
		c.rows += h.rows
		c.sum += h.sum
		c.known = c.known && h.known && h.min > last
		last = max(last, h.max)
	}
	left := 0
	for i := range j.copies {
		c := &j.copies[i]
		c.fate = fateShared
		if c.known && slices.ContainsFunc(j.copies[:i], func(o holdings) bool { return o.known && o.rows == c.rows && o.sum == c.sum }) {
			c.fate = fateLeft
			left++
		}
	}
	others := slices.ContainsFunc(j.unknown, func(u timeRange) bool { return u.min < end && u.max >= first })
	if c := &j.copies[0]; c.known && left == len(j.copies)-1 && !others {
		c.fate = fateAlone
	}
	for _, d := range runs {
		to := d.row + int(d.before())
		last := len(d.parts) - 1
		if last < 0 && to == d.row || last >= 0 && d.parts[last].to == to {
			continue // no rows of it
		}
		writer := j.writer(d)
		n := slices.IndexFunc(j.copies, func(c holdings) bool { return c.writer == writer })
		if fate := j.copies[n].fate; last >= 0 && d.parts[last].fate == fate {
			d.parts[last].to = to
		} else {
			d.parts = append(d.parts, stretch{to, fate})
		}
	}
}

// digestsOf returns the digests of a run of segment seg.
func (sh *sharing) digestsOf(ctx context.Context, seg, run int) (runDigests, error) {
	s := sh.segs[seg].seg
	page := s.table.pageOf(run)
	if s.dir.pages[page].digestSize == 0 {
		return runDigests{}, nil
	}
	c := &sh.decoded[seg]
	c.mu.Lock()
	defer c.mu.Unlock()
	all, ok := c.pages[page]
	if !ok {
		var err error
		if all, err = s.digests(ctx, page); err != nil {
			return runDigests{}, err
		}
		if c.pages == nil {
			c.pages = make(map[int][]runDigests)
		}
		c.pages[page] = all
	}
	first, _ := s.table.pageRuns(page)
	return all[run-first], nil
}

// decodedDigests are those of some pages of a segment.
type decodedDigests struct {
	mu    sync.Mutex
	pages map[int][]runDigests
}
