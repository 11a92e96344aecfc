package store

import (
	"cmp"
	"slices"

	"example.com/loki/logql/column"
)

const (
	pageRawTarget  = 512 << 10 // unless Config says otherwise
	pageMetaTarget = 1 << 20
	maxPageRows    = 64 << 10
)

// pageMeta is what the directory says of a page.
type pageMeta struct {
	rows       int
	rawBytes   int64
	metaBytes  int64
	timeSize   int
	lenSize    int
	countSize  int   // of counts by the minute; 0: none
	countsAll  byte  // what these are of: countsRuns or countsPage
	digestSize int   // 0: no digests
	marks      marks // of packed lines
	overSize   int   // 0: no overflow block
	common     int   // size of the filter of words in several line blocks
	metaFilt   int   // and of that of metadata, with its checksum
	lines      []lineBlock
	names      []uint32 // of metadata columns, ascending
	sizes      []int    // of their blocks
}

// lineBlock is what the directory says of a part of a page's lines.
type lineBlock struct {
	rows, size, ids, filter int32 // ids: size of the block of digits, 0 if there is none
}

// linesSize is what the lines take, with their digits.
func (p *pageMeta) linesSize() int64 { return blocksSize(p.lines) }

// blocksSize is what line blocks take, with their digits.
func blocksSize(blocks []lineBlock) (n int64) {
	for _, b := range blocks {
		n += int64(b.size) + int64(b.ids)
	}
	return n
}

// packed tells that the lines are.
func (p *pageMeta) packed() bool { return p.marks != marks{} }

// largest returns the size of the largest line block.
func (p *pageMeta) largest() (n int32) {
	for _, b := range p.lines {
		n = max(n, b.size)
	}
	return n
}

// lineFilt is what the line filters take, with their checksum.
func (p *pageMeta) lineFilt() int64 {
	n := int64(p.common)
	for _, b := range p.lines {
		n += int64(b.filter)
	}
	if n > 0 {
		n += crcSize
	}
	return n
}

// pageBuilder collects the rows of one page.
type pageBuilder struct {
	target    int    // bytes of lines that fill the page
	number    uint32 // of pages begun, from 1
	rows      int
	runs      []int // the first row of each
	joined    bool  // the next rows belong to the last run
	metaBytes int64
	cuts      []lineCut // where line blocks begin; the first one's is not in it
	lines     []byte
	lens      []uint32
	times     []int64
	deltas    []uint64 // see steps
	since     []uint64 // likewise
	ownLens   []uint32
	hashes    []uint64 // of rows, if there are to be digests
	levels    []uint8  // of the digests of runs likewise; see digestLevel
	sums      []uint64 // scratch of appendDigests
	counts    []uint64 // scratch of appendCounts
	excess    []uint64
	perMinute []uint64
	cols      map[string]*metaBuilder // of this page
	free      []*metaBuilder
	keys      *keyFinder
	metaKeys  []uint64
	packer    packer
	raw       []byte // scratch for raw bytes of blocks
}

func newPageBuilder(target int) *pageBuilder {
	return &pageBuilder{target: target, number: 1, cols: make(map[string]*metaBuilder), keys: newKeyFinder()}
}

// streamCursor is a stream that is being written, with what the pages need to know of it.
type streamCursor struct {
	*StreamRows
	metaBytes []uint32 // per row
	remaps    []remap  // per metadata column

	digested bool  // the rows are to have digests
	level    uint8 // see digestLevel
	hasher   entryHasher
	hashes   []uint64
}

// reset points the cursor at a stream.
func (c *streamCursor) reset(s *StreamRows) {
	c.StreamRows = s
	if c.digested {
		c.hashRows()
	}
	c.metaBytes = slices.Grow(c.metaBytes[:0], len(s.Times))[:len(s.Times)]
	clear(c.metaBytes)
	for len(c.remaps) < len(s.Metadata) {
		c.remaps = append(c.remaps, nil)
	}
	for i, m := range s.Metadata {
		n := len(m.Values)
		c.remaps[i] = slices.Grow(c.remaps[i][:0], n)[:n]
		clear(c.remaps[i])
		for row, x := range m.Index {
			if x != 0 {
				c.metaBytes[row] += uint32(column.MetadataSize(m.Values[x-1]))
			}
		}
	}
}

// full tells that the page takes no more rows.
func (p *pageBuilder) full() bool {
	return len(p.lines) >= p.target || p.metaBytes >= pageMetaTarget || p.rows >= maxPageRows
}

// fit returns the end of the rows from row from on that the page, which is not full, still takes. It
// takes one at least.
func (p *pageBuilder) fit(c *streamCursor, from int) int {
	raw, meta, rows := len(p.lines), p.metaBytes, p.rows
	to := from
	for to < len(c.Times) && raw < p.target && meta < pageMetaTarget && rows < maxPageRows {
		raw += int(c.Lines.Offsets[to+1] - c.Lines.Offsets[to])
		meta += int64(c.metaBytes[to])
		rows++
		to++
	}
	return to
}

// add appends rows [from, to) of a stream as a run.
func (p *pageBuilder) add(c *streamCursor, from, to int) run {
	if !p.joined {
		p.runs = append(p.runs, p.rows)
	}
	p.joined = false
	off := c.Lines.Offsets
	data := c.Lines.Data[off[from]:off[to]]
	at := len(p.lines)
	p.lines = append(p.lines, data...)
	for i := from; i < to; i++ {
		p.cutLines(at)
		line := c.Lines.Data[off[i]:off[i+1]]
		at += len(line)
		p.lens = append(p.lens, uint32(len(line)))
		p.keys.add(line)
	}
	r := run{min: c.Times[from], max: c.Times[to-1], lineBytes: int64(len(data)), rows: to - from}
	p.times = append(p.times, c.Times[from:to]...)
	if c.digested {
		p.levels = append(p.levels, c.level)
		p.hashes = append(p.hashes, c.hashes[from:to]...)
	}
	for _, n := range c.metaBytes[from:to] {
		r.metaBytes += int64(n)
	}
	if r.metaBytes > 0 {
		for i, m := range c.Metadata {
			if m.Index == nil || !slices.ContainsFunc(m.Index[from:to], func(x uint32) bool { return x != 0 }) {
				continue
			}
			p.column(m.Name).add(m.Metadata, from, to, p.rows, c.remaps[i], p.number)
		}
	}
	p.rows += to - from
	p.metaBytes += r.metaBytes
	return r
}

// join says that the next rows go on with the run of the last ones.
func (p *pageBuilder) join() { p.joined = true }

// steps collects what of times and lengths the runs do not tell: the differences between times but for the last
// of each run, and the lengths of lines but for the last of each run.
func (p *pageBuilder) steps() {
	p.deltas, p.since, p.ownLens = p.deltas[:0], p.since[:0], p.ownLens[:0]
	for i, from := range p.runs {
		end := p.runEnd(i)
		for row := from + 1; row < end-1; row++ {
			p.stretch(p.times[from], p.times[row-1])
			p.deltas = append(p.deltas, uint64(p.times[row]-p.times[row-1]))
		}
		p.ownLens = append(p.ownLens, p.lens[from:end-1]...)
	}
}

func (p *pageBuilder) column(name string) *metaBuilder {
	if m := p.cols[name]; m != nil {
		return m
	}
	var m *metaBuilder
	if n := len(p.free); n > 0 {
		m, p.free = p.free[n-1], p.free[:n-1]
	} else {
		m = &metaBuilder{dict: make(map[uint64]uint32)}
	}
	m.reset()
	m.name = name
	p.cols[name] = m
	return m
}

// encodedPage is a page ready to be written. Its slices are valid until the builder's next encode.
type encodedPage struct {
	meta     pageMeta
	columns  []string // names of the metadata columns, ascending
	page     []byte   // lines, metadata
	times    []byte   // times, lengths
	counts   []byte
	digests  []byte
	lineFilt []byte
	metaFilt []byte
}

// encode fills e and empties the builder.
func (p *pageBuilder) encode(c *codec, e *encodedPage) {
	e.page, e.times, e.columns = e.page[:0], e.times[:0], e.columns[:0]
	m := pageMeta{rows: p.rows, rawBytes: int64(len(p.lines)), metaBytes: p.metaBytes}

	p.steps()
	e.times = c.appendBlock(e.times, p.scratch(appendPageTimes(p.raw[:0], p.deltas, p.since)))
	m.timeSize = len(e.times)
	e.times = c.appendBlock(e.times, p.scratch(appendPlanes(p.raw[:0], p.ownLens)))
	m.lenSize = len(e.times) - m.timeSize
	e.counts = e.counts[:0]
	if ok, of := p.counted(); ok {
		e.counts = c.appendBlock(e.counts, p.scratch(p.appendCounts(p.raw[:0], of)))
		m.countSize, m.countsAll = len(e.counts), of
	}
	e.digests = e.digests[:0]
	if len(p.hashes) > 0 {
		if raw := p.appendDigests(p.raw[:0]); len(raw) > 0 {
			e.digests = c.appendBlock(e.digests, p.scratch(raw))
			m.digestSize = len(e.digests)
		}
	}

	e.page, m.lines, m.marks = p.appendLines(c, e.page)

	cols := make([]*metaBuilder, 0, len(p.cols))
	for _, col := range p.cols {
		cols = append(cols, col)
		col.each(func(v []byte) { p.metaKeys = append(p.metaKeys, metaKey(col.name, v)) })
	}
	slices.SortFunc(cols, func(a, b *metaBuilder) int {
		return cmp.Or(cmp.Compare(b.rows, a.rows), cmp.Compare(a.name, b.name))
	})
	own := cols[:min(len(cols), maxColumns)]
	slices.SortFunc(own, func(a, b *metaBuilder) int { return cmp.Compare(a.name, b.name) })
	for _, col := range own {
		at := len(e.page)
		e.page = c.appendBlock(e.page, p.scratch(col.append(p.raw[:0], p.rows)))
		e.columns = append(e.columns, col.name)
		m.sizes = append(m.sizes, len(e.page)-at)
	}
	if rest := cols[len(own):]; len(rest) > 0 {
		at := len(e.page)
		e.page = c.appendBlock(e.page, p.scratch(appendOverflow(p.raw[:0], rest)))
		m.overSize = len(e.page) - at
	}

	keys := p.keys.take()
	e.lineFilt = appendFilter(e.lineFilt[:0], keys.common, lineBitsPerKey)
	m.common = len(e.lineFilt)
	for i := range m.lines {
		at := len(e.lineFilt)
		e.lineFilt = appendFilter(e.lineFilt, keys.own[i], lineBitsPerKey)
		m.lines[i].filter = int32(len(e.lineFilt) - at)
	}
	e.lineFilt = sealFilters(e.lineFilt)
	e.metaFilt = sealFilters(appendFilter(e.metaFilt[:0], p.metaKeys, metaBitsPerKey))
	m.metaFilt = len(e.metaFilt)
	e.meta = m
	p.reset(cols)
}

// scratch keeps a buffer for the next use.
func (p *pageBuilder) scratch(b []byte) []byte {
	p.raw = b[:0]
	return b
}

func (p *pageBuilder) reset(cols []*metaBuilder) {
	p.number++
	p.rows, p.metaBytes, p.runs, p.cuts = 0, 0, p.runs[:0], p.cuts[:0]
	p.lines, p.lens, p.times, p.metaKeys = p.lines[:0], p.lens[:0], p.times[:0], p.metaKeys[:0]
	p.hashes, p.levels = p.hashes[:0], p.levels[:0]
	clear(p.cols)
	// Builders of a page with thousands of names are left to the garbage collector.
	p.free = append(p.free, cols[:min(len(cols), max(0, maxColumns-len(p.free)))]...)
}
