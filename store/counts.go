package store

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"example.com/loki/logql/column"
)

// A page has counts if it has at least minCountedRows rows and on average at least rowsPerMinute of them
// in each minute of its runs, or of its own. Then counts are some tenth of what times take and are read ten times as
// fast; for pages of quiet streams those of runs would be as large as the times.
const (
	minCountedRows = 64
	rowsPerMinute  = 4
)

// What the counts of a page are of.
const (
	countsRuns = 0 // each run
	countsPage = 1 // all rows together
)

// latestCounted is the last time of rows that are counted by the minute: the minute ends before the
// last time that there is.
const latestCounted = math.MaxInt64 - column.Minute

// runCounts are the rows and line bytes of the runs of a page, or of a page, by minute.
type runCounts struct {
	first []int32 // per run, and the number of all: where its minutes begin
	// Of each minute of each run: sums from the beginning of the run to the end of the minute.
	rows, bytes []uint32
}

// part returns the minutes of the rows [from, to) of run n, which begins in minute first; ok is false unless they end where
// minutes end.
func (c *runCounts) part(n int, first int64, from, to uint32) (m column.Minutes, ok bool) {
	rows, bytes := c.rows[c.first[n]:c.first[n+1]], c.bytes[c.first[n]:c.first[n+1]]
	begin, before := 0, uint32(0) // the minute of row from, and the bytes before it
	if from > 0 {
		at, found := slices.BinarySearch(rows, from)
		if !found {
			return m, false
		}
		before = bytes[at]
		for begin = at + 1; begin < len(rows) && rows[begin] == from; begin++ {
		}
	}
	end, found := slices.BinarySearch(rows, to)
	if !found || end < begin {
		return m, false
	}
	m = column.Minutes{First: first + int64(begin)}
	for k := begin; k <= end; k++ {
		m.Rows = append(m.Rows, rows[k]-from)
		m.Bytes = append(m.Bytes, bytes[k]-before)
	}
	return m, true
}

// minutesOf returns the first minute in which a run has rows and how many minutes it has from there on.
func minutesOf(first, last int64) (minute int64, n uint64) {
	minute = column.MinuteOf(first)
	return minute, uint64(column.MinuteOf(last)-minute) + 1
}

// counted tells whether the page at hand is to have counts, and of what.
func (p *pageBuilder) counted() (ok bool, of byte) {
	if p.rows < minCountedRows {
		return false, 0
	}
	minutes := uint64(0)
	lo, hi := int64(math.MaxInt64), int64(math.MinInt64)
	for i, from := range p.runs {
		first, last := p.times[from], p.times[p.runEnd(i)-1]
		lo, hi = min(lo, first), max(hi, last)
		_, n := minutesOf(first, last)
		minutes += min(n, uint64(p.rows))
	}
	if hi > latestCounted {
		return false, 0
	}
	if minutes*rowsPerMinute <= uint64(p.rows) {
		return true, countsRuns
	}
	_, n := minutesOf(lo, hi)
	return n <= uint64(p.rows)/rowsPerMinute, countsPage
}

// runEnd returns the row after the last one of run i.
func (p *pageBuilder) runEnd(i int) int {
	if i+1 < len(p.runs) {
		return p.runs[i+1]
	}
	return p.rows
}

// appendCounts appends the raw bytes of the page's count block.
func (p *pageBuilder) appendCounts(dst []byte, of byte) []byte {
	p.counts, p.excess = p.counts[:0], p.excess[:0]
	if of == countsPage {
		p.countRows(0, p.rows)
	} else {
		for i, from := range p.runs {
			p.countRows(from, p.runEnd(i))
		}
	}
	return appendTimes(appendTimes(dst, p.counts), p.excess)
}

// countRows adds the counts of rows [from, end).
func (p *pageBuilder) countRows(from, end int) {
	first := column.MinuteOf(slices.Min(p.times[from:end]))
	last := column.MinuteOf(slices.Max(p.times[from:end]))
	n := int(last - first)
	if cap(p.perMinute) < 2*n {
		p.perMinute = make([]uint64, 2*n)
	}
	rows, bytes := p.perMinute[:n], p.perMinute[n:2*n]
	clear(p.perMinute[:2*n])
	var total uint64
	for i := from; i < end; i++ {
		l := uint64(p.lens[i])
		total += l
		if m := column.MinuteOf(p.times[i]) - first; m < int64(n) {
			rows[m]++
			bytes[m] += l
		}
	}
	mean := total / uint64(end-from)
	p.counts = append(p.counts, rows...)
	for m, r := range rows {
		if r > 0 {
			p.excess = append(p.excess, zigzag(bytes[m]-r*mean))
		}
	}
}

// counted is a run whose rows are counted, or all of a page.
type counted struct {
	timeRange
	rows  int
	bytes int64
}

// countedRuns returns what the counts of a page are of.
func (s *segment) countedRuns(page int) []counted {
	p, t := &s.dir.pages[page], s.table
	if p.countsAll == countsPage {
		return []counted{{t.pageTimes[page], p.rows, p.rawBytes}}
	}
	first, end := t.pageRuns(page)
	runs := make([]counted, 0, end-first)
	for r := first; r < end; r++ {
		a, b := t.rows(r)
		runs = append(runs, counted{timeRange{t.min[r], t.max[r]}, b - a, int64(t.lineBytes[r])})
	}
	return runs
}

// decodeCounts reads the raw bytes of the count block of a page.
func (s *segment) decodeCounts(page int, raw []byte, pool *slicePool[uint64]) (*runCounts, error) {
	runs := s.countedRuns(page)
	c := &runCounts{first: make([]int32, 0, len(runs)+1)}
	total := uint64(0)
	for _, r := range runs {
		c.first = append(c.first, int32(total))
		_, n := minutesOf(r.min, r.max)
		if total += n; n > maxPageRows || total > uint64(s.dir.pages[page].rows) {
			return nil, errors.New("more minutes than rows")
		}
	}
	c.first = append(c.first, int32(total))

	values := pool.get(int(total) - len(runs))
	defer pool.put(values)
	rest, err := decodeTimeGroups(values, raw)
	if err != nil {
		return nil, err
	}
	// They are few and stay in the cache: a pool would give them more memory than they need.
	both := make([]uint32, 2*total)
	c.rows, c.bytes = both[:total:total], both[total:]
	excess, err := c.sumRows(runs, values)
	if err != nil {
		return nil, err
	}
	values = values[:excess] // there are no more minutes with rows than minutes
	if err := decodeTimes(values, rest); err != nil {
		return nil, err
	}
	return c, c.sumBytes(runs, values)
}

// sumRows fills rows from what each minute but the last of each run has, and returns how many of these
// have some.
func (c *runCounts) sumRows(runs []counted, counts []uint64) (filled int, err error) {
	for i, r := range runs {
		dst := c.rows[c.first[i]:c.first[i+1]]
		last := len(dst) - 1
		sum, all := uint64(0), uint64(r.rows)
		for k, n := range counts[:last] {
			if n > all {
				return 0, fmt.Errorf("a minute of %d rows in a run of %d", n, all)
			}
			if n > 0 {
				filled++
			}
			sum += n
			dst[k] = uint32(sum)
		}
		// The first and the last row of the run are in the first and the last minute.
		if sum >= all || last > 0 && dst[0] == 0 {
			return 0, fmt.Errorf("minutes of %d rows in a run of %d", sum, all)
		}
		dst[last] = uint32(all)
		counts = counts[last:]
	}
	return filled, nil
}

// sumBytes fills bytes from those that each minute with rows has beyond the mean.
func (c *runCounts) sumBytes(runs []counted, excess []uint64) error {
	for i, r := range runs {
		rows, dst := c.rows[c.first[i]:c.first[i+1]], c.bytes[c.first[i]:c.first[i+1]]
		last := len(dst) - 1
		sum, all := uint64(0), uint64(r.bytes) // all < 1<<32: it is in a page
		mean := all / uint64(r.rows)
		before := uint32(0)
		for k, n := range rows[:last] {
			if n > before {
				bytes := uint64(n-before)*mean + unzigzag(excess[0])
				excess = excess[1:]
				if bytes > all {
					return fmt.Errorf("a minute of %d bytes in a run of %d", bytes, all)
				}
				sum += bytes
			}
			before = n
			dst[k] = uint32(sum)
		}
		if sum > all {
			return fmt.Errorf("minutes of %d bytes in a run of %d", sum, all)
		}
		dst[last] = uint32(all)
	}
	return nil
}

// checkCounts compares the counts of a page with its times and lengths.
func (s *segment) checkCounts(page int, c *runCounts, times []int64, lengths []uint32) error {
	row := 0
	for i, r := range s.countedRuns(page) {
		first, n := minutesOf(r.min, r.max)
		rows, bytes := make([]uint32, n), make([]uint32, n)
		for end := row + r.rows; row < end; row++ {
			m := column.MinuteOf(times[row]) - first
			if m < 0 || m >= int64(n) {
				return fmt.Errorf("a row of minute %d is none of those counted", first+m)
			}
			rows[m]++
			bytes[m] += lengths[row]
		}
		var sumRows, sumBytes uint32
		for m := range rows {
			sumRows, sumBytes = sumRows+rows[m], sumBytes+bytes[m]
			if k := int(c.first[i]) + m; c.rows[k] != sumRows || c.bytes[k] != sumBytes {
				return fmt.Errorf("counts of minute %d are wrong", first+int64(m))
			}
		}
	}
	return nil
}
