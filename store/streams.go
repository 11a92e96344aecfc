package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
)

// run is a sequence of rows of one stream in one page.
type run struct {
	min, max  int64
	lineBytes int64
	metaBytes int64
	rows      int
}

// join adds rows that follow those of r.
func (r *run) join(o run) {
	r.max = o.max
	r.lineBytes += o.lineBytes
	r.metaBytes += o.metaBytes
	r.rows += o.rows
}

// streamTable says which rows belong to which stream. There may be hundreds of thousands of streams of a row or
// two each, so what a run takes counts.
type streamTable struct {
	firstRun  []uint32    // of each stream, and the number of all
	pageFirst []uint32    // first run of each page, and the number of all
	pageTimes []timeRange // of each page
	pageRows  []int32     // of each page
	// Of each run:
	row       []uint16 // the first, in its page
	min, max  []int64
	lineBytes []uint32
	metaBytes []uint32
}

func (t *streamTable) streams() int { return len(t.firstRun) - 1 }

// rows returns the first row of run r in its page and the one after its last.
func (t *streamTable) rows(r int) (from, to int) {
	from = int(t.row[r])
	if r+1 < len(t.row) && t.row[r+1] > 0 {
		return from, int(t.row[r+1])
	}
	return from, int(t.pageRows[t.pageOf(r)])
}

// bytes returns those of lines and metadata of run r.
func (t *streamTable) bytes(r int) int64 { return int64(t.lineBytes[r]) + int64(t.metaBytes[r]) }

// pageOf returns the page of a run.
func (t *streamTable) pageOf(r int) int {
	return sort.Search(len(t.pageRows), func(i int) bool { return int(t.pageFirst[i+1]) > r })
}

// streamOf returns the stream of a run.
func (t *streamTable) streamOf(r int) int {
	return sort.Search(t.streams(), func(i int) bool { return int(t.firstRun[i+1]) > r })
}

// timeRange returns the times of stream s.
func (t *streamTable) timeRange(s int) (min, max int64) {
	return t.min[t.firstRun[s]], t.max[t.firstRun[s+1]-1]
}

// runsOf returns the runs of stream s that overlap [start, end): a range, as runs of a stream ascend in
// time.
func (t *streamTable) runsOf(s int, start, end int64) (from, to int) {
	lo, hi := int(t.firstRun[s]), int(t.firstRun[s+1])
	if lo+1 == hi {
		if t.max[lo] < start || t.min[lo] >= end {
			return lo, lo
		}
		return lo, hi
	}
	from = lo + sort.Search(hi-lo, func(i int) bool { return t.max[lo+i] >= start })
	to = lo + sort.Search(hi-lo, func(i int) bool { return t.min[lo+i] >= end })
	return from, max(from, to)
}

// pageRuns returns the runs of a page.
func (t *streamTable) pageRuns(page int) (from, to int) {
	return int(t.pageFirst[page]), int(t.pageFirst[page+1])
}

// timesOf returns the first and the last time of some runs of a page.
func (t *streamTable) timesOf(page, run, runs int) (lo, hi int64) {
	if from, to := t.pageRuns(page); run == from && run+runs == to {
		return t.pageTimes[page].min, t.pageTimes[page].max
	}
	lo, hi = t.min[run], t.max[run]
	for r := run + 1; r < run+runs; r++ {
		lo, hi = min(lo, t.min[r]), max(hi, t.max[r])
	}
	return lo, hi
}

// appendStreams appends the raw bytes of the streams section: runs of all streams, and the number of
// runs of each.
func appendStreams(dst []byte, runs []run, perStream []int32, minTime int64) []byte {
	unit := uint64(1)
	if len(runs) > 0 {
		times := make([]uint64, 0, 2*len(runs))
		eachRunTime(runs, perStream, minTime, func(start, span uint64) { times = append(times, start, span) })
		unit = timeUnit(commonUnit(times))
	}
	put := func(v uint64) { dst = binary.AppendUvarint(dst, v) }
	put(uint64(len(perStream)))
	put(uint64(len(runs)))
	put(unit)
	at := 0
	for _, n := range perStream {
		rows := 0
		for _, r := range runs[at : at+int(n)] {
			rows += r.rows
		}
		at += int(n)
		put(uint64(rows))
	}
	eachRunTime(runs, perStream, minTime, func(start, _ uint64) { put(start / unit) })
	eachRunTime(runs, perStream, minTime, func(_, span uint64) { put(span / unit) })
	for _, r := range runs {
		put(uint64(r.lineBytes))
	}
	for _, r := range runs {
		put(uint64(r.metaBytes))
	}
	return dst
}

func eachRunTime(runs []run, perStream []int32, minTime int64, f func(start, span uint64)) {
	at := 0
	for _, n := range perStream {
		from := minTime
		for _, r := range runs[at : at+int(n)] {
			f(uint64(r.min-from), uint64(r.max-r.min))
			from = r.max
		}
		at += int(n)
	}
}

// parseStreams reads the raw bytes of the streams section.
func parseStreams(raw []byte, f *footer, dir *directory) (*streamTable, error) {
	d := decbuf{b: raw}
	streams, runs := d.count(), d.count()
	unit := d.uvarint()
	if d.err != nil {
		return nil, d.err
	}
	if unit != 1 && unit != 1e3 && unit != 1e6 && unit != 1e9 {
		return nil, fmt.Errorf("unit %d", unit)
	}
	if int64(streams) != f.info.Streams || runs > math.MaxInt32 || streams+4*runs > len(d.b) {
		return nil, fmt.Errorf("%d streams with %d runs", streams, runs)
	}
	t := &streamTable{firstRun: make([]uint32, 0, streams+1)}
	if err := t.place(&d, f.info.Rows, dir, streams, runs); err != nil {
		return nil, err
	}
	t.min, t.max = make([]int64, runs), make([]int64, runs)
	t.lineBytes, t.metaBytes = make([]uint32, runs), make([]uint32, runs)
	readUvarints(&d, t.min, unit, math.MaxUint64/unit)
	readUvarints(&d, t.max, unit, math.MaxUint64/unit)
	readUvarints(&d, t.lineBytes, 1, math.MaxUint32)
	readUvarints(&d, t.metaBytes, 1, math.MaxUint32)
	if err := d.end(); err != nil {
		return nil, err
	}
	return t, t.check(f, dir)
}

// place reads the rows of streams and cuts these into runs at the ends of pages.
func (t *streamTable) place(d *decbuf, rows int64, dir *directory, streams, runs int) error {
	t.row = make([]uint16, 0, runs)
	t.pageFirst = make([]uint32, 0, len(dir.pages)+1)
	t.pageRows = make([]int32, len(dir.pages))
	t.pageTimes = make([]timeRange, len(dir.pages))
	for i := range dir.pages {
		t.pageRows[i] = int32(dir.pages[i].rows)
	}
	row, page := int64(0), -1
	end := int64(0) // of the page
	for range streams {
		t.firstRun = append(t.firstRun, uint32(len(t.row)))
		n := d.uvarint()
		if n == 0 || n > uint64(rows-row) {
			return fmt.Errorf("stream of %d rows", n)
		}
		for last := row + int64(n); row < last; {
			if row == end {
				page++
				end = dir.firstRow[page+1]
				t.pageFirst = append(t.pageFirst, uint32(len(t.row)))
			}
			if len(t.row) == runs {
				return fmt.Errorf("more than %d runs", runs)
			}
			t.row = append(t.row, uint16(row-dir.firstRow[page]))
			row = min(last, end)
		}
	}
	t.firstRun = append(t.firstRun, uint32(len(t.row)))
	t.pageFirst = append(t.pageFirst, uint32(len(t.row)))
	if row != rows {
		return fmt.Errorf("%d rows instead of %d", row, rows)
	}
	if len(t.row) != runs {
		return fmt.Errorf("%d runs instead of %d", len(t.row), runs)
	}
	return nil
}

// check turns starts and spans into times and compares sums with pages and footer.
func (t *streamTable) check(f *footer, dir *directory) error {
	from := f.info.MinTime
	next := 1 // stream
	for page := range dir.pages {
		first, end := t.pageRuns(page)
		span := timeRange{math.MaxInt64, math.MinInt64}
		var lines, meta int64
		for r := first; r < end; r++ {
			if r == int(t.firstRun[next]) { // no stream is without a run
				from = f.info.MinTime
				next++
			}
			lo := t.min[r] + from
			hi := t.max[r] + lo
			if lo < from || hi < lo {
				return errors.New("times of a run are out of order")
			}
			t.min[r], t.max[r] = lo, hi
			from = hi
			span.min, span.max = min(span.min, lo), max(span.max, hi)
			lines += int64(t.lineBytes[r])
			meta += int64(t.metaBytes[r])
		}
		t.pageTimes[page] = span
		if lines != dir.pages[page].rawBytes || meta != dir.pages[page].metaBytes {
			return fmt.Errorf("sums of page %d are wrong", page)
		}
	}
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for _, p := range t.pageTimes {
		lo, hi = min(lo, p.min), max(hi, p.max)
	}
	if t.streams() > 0 && (lo != f.info.MinTime || hi != f.info.MaxTime) {
		return fmt.Errorf("times %d to %d instead of %d to %d", lo, hi, f.info.MinTime, f.info.MaxTime)
	}
	return nil
}

// memory is about what the table takes.
func (t *streamTable) memory() int64 {
	return int64(4*len(t.firstRun) + 24*len(t.pageFirst) + 26*len(t.row))
}
