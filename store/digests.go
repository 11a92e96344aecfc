package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"

	"example.com/loki/logql/column"
)

// Digests tell whether copies of rows are the same without a look at the rows: how many rows of a stream there are in
// a span of time, and the sum of their hashes. See docs/format/segment.md.
const (
	// digestRows is how many rows of a stream a span has at least, on average.
	digestRows = 16

	// maxDigestLevel is that of the longest spans: 64 minutes. Spans of level n have 2ⁿ minutes.
	maxDigestLevel = 6

	// Rows of other times have no digests, so that the edges of spans are times too.
	maxDigestTime = int64(1) << 61
)

// mayHaveDigests tells whether pages of a segment may have digests.
func (i *SegmentInfo) mayHaveDigests() bool { return len(i.Writers) == 1 && len(i.Replaces) == 0 }

// digestStep is the length of the longest spans in nanoseconds. All spans lie within such.
const digestStep = column.Minute << maxDigestLevel

// entryHasher hashes rows for digests. Rows of a stream with the same time, line and metadata have the same hash.
type entryHasher struct {
	metadata []NamedMetadata
	values   [][]uint64 // hash of each name and value
}

// reset makes the hasher ready for rows with such metadata, ascending by name.
func (h *entryHasher) reset(md []NamedMetadata) {
	h.metadata = md
	for len(h.values) < len(md) {
		h.values = append(h.values, nil)
	}
	for i, m := range md {
		name := column.Mix(xxhash.Sum64String(m.Name), nameSeed)
		v := slices.Grow(h.values[i][:0], len(m.Values))
		for _, value := range m.Values {
			v = append(v, column.Mix(name, xxhash.Sum64(value)))
		}
		h.values[i] = v
	}
}

// Any odd constants do; they keep apart what is hashed alike.
const (
	nameSeed = 0x9fb21c651e98df25
	timeSeed = 0xd1b54a32d192ed03
)

// row returns the hash of a row.
func (h *entryHasher) row(row int, time int64, line []byte) uint64 {
	sum := column.Mix(xxhash.Sum64(line), uint64(time)*timeSeed)
	for i := range h.metadata {
		if index := h.metadata[i].Index; index != nil && index[row] != 0 {
			sum = column.Mix(sum, h.values[i][index[row]-1])
		}
	}
	return sum
}

// hashRows sets the hashes of the rows of a stream, which ascend in time. They are 0 where there are several rows of one
// hash: a digest can't tell how many of these are one entry.
func (c *streamCursor) hashRows() {
	c.level = digestLevel(c.Times)
	c.hasher.reset(c.Metadata)
	c.hashes = slices.Grow(c.hashes[:0], len(c.Times))
	from := 0 // of the rows of one time
	for i, t := range c.Times {
		if t != c.Times[from] {
			dropTwins(c.hashes[from:])
			from = i
		}
		c.hashes = append(c.hashes, c.hasher.row(i, t, c.Lines.Row(i)))
	}
	dropTwins(c.hashes[from:])
}

// dropTwins sets to 0 all hashes that there are several of.
func dropTwins(hashes []uint64) {
	if len(hashes) < 2 {
		return
	}
	sorted := slices.Sorted(slices.Values(hashes))
	for i := 1; i < len(sorted); i++ {
		if sorted[i] != sorted[i-1] || sorted[i] == 0 {
			continue
		}
		for n, h := range hashes {
			if h == sorted[i] {
				hashes[n] = 0
			}
		}
	}
}

// spansOf returns the spans of a level that a run from first to last reaches over: the first one, and how many there are.
func spansOf(first, last int64, level uint8) (from int64, n int) {
	from = column.MinuteOf(first) >> level
	return from, int(column.MinuteOf(last)>>level-from) + 1
}

// spansFit tells whether a run may have digests of a level, and spansOf may be asked: there are not more of them than rows.
func spansFit(first, last int64, level uint8, rows int) bool {
	if first < -maxDigestTime || last > maxDigestTime || (last-first)/digestStep > int64(rows) {
		return false
	}
	_, n := spansOf(first, last, level)
	return n <= rows
}

// digestLevel returns the level of the digests of a stream, plus 1; 0 if it is to have none.
func digestLevel(times []int64) uint8 {
	first, last := times[0], times[len(times)-1]
	for level := uint8(0); level <= maxDigestLevel; level++ {
		if spansFit(first, last, level, len(times)/digestRows) {
			return level + 1
		}
	}
	return 0
}

// appendDigests appends the raw bytes of the page's digest block, nothing if no run has digests.
func (p *pageBuilder) appendDigests(dst []byte) []byte {
	p.counts, p.sums = p.counts[:0], p.sums[:0]
	any := false
	for i, from := range p.runs {
		end := p.runEnd(i)
		level := p.levels[i] - 1
		if p.levels[i] == 0 || !spansFit(p.times[from], p.times[end-1], level, end-from) {
			dst = append(dst, 0)
			continue
		}
		any = true
		dst = append(dst, level+1)
		first, n := spansOf(p.times[from], p.times[end-1], level)
		for k := range n {
			row, sum, known := from, uint64(0), true
			last := (first + int64(k) + 1) << level * column.Minute
			for ; row < end && p.times[row] <= last; row++ {
				h := p.hashes[row]
				sum += h
				known = known && h != 0
			}
			if !known {
				sum = 0
			}
			if k < n-1 {
				p.counts = append(p.counts, uint64(row-from))
			}
			if row > from {
				p.sums = append(p.sums, sum)
			}
			from = row
		}
	}
	if !any {
		return dst[:0]
	}
	dst = appendTimes(dst, p.counts)
	for _, sum := range p.sums {
		dst = binary.LittleEndian.AppendUint64(dst, sum)
	}
	return dst
}

// runDigests are those of a run. The zero value has none.
type runDigests struct {
	level uint8
	first int64    // span
	ends  []uint32 // of each span: the row after its last one, counted from the first one of the run
	sums  []uint64 // of each span; 0 where it is not known, or there are no rows
}

// decodeDigests reads the raw bytes of the digest block of a page: the digests of each of its runs.
func (s *segment) decodeDigests(page int, raw []byte, pool *slicePool[uint64]) ([]runDigests, error) {
	t := s.table
	first, end := t.pageRuns(page)
	if len(raw) < end-first {
		return nil, errShort
	}
	levels, raw := raw[:end-first], raw[end-first:]
	out := make([]runDigests, end-first)
	spans, counts := 0, 0
	for i, l := range levels {
		if l == 0 {
			continue
		}
		from, to := t.rows(first + i)
		lo, hi := t.min[first+i], t.max[first+i]
		if l > maxDigestLevel+1 || !spansFit(lo, hi, l-1, to-from) {
			return nil, fmt.Errorf("a run of %d rows from %d to %d has digests of level %d", to-from, lo, hi, l-1)
		}
		d := &out[i]
		d.level = l - 1
		span, n := spansOf(lo, hi, d.level)
		d.first = span
		d.ends, d.sums = make([]uint32, n), make([]uint64, n)
		spans += n
		counts += n - 1
	}
	if spans == 0 {
		return nil, errors.New("no run has digests")
	}
	values := pool.get(counts)
	defer pool.put(values)
	rest, err := decodeTimeGroups(values, raw)
	if err != nil {
		return nil, err
	}
	b := decbuf{b: rest}
	at := 0
	for i := range out {
		d := &out[i]
		if d.ends == nil {
			continue
		}
		from, to := t.rows(first + i)
		rows, before := uint64(to-from), uint64(0)
		for k := range d.ends {
			n := rows - before
			if k < len(d.ends)-1 {
				if values[at] >= n {
					return nil, fmt.Errorf("a span of %d rows in a run of %d", values[at], rows)
				}
				n = values[at]
				at++
			}
			if n == 0 && k == 0 {
				return nil, errors.New("the first span of a run has no rows")
			}
			before += n
			d.ends[k] = uint32(before)
			if n > 0 {
				d.sums[k] = b.u64()
			}
		}
	}
	return out, b.end()
}

// lazyDigests are the digests of all pages, read at once when they are first asked for.
type lazyDigests struct {
	mu  sync.Mutex
	raw []byte // the section
}

// digests returns those of the runs of a page; nil if there are none.
func (s *segment) digests(ctx context.Context, page int) ([]runDigests, error) {
	n := s.dir.pages[page].digestSize
	if n == 0 {
		return nil, nil
	}
	l := &s.lazyDigests
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.raw == nil {
		raw := make([]byte, s.lens[secDigests])
		if err := readRange(ctx, s.bucket, s.path, sectionName(secDigests), s.offset(secDigests), raw); err != nil {
			return nil, err
		}
		l.raw = raw
	}
	off := s.dir.digestOff[page]
	raw, err := s.codec.decodeBlock(l.raw[off:][:n], false, allocBytes)
	var all []runDigests
	if err == nil {
		all, err = s.decodeDigests(page, raw, &slicePool[uint64]{})
	}
	if err != nil {
		return nil, corrupt(s.path, fmt.Sprintf("digests of page %d", page), s.offset(secDigests)+off, err)
	}
	return all, nil
}

// checkDigests compares the digests of a page with its rows.
func (s *segment) checkDigests(page int, all []runDigests, times []int64, lines column.Lines, md []NamedMetadata) error {
	var h entryHasher
	h.reset(md)
	first, _ := s.table.pageRuns(page)
	for i := range all {
		d := &all[i]
		row, _ := s.table.rows(first + i)
		begin := row
		for k, sum := range d.sums {
			got := uint64(0)
			for end := begin + int(d.ends[k]); row < end; row++ {
				if column.MinuteOf(times[row])>>d.level != d.first+int64(k) {
					return fmt.Errorf("row %d is not in span %d of its run", row, k)
				}
				got += h.row(row, times[row], lines.Row(row))
			}
			if sum != 0 && sum != got {
				return fmt.Errorf("the digest of span %d of run %d is wrong", k, first+i)
			}
		}
	}
	return nil
}
