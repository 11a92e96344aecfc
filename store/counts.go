package store

import (
	"errors"
	"fmt"
	"math"

	"example.com/loki/logql/column"
)

// A page has counts if it has at least minCountedRows rows and on average at least rowsPerMinute of them
// in each minute of its runs. Then counts are some tenth of what times take and are read ten times as
// fast; for pages of quiet streams they would be as large as the times.
const (
	minCountedRows = 64
	rowsPerMinute  = 4
)

// latestCounted is the last time of rows that are counted by the minute: the minute ends before the
// last time that there is.
const latestCounted = math.MaxInt64 - column.Minute

// runCounts are the rows and line bytes of the runs of a page, by minute.
type runCounts struct {
	first []int32 // per run, and the number of all: where its minutes begin
	// Of each minute of each run: sums from the beginning of the run to the end of the minute.
	rows, bytes []uint32
}

// minutesOf returns the first minute in which a run has rows and how many minutes it has from there on.
func minutesOf(first, last int64) (minute int64, n uint64) {
	minute = column.MinuteOf(first)
	return minute, uint64(column.MinuteOf(last)-minute) + 1
}

// counted tells whether the page at hand is to have counts.
func (p *pageBuilder) counted() bool {
	if p.rows < minCountedRows {
		return false
	}
	minutes := uint64(0)
	for i, from := range p.runs {
		last := p.times[p.runEnd(i)-1]
		_, n := minutesOf(p.times[from], last)
		if n > uint64(p.rows) || last > latestCounted {
			return false
		}
		minutes += n
	}
	return minutes*rowsPerMinute <= uint64(p.rows)
}

// runEnd returns the row after the last one of run i.
func (p *pageBuilder) runEnd(i int) int {
	if i+1 < len(p.runs) {
		return p.runs[i+1]
	}
	return p.rows
}

// appendCounts appends the raw bytes of the page's count block.
func (p *pageBuilder) appendCounts(dst []byte) []byte {
	p.counts, p.excess = p.counts[:0], p.excess[:0]
	for i, from := range p.runs {
		end := p.runEnd(i)
		var total uint64
		for _, n := range p.lens[from:end] {
			total += uint64(n)
		}
		mean := total / uint64(end-from)
		minute := column.MinuteOf(p.times[from])
		last := column.MinuteOf(p.times[end-1])
		for row := from; minute < last; minute++ {
			through := (minute + 1) * column.Minute
			rows, bytes := uint64(0), uint64(0)
			for ; p.times[row] <= through; row++ {
				rows++
				bytes += uint64(p.lens[row])
			}
			p.counts = append(p.counts, rows)
			if rows > 0 {
				p.excess = append(p.excess, zigzag(bytes-rows*mean))
			}
		}
	}
	return appendTimes(appendTimes(dst, p.counts), p.excess)
}

// decodeCounts reads the raw bytes of the count block of a page.
func (s *segment) decodeCounts(page int, raw []byte, pool *slicePool[uint64]) (*runCounts, error) {
	t := s.table
	from, end := t.pageRuns(page)
	c := &runCounts{first: make([]int32, 0, end-from+1)}
	total := uint64(0)
	for r := from; r < end; r++ {
		c.first = append(c.first, int32(total))
		_, n := minutesOf(t.min[r], t.max[r])
		if total += n; n > maxPageRows || total > uint64(s.dir.pages[page].rows) {
			return nil, errors.New("more minutes than rows")
		}
	}
	c.first = append(c.first, int32(total))

	values := pool.get(int(total) - (end - from))
	defer pool.put(values)
	rest, err := decodeTimeGroups(values, raw)
	if err != nil {
		return nil, err
	}
	// They are few and stay in the cache: a pool would give them more memory than they need.
	both := make([]uint32, 2*total)
	c.rows, c.bytes = both[:total:total], both[total:]
	excess, err := c.sumRows(s, from, values)
	if err != nil {
		return nil, err
	}
	values = values[:excess] // there are no more minutes with rows than minutes
	if err := decodeTimes(values, rest); err != nil {
		return nil, err
	}
	return c, c.sumBytes(s, from, values)
}

// sumRows fills rows from what each minute but the last of each run has, and returns how many of these
// have some. firstRun is the page's first.
func (c *runCounts) sumRows(s *segment, firstRun int, counts []uint64) (filled int, err error) {
	for i := range len(c.first) - 1 {
		a, b := s.table.rows(firstRun+i, s.dir)
		dst := c.rows[c.first[i]:c.first[i+1]]
		last := len(dst) - 1
		sum, all := uint64(0), uint64(b-a)
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
func (c *runCounts) sumBytes(s *segment, firstRun int, excess []uint64) error {
	for i := range len(c.first) - 1 {
		a, b := s.table.rows(firstRun+i, s.dir)
		rows, dst := c.rows[c.first[i]:c.first[i+1]], c.bytes[c.first[i]:c.first[i+1]]
		last := len(dst) - 1
		sum, all := uint64(0), uint64(s.table.lineBytes[firstRun+i]) // all < 1<<32: it is in a page
		mean := all / uint64(b-a)
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
	from, end := s.table.pageRuns(page)
	for r := from; r < end; r++ {
		a, b := s.table.rows(r, s.dir)
		minute := column.MinuteOf(s.table.min[r])
		rows, bytes := uint32(0), uint32(0)
		for k := c.first[r-from]; k < c.first[r-from+1]; k++ {
			for a < b && column.MinuteOf(times[a]) == minute {
				rows++
				bytes += lengths[a]
				a++
			}
			if c.rows[k] != rows || c.bytes[k] != bytes {
				return fmt.Errorf("counts of minute %d are wrong", minute)
			}
			minute++
		}
	}
	return nil
}
