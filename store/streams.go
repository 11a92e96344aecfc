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

// streamTable says which rows belong to which stream.
type streamTable struct {
	firstRow []int64 // of each stream in the segment, and the number of all
	firstRun []int32 // of each stream, and the number of all
	// Of each run:
	page      []int32
	row       []int32 // the first, in its page
	min, max  []int64
	lineBytes []int64
	metaBytes []int64
}

func (t *streamTable) streams() int { return len(t.firstRow) - 1 }

// rows returns the first row of run r in its page and the one after its last.
func (t *streamTable) rows(r int, dir *directory) (from, to int) {
	from = int(t.row[r])
	if r+1 < len(t.row) && t.page[r+1] == t.page[r] {
		return from, int(t.row[r+1])
	}
	return from, dir.pages[t.page[r]].rows
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
	from = sort.Search(len(t.page), func(i int) bool { return int(t.page[i]) >= page })
	to = from + sort.Search(len(t.page)-from, func(i int) bool { return int(t.page[from+i]) > page })
	return from, to
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
	t := &streamTable{firstRow: make([]int64, 0, streams+1), firstRun: make([]int32, 0, streams+1)}
	row := int64(0)
	for range streams {
		t.firstRow = append(t.firstRow, row)
		n := d.uvarint()
		if n == 0 || n > uint64(f.info.Rows-row) {
			return nil, fmt.Errorf("stream of %d rows", n)
		}
		row += int64(n)
	}
	t.firstRow = append(t.firstRow, row)
	if row != f.info.Rows {
		return nil, fmt.Errorf("%d rows instead of %d", row, f.info.Rows)
	}
	if err := t.place(dir, runs); err != nil {
		return nil, err
	}
	t.min, t.max = make([]int64, runs), make([]int64, runs)
	t.lineBytes, t.metaBytes = make([]int64, runs), make([]int64, runs)
	for _, dst := range [][]int64{t.min, t.max} {
		for i := range dst {
			v := d.uvarint()
			if v > math.MaxUint64/unit {
				d.fail(errVarint)
			}
			dst[i] = int64(v * unit)
		}
	}
	for _, dst := range [][]int64{t.lineBytes, t.metaBytes} {
		for i := range dst {
			dst[i] = int64(d.uvarint())
		}
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	return t, t.check(f, dir)
}

// place cuts streams into runs at the ends of pages.
func (t *streamTable) place(dir *directory, runs int) error {
	t.page, t.row = make([]int32, 0, runs), make([]int32, 0, runs)
	page := 0
	for s := range t.streams() {
		t.firstRun = append(t.firstRun, int32(len(t.page)))
		for row := t.firstRow[s]; row < t.firstRow[s+1]; {
			for dir.firstRow[page+1] <= row {
				page++
			}
			if len(t.page) == runs {
				return fmt.Errorf("more than %d runs", runs)
			}
			t.page = append(t.page, int32(page))
			t.row = append(t.row, int32(row-dir.firstRow[page]))
			row = min(t.firstRow[s+1], dir.firstRow[page+1])
		}
	}
	t.firstRun = append(t.firstRun, int32(len(t.page)))
	if len(t.page) != runs {
		return fmt.Errorf("%d runs instead of %d", len(t.page), runs)
	}
	return nil
}

// check turns starts and spans into times and compares sums with pages and footer.
func (t *streamTable) check(f *footer, dir *directory) error {
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	lines, meta := make([]int64, len(dir.pages)), make([]int64, len(dir.pages))
	for s := range t.streams() {
		from := f.info.MinTime
		for r := t.firstRun[s]; r < t.firstRun[s+1]; r++ {
			t.min[r] += from
			t.max[r] += t.min[r]
			if t.min[r] < from || t.max[r] < t.min[r] {
				return errors.New("times of a run are out of order")
			}
			from = t.max[r]
			lo, hi = min(lo, t.min[r]), max(hi, t.max[r])
			lines[t.page[r]] += t.lineBytes[r]
			meta[t.page[r]] += t.metaBytes[r]
			if t.lineBytes[r] < 0 || t.metaBytes[r] < 0 || lines[t.page[r]] < 0 || meta[t.page[r]] < 0 {
				return errVarint
			}
		}
	}
	if t.streams() > 0 && (lo != f.info.MinTime || hi != f.info.MaxTime) {
		return fmt.Errorf("times %d to %d instead of %d to %d", lo, hi, f.info.MinTime, f.info.MaxTime)
	}
	for i := range dir.pages {
		if lines[i] != dir.pages[i].rawBytes || meta[i] != dir.pages[i].metaBytes {
			return fmt.Errorf("sums of page %d are wrong", i)
		}
	}
	return nil
}

// memory is about what the table takes.
func (t *streamTable) memory() int64 { return int64(12*len(t.firstRow) + 40*len(t.page)) }
