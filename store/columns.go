package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"example.com/loki/logql/column"
)

// Columns of a page, as the cache knows them. Numbers from colMetadata on are metadata columns in the
// order of the directory.
const (
	colBegin    = -5 // raw bytes of the first line block of a page
	colStored   = -4 // stored line blocks of a page, as many as the key says
	colGroup    = -3 // stored times and lengths of a group of pages; the page is the first of the group
	colMinutes  = -2 // stored counts of a group of pages, likewise
	colMetaRaw  = -1 // stored metadata columns of a page
	colTimes    = 0
	colLengths  = 1
	colLines    = 2
	colOverflow = 3
	colCounts   = 4
	colMetadata = 5
)

// columnKey names a cached column.
type columnKey struct {
	path string
	page int
	col  int

	blocks uint64 // of lines: which line blocks of the page, 0 for all; of stored ones: how many, from the first on
}

// columnData is a column in memory. The fields that the kind of column has are set.
type columnData struct {
	times    []int64
	lengths  []uint32
	lines    column.Lines
	meta     column.Metadata
	overflow *overflow
	counts   *runCounts
	stored   []byte // or of colBegin
}

type columnHandle = handle[columnKey, *columnData]

// columnReader reads and decodes columns through a cache. It is safe for concurrent use.
type columnReader struct {
	codec *codec
	cache *cache[columnKey, *columnData]

	bytes slicePool[byte]
	u32s  slicePool[uint32]
	u64s  slicePool[uint64]
	i64s  slicePool[int64]

	read   func(n int64)     // counts stored bytes that were fetched
	report func(error) error // is told of each error of a column; nil: nobody is
}

func newColumnReader(c *codec, cache *cache[columnKey, *columnData], read func(int64)) *columnReader {
	r := &columnReader{codec: c, cache: cache, read: read}
	cache.free = r.free
	return r
}

// tell reports an error, and returns it.
func (r *columnReader) tell(err error) error {
	if err == nil || r.report == nil {
		return err
	}
	return r.report(err)
}

// free takes back the memory of a column that nobody uses.
func (r *columnReader) free(c *columnData) {
	if c.times != nil {
		r.i64s.put(c.times)
	}
	if c.lengths != nil {
		r.u32s.put(c.lengths)
	}
	if c.lines.Offsets != nil {
		r.u32s.put(c.lines.Offsets)
		r.bytes.put(c.lines.Data)
	}
	if c.stored != nil {
		r.bytes.put(c.stored)
	}
}

// get returns a column. What has to be fetched for it is added to fetched.
func (r *columnReader) get(ctx context.Context, s *segment, page, col int, fetched *atomic.Int64) (*columnHandle, error) {
	return r.getBlocks(ctx, s, page, col, 0, fetched)
}

// getBlocks is get; of lines it returns those of some line blocks.
func (r *columnReader) getBlocks(ctx context.Context, s *segment, page, col int, blocks uint64, fetched *atomic.Int64) (*columnHandle, error) {
	return r.cache.get(ctx, columnKey{s.path, page, col, blocks}, func() (_ *columnData, _ int64, err error) {
		if err := ctx.Err(); err != nil {
			return nil, 0, err
		}
		defer func() { err = r.tell(err) }()
		switch col {
		case colBegin:
			return r.loadBegin(ctx, s, page, fetched)
		case colStored:
			stored, err := r.fetchLines(ctx, s, page, 0, int(blocks), fetched)
			return &columnData{stored: stored}, int64(cap(stored)), err
		case colGroup:
			return r.loadGroup(ctx, s, secTimes, s.dir.timeOff, page, fetched)
		case colMinutes:
			return r.loadGroup(ctx, s, secCounts, s.dir.countOff, page, fetched)
		case colMetaRaw:
			return r.loadMetaRaw(ctx, s, page, fetched)
		case colTimes:
			return r.loadTimes(ctx, s, page, fetched)
		case colLengths:
			return r.loadLengths(ctx, s, page, fetched)
		case colLines:
			return r.loadLines(ctx, s, page, blocks, fetched)
		case colCounts:
			return r.loadCounts(ctx, s, page, fetched)
		case colOverflow:
			return r.loadOverflow(ctx, s, page, fetched)
		default:
			return r.loadMetadata(ctx, s, page, col-colMetadata, fetched)
		}
	})
}

func (r *columnReader) fetch(ctx context.Context, s *segment, section int, off int64, n int, fetched *atomic.Int64) ([]byte, error) {
	b := r.bytes.get(n)
	if err := readRange(ctx, s.bucket, s.path, sectionName(section), s.offset(section)+off, b); err != nil {
		r.bytes.put(b)
		return nil, err
	}
	r.read(int64(n))
	fetched.Add(int64(n))
	return b, nil
}

// Times and lengths of neighbouring pages are fetched in groups of about this size, and so are counts.
const narrowGroup = 128 << 10

// groupOf returns the pages that are fetched together with a page, from where they are in their section.
func groupOf(offs []int64, page int) (first, end int) {
	g := offs[page] / narrowGroup
	n := len(offs) - 1
	first = sort.Search(n, func(i int) bool { return offs[i]/narrowGroup >= g })
	end = sort.Search(n, func(i int) bool { return offs[i]/narrowGroup > g })
	return first, end
}

func (r *columnReader) loadGroup(ctx context.Context, s *segment, section int, offs []int64, first int, fetched *atomic.Int64) (*columnData, int64, error) {
	_, end := groupOf(offs, first)
	n := offs[end] - offs[first]
	b, err := r.fetch(ctx, s, section, offs[first], int(n), fetched)
	return &columnData{stored: b}, n, err
}

// narrow calls f with the stored block of times or lengths.
func (r *columnReader) narrow(ctx context.Context, s *segment, page int, lengths bool, fetched *atomic.Int64, f func(block []byte) error) error {
	first, _ := groupOf(s.dir.timeOff, page)
	h, err := r.get(ctx, s, first, colGroup, fetched)
	if err != nil {
		return err
	}
	defer h.release()
	at, n := s.dir.timeOff[page], s.dir.pages[page].timeSize
	if lengths {
		at, n = at+int64(n), s.dir.pages[page].lenSize
	}
	if err := f(h.val.stored[at-s.dir.timeOff[first]:][:n]); err != nil {
		return corrupt(s.path, fmt.Sprintf("times of page %d", page), s.offset(secTimes)+at, err)
	}
	return nil
}

// raw calls f with the raw bytes of a block, which are valid until it returns.
func (r *columnReader) raw(block []byte, f func(raw []byte) error) error {
	var own []byte
	raw, err := r.codec.decodeBlock(block, true, func(n int) []byte {
		own = r.bytes.get(n)
		return own
	})
	if err == nil {
		err = f(raw)
	}
	if own != nil {
		r.bytes.put(own)
	}
	return err
}

func (r *columnReader) loadLengths(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*columnData, int64, error) {
	rows := s.dir.pages[page].rows
	lengths := r.u32s.get(rows)
	err := r.narrow(ctx, s, page, true, fetched, func(block []byte) error {
		return r.raw(block, func(raw []byte) error { return s.decodeLengths(lengths, page, raw) })
	})
	if err != nil {
		r.u32s.put(lengths)
		return nil, 0, err
	}
	return &columnData{lengths: lengths}, int64(4 * cap(lengths)), nil
}

// decodeLengths makes the lengths of a page from its runs and the raw bytes of its block.
func (s *segment) decodeLengths(dst []uint32, page int, raw []byte) error {
	first, end := s.table.pageRuns(page)
	n := len(dst) - (end - first)
	d := decbuf{b: raw}
	d.planes(dst[:n])
	if err := d.end(); err != nil {
		return err
	}
	// From the last run to the first: each makes room for the lengths that come after those of the block.
	for i := end - 1; i >= first; i-- {
		from, to := s.table.rows(i)
		own := dst[from : to-1]
		n -= len(own)
		copy(own, dst[n:])
		rest := int64(s.table.lineBytes[i])
		for _, l := range own {
			rest -= int64(l)
		}
		if rest < 0 || rest > math.MaxUint32 {
			return fmt.Errorf("lengths of a run do not fit its %d bytes", s.table.lineBytes[i])
		}
		dst[to-1] = uint32(rest)
	}
	return nil
}

// loadCounts is for pages that have counts.
func (r *columnReader) loadCounts(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*columnData, int64, error) {
	first, _ := groupOf(s.dir.countOff, page)
	h, err := r.get(ctx, s, first, colMinutes, fetched)
	if err != nil {
		return nil, 0, err
	}
	defer h.release()
	at := s.dir.countOff[page]
	c := &columnData{}
	err = r.raw(h.val.stored[at-s.dir.countOff[first]:][:s.dir.pages[page].countSize], func(raw []byte) (err error) {
		c.counts, err = s.decodeCounts(page, raw, &r.u64s)
		return err
	})
	if err != nil {
		return nil, 0, corrupt(s.path, fmt.Sprintf("counts of page %d", page), s.offset(secCounts)+at, err)
	}
	return c, int64(8*len(c.counts.rows) + 4*len(c.counts.first) + 128), nil
}

// Metadata columns of a page are fetched together up to this size.
const metaTogether = 64 << 10

// columnAt returns where metadata column i is stored in the section, and its size; i may be one too
// large: the overflow block.
func (d *directory) columnAt(page, i int) (off int64, size int) {
	p := &d.pages[page]
	off = d.pageOff[page] + p.linesSize()
	for _, n := range p.sizes[:i] {
		off += int64(n)
	}
	if i == len(p.sizes) {
		return off, p.overSize
	}
	return off, p.sizes[i]
}

// metaSize returns the stored size of all metadata of a page.
func (d *directory) metaSize(page int) int {
	first, _ := d.columnAt(page, 0)
	off, n := d.columnAt(page, len(d.pages[page].sizes))
	return int(off-first) + n
}

func (r *columnReader) loadMetaRaw(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*columnData, int64, error) {
	off, _ := s.dir.columnAt(page, 0)
	n := s.dir.metaSize(page)
	b, err := r.fetch(ctx, s, secPages, off, n, fetched)
	return &columnData{stored: b}, int64(n), err
}

// storedMeta calls f with the stored block of a metadata column, which is valid until it returns.
func (r *columnReader) storedMeta(ctx context.Context, s *segment, page, i int, fetched *atomic.Int64, f func(block []byte) error) error {
	off, size := s.dir.columnAt(page, i)
	var block []byte
	if s.dir.metaSize(page) <= metaTogether {
		h, err := r.get(ctx, s, page, colMetaRaw, fetched)
		if err != nil {
			return err
		}
		defer h.release()
		base, _ := s.dir.columnAt(page, 0)
		block = h.val.stored[off-base:][:size]
	} else {
		b, err := r.fetch(ctx, s, secPages, off, size, fetched)
		if err != nil {
			return err
		}
		defer r.bytes.put(b)
		block = b
	}
	if err := f(block); err != nil {
		return corrupt(s.path, fmt.Sprintf("metadata column %d of page %d", i, page), s.offset(secPages)+off, err)
	}
	return nil
}

// metaBlock calls f with memory of its own that holds the raw bytes of a metadata column.
func (r *columnReader) metaBlock(ctx context.Context, s *segment, page, i int, fetched *atomic.Int64, f func(raw []byte) error) error {
	return r.storedMeta(ctx, s, page, i, fetched, func(block []byte) error {
		raw, err := r.codec.decodeBlock(block, false, allocBytes)
		if err != nil {
			return err
		}
		return f(raw)
	})
}

func (r *columnReader) loadMetadata(ctx context.Context, s *segment, page, i int, fetched *atomic.Int64) (*columnData, int64, error) {
	c := &columnData{}
	var cost int64
	err := r.metaBlock(ctx, s, page, i, fetched, func(raw []byte) (err error) {
		c.meta, err = decodeMetadata(raw, s.dir.pages[page].rows)
		cost = int64(2*len(raw) + 24*len(c.meta.Values) + 4*len(c.meta.Index))
		return err
	})
	return c, cost, err
}

func (r *columnReader) loadOverflow(ctx context.Context, s *segment, page int, fetched *atomic.Int64) (*columnData, int64, error) {
	c := &columnData{}
	var cost int64
	err := r.metaBlock(ctx, s, page, len(s.dir.pages[page].sizes), fetched, func(raw []byte) (err error) {
		if c.overflow, err = decodeOverflow(raw, s.dir.pages[page].rows); err == nil {
			cost = int64(len(raw)) + c.overflow.memory()
		}
		return err
	})
	return c, cost, err
}

// pageColumns are the columns of one page on behalf of one batch. It holds on to what it has handed
// out until Release.
type pageColumns struct {
	reader *columnReader
	seg    *segment
	page   int
	blocks uint64 // line blocks that are wanted, 0 for all

	searches  *searches  // of the query; nil: lines can't be searched
	searching sync.Mutex // held while they are; comes before mu

	picking    sync.Mutex  // held while times are picked; comes before mu
	timePicker *timePicker // guarded by picking

	fetched atomic.Int64 // stored bytes

	mu          sync.Mutex
	found       *found
	picked      [][]uint32            // memory of what was picked
	pickedTimes [][]int64             // likewise
	held        map[int]*columnHandle // by column
	spread      map[string]column.Metadata
	released    bool
}

var errReleased = errors.New("store: batch is used after its release")

func (p *pageColumns) column(ctx context.Context, col int) (*columnData, error) {
	p.mu.Lock()
	h, released := p.held[col], p.released
	p.mu.Unlock()
	if released {
		return nil, errReleased
	}
	if h != nil {
		return h.val, nil
	}
	blocks := uint64(0)
	if col == colLines {
		blocks = p.blocks
	}
	h, err := p.reader.getBlocks(ctx, p.seg, p.page, col, blocks, &p.fetched)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released || p.held[col] != nil {
		defer h.release()
		if p.released {
			return nil, errReleased
		}
		return p.held[col].val, nil
	}
	if p.held == nil {
		p.held = make(map[int]*columnHandle, 4)
	}
	p.held[col] = h
	return h.val, nil
}

func (p *pageColumns) Rows() int { return p.seg.dir.pages[p.page].rows }

func (p *pageColumns) Times(ctx context.Context) ([]int64, error) {
	c, err := p.column(ctx, colTimes)
	if err != nil {
		return nil, err
	}
	return c.times, nil
}

func (p *pageColumns) LineLengths(ctx context.Context) ([]uint32, error) {
	c, err := p.column(ctx, colLengths)
	if err != nil {
		return nil, err
	}
	return c.lengths, nil
}

func (p *pageColumns) Lines(ctx context.Context) (column.Lines, error) {
	c, err := p.column(ctx, colLines)
	if err != nil {
		return column.Lines{}, err
	}
	return c.lines, nil
}

func (p *pageColumns) MetadataNames(ctx context.Context) ([]string, error) {
	m := &p.seg.dir.pages[p.page]
	names := make([]string, 0, len(m.names))
	for _, n := range m.names {
		names = append(names, p.seg.dir.names[n])
	}
	if m.overSize > 0 {
		c, err := p.column(ctx, colOverflow)
		if err != nil {
			return nil, err
		}
		names = append(names, c.overflow.names...)
		slices.Sort(names)
	}
	return names, nil
}

// columnOf returns the number of a name's metadata column, if it has one of its own.
func (p *pageColumns) columnOf(name string) (int, bool) {
	n, ok := slices.BinarySearch(p.seg.dir.names, name)
	if !ok {
		return 0, false
	}
	return slices.BinarySearch(p.seg.dir.pages[p.page].names, uint32(n))
}

// Pick implements column.Picker.
func (p *pageColumns) Pick(ctx context.Context, name string, rows []int32) (md column.Metadata, err error) {
	i, ok := p.columnOf(name)
	if !ok || p.reader.cache.has(columnKey{path: p.seg.path, page: p.page, col: colMetadata + i}) {
		return p.Metadata(ctx, name)
	}
	md.Index = p.reader.u32s.get(p.Rows())
	clear(md.Index)
	err = p.reader.tell(p.reader.storedMeta(ctx, p.seg, p.page, i, &p.fetched, func(block []byte) error {
		return p.reader.raw(block, func(raw []byte) (err error) {
			md.Values, err = pickMetadata(raw, rows, md.Index)
			return err
		})
	}))
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil && p.released {
		err = errReleased
	}
	if err != nil {
		p.reader.u32s.put(md.Index)
		return column.Metadata{}, err
	}
	p.picked = append(p.picked, md.Index)
	return md, nil
}

func (p *pageColumns) Metadata(ctx context.Context, name string) (column.Metadata, error) {
	m := &p.seg.dir.pages[p.page]
	if i, ok := p.columnOf(name); ok {
		c, err := p.column(ctx, colMetadata+i)
		if err != nil {
			return column.Metadata{}, err
		}
		return c.meta, nil
	}
	if m.overSize == 0 {
		return column.Metadata{}, nil
	}
	c, err := p.column(ctx, colOverflow)
	if err != nil {
		return column.Metadata{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	md, ok := p.spread[name]
	if !ok {
		if p.spread == nil {
			p.spread = make(map[string]column.Metadata)
		}
		md = c.overflow.column(name, m.rows)
		p.spread[name] = md
	}
	return md, nil
}

// LineBytes implements column.Totals.
func (p *pageColumns) LineBytes(from, to int) (int64, bool) {
	if p.all(from, to) {
		return p.seg.dir.pages[p.page].rawBytes, true
	}
	r, end, ok := p.runs(from, to)
	var sum int64
	for ; ok && r < end; r++ {
		sum += int64(p.seg.table.lineBytes[r])
	}
	return sum, ok
}

// Minutes implements column.Totals.
func (p *pageColumns) Minutes(ctx context.Context, from, to int) (column.Minutes, bool, error) {
	meta, t := &p.seg.dir.pages[p.page], p.seg.table
	if meta.countSize == 0 {
		return column.Minutes{}, false, nil
	}
	var n int
	var begin int64
	if meta.countsAll == countsPage {
		if !p.all(from, to) {
			return column.Minutes{}, false, nil
		}
		begin = t.pageTimes[p.page].min
	} else {
		first, end := t.pageRuns(p.page)
		rows := t.row[first:end]
		n = sort.Search(len(rows), func(i int) bool { return int(rows[i]) > from }) - 1
		begin = t.min[first+n]
		a, b := t.rows(first + n)
		if from != a || to != b {
			if to > b {
				return column.Minutes{}, false, nil
			}
			c, err := p.column(ctx, colCounts)
			if err != nil {
				return column.Minutes{}, false, err
			}
			m, ok := c.counts.part(n, column.MinuteOf(begin), uint32(from-a), uint32(to-a))
			return m, ok, nil
		}
	}
	c, err := p.column(ctx, colCounts)
	if err != nil {
		return column.Minutes{}, false, err
	}
	lo, hi := c.counts.first[n], c.counts.first[n+1]
	return column.Minutes{
		First: column.MinuteOf(begin),
		Rows:  c.counts.rows[lo:hi:hi],
		Bytes: c.counts.bytes[lo:hi:hi],
	}, true, nil
}

// all tells that these are all rows of the page.
func (p *pageColumns) all(from, to int) bool {
	return from == 0 && to == p.seg.dir.pages[p.page].rows
}

// runs returns the runs [r, end) that have just these rows of the page.
func (p *pageColumns) runs(from, to int) (r, end int, ok bool) {
	t := p.seg.table
	first, last := t.pageRuns(p.page)
	rows := t.row[first:last]
	at, ok := find(rows, from)
	if !ok || from >= to {
		return 0, 0, false
	}
	if to == p.seg.dir.pages[p.page].rows {
		return first + at, last, true
	}
	// Mostly it is one run.
	if at+1 < len(rows) && int(rows[at+1]) == to {
		return first + at, first + at + 1, true
	}
	n, ok := find(rows, to)
	return first + at, first + n, ok
}

// find looks for a row in an ascending list.
func find(rows []uint16, row int) (int, bool) {
	if row > math.MaxUint16 {
		return 0, false
	}
	return slices.BinarySearch(rows, uint16(row))
}

func (p *pageColumns) Release() {
	p.mu.Lock()
	held, found, picked, times := p.held, p.found, p.picked, p.pickedTimes
	p.held, p.found, p.picked, p.pickedTimes, p.spread, p.released = nil, nil, nil, nil, nil, true
	p.mu.Unlock()
	p.picking.Lock()
	p.timePicker.release(p.reader)
	p.timePicker = nil
	p.picking.Unlock()
	for _, t := range times {
		p.reader.i64s.put(t)
	}
	for _, index := range picked {
		p.reader.u32s.put(index)
	}
	if found != nil {
		p.reader.free(&columnData{lines: found.lines})
	}
	for _, h := range held {
		h.release()
	}
}
