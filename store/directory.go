package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/oklog/ulid/v2"
)

const (
	magic       = "LSEG"
	version     = 1
	headerSize  = 8
	trailerSize = 4 + 1 + crcSize + len(magic)
	footerFixed = 9*8 + 2*8 + 4*8 + 16 + 4
)

// Sections of a segment, in their order.
const (
	secPages = iota
	secTimes
	secCounts
	secDigests
	secLineFilters
	secMetaFilters
	secStreams
	secIndex
	secDirectory
	sections
)

func sectionName(i int) string {
	return [...]string{"pages", "times", "counts", "digests", "line filters", "metadata filters", "streams", "index", "directory", "footer"}[i]
}

func header() []byte { return []byte{'L', 'S', 'E', 'G', version, 0, 0, 0} }

// footer is the end of a segment.
type footer struct {
	lens [sections]int64
	info SegmentInfo // SizeBytes is the size of the object
}

// offset returns where a section starts.
func (f *footer) offset(section int) int64 {
	off := int64(headerSize)
	for _, n := range f.lens[:section] {
		off += n
	}
	return off
}

func (f *footer) size() int {
	n := footerFixed + 16*len(f.info.Replaces) + trailerSize
	for _, w := range f.info.Writers {
		n += 1 + len(w)
	}
	return n
}

// maxWriterName is the length of a writer's name in bytes.
const maxWriterName = 255

func (f *footer) append(dst []byte) []byte {
	start := len(dst)
	le := binary.LittleEndian
	for _, n := range f.lens {
		dst = le.AppendUint64(dst, uint64(n))
	}
	for _, v := range []int64{f.info.MinTime, f.info.MaxTime, f.info.Streams, f.info.Rows, f.info.RawBytes, f.info.MetadataBytes} {
		dst = le.AppendUint64(dst, uint64(v))
	}
	dst = append(dst, f.info.ID[:]...)
	dst = le.AppendUint32(dst, uint32(len(f.info.Replaces)))
	for _, id := range f.info.Replaces {
		dst = append(dst, id[:]...)
	}
	dst = appendWriters(dst, f.info.Writers)
	dst = le.AppendUint32(dst, uint32(len(dst)-start))
	dst = append(dst, version)
	dst = appendCRC(dst, dst[start:])
	return append(dst, magic...)
}

// footerLen returns the whole length of the footer of which tail holds the end.
func footerLen(tail []byte) (int64, error) {
	if len(tail) < trailerSize {
		return 0, errShort
	}
	if string(tail[len(tail)-len(magic):]) != magic {
		return 0, errors.New("no segment: the object does not end with " + magic)
	}
	return int64(binary.LittleEndian.Uint32(tail[len(tail)-trailerSize:])) + int64(trailerSize), nil
}

// parseFooter reads a whole footer of an object of the given size.
func parseFooter(b []byte, size int64) (*footer, error) {
	n, err := footerLen(b)
	if err != nil {
		return nil, err
	}
	if n != int64(len(b)) {
		return nil, fmt.Errorf("length %d instead of %d", n, len(b))
	}
	body, err := checkCRC(b[:len(b)-len(magic)])
	if err != nil {
		return nil, err
	}
	if v := body[len(body)-1]; v != version {
		return nil, fmt.Errorf("%w %d", ErrVersion, v)
	}
	d := decbuf{b: body[:len(body)-5]}
	f := &footer{}
	total := uint64(headerSize + len(b))
	for i := range f.lens {
		n := d.u64()
		if n > uint64(size) {
			d.fail(fmt.Errorf("%s of %d bytes in an object of %d", sectionName(i), n, size))
		}
		f.lens[i] = int64(n)
		total += n
	}
	if d.err == nil && total != uint64(size) {
		return nil, fmt.Errorf("sections of %d bytes in an object of %d", total, size)
	}
	for _, p := range []*int64{&f.info.MinTime, &f.info.MaxTime} {
		*p = int64(d.u64())
	}
	for _, p := range []*int64{&f.info.Streams, &f.info.Rows, &f.info.RawBytes, &f.info.MetadataBytes} {
		if *p = int64(d.u64()); *p < 0 {
			d.fail(errors.New("negative total"))
		}
	}
	if f.info.MinTime > f.info.MaxTime {
		d.fail(errors.New("time range is reversed"))
	}
	copy(f.info.ID[:], d.bytes(16))
	for range d.u32() {
		var id ulid.ULID
		if copy(id[:], d.bytes(16)); d.err != nil {
			break
		}
		f.info.Replaces = append(f.info.Replaces, id)
	}
	f.info.Writers = d.writers()
	f.info.SizeBytes = size
	return f, d.end()
}

// appendWriters appends names, each after its length.
func appendWriters(dst []byte, names []string) []byte {
	for _, w := range names {
		dst = append(append(dst, byte(len(w))), w...)
	}
	return dst
}

// writers reads names to the end.
func (d *decbuf) writers() (names []string) {
	for d.err == nil && len(d.b) > 0 {
		names = append(names, string(d.bytes(int(d.u8()))))
	}
	return names
}

// directory says what each page holds and where.
type directory struct {
	names []string
	pages []pageMeta
	// Offsets within the sections, one more than there are pages.
	pageOff, timeOff, countOff, digestOff, lineFiltOff, metaFiltOff []int64
	firstRow                                                        []int64 // of each page in the segment, and the number of all
}

// appendDirectory appends the raw bytes.
func appendDirectory(dst []byte, names []string, pages []pageMeta) []byte {
	put := func(v uint64) { dst = binary.AppendUvarint(dst, v) }
	put(uint64(len(pages)))
	put(uint64(len(names)))
	for _, n := range names {
		dst = appendString(dst, n)
	}
	for _, field := range pageFields {
		for i := range pages {
			put(uint64(field.get(&pages[i])))
		}
	}
	for i := range pages {
		put(uint64(len(pages[i].lines)))
	}
	for _, field := range blockFields {
		for i := range pages {
			for j := range pages[i].lines {
				put(uint64(*field(&pages[i].lines[j])))
			}
		}
	}
	for i := range pages {
		put(uint64(len(pages[i].names)))
	}
	for i := range pages {
		prev := -1
		for _, n := range pages[i].names {
			put(uint64(int(n) - prev - 1))
			prev = int(n)
		}
	}
	for i := range pages {
		for _, n := range pages[i].sizes {
			put(uint64(n))
		}
	}
	return dst
}

type pageField struct {
	limit uint64
	get   func(*pageMeta) int64
	set   func(*pageMeta, int64)
}

// pageFields are the numbers of a page in the order of the directory. It is only read.
var pageFields = []pageField{
	{maxPageRows, func(p *pageMeta) int64 { return int64(p.rows) }, func(p *pageMeta, v int64) { p.rows = int(v) }},
	{math.MaxUint32, func(p *pageMeta) int64 { return p.rawBytes }, func(p *pageMeta, v int64) { p.rawBytes = v }},
	{math.MaxInt64, func(p *pageMeta) int64 { return p.metaBytes }, func(p *pageMeta, v int64) { p.metaBytes = v }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.timeSize) }, func(p *pageMeta, v int64) { p.timeSize = int(v) }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.lenSize) }, func(p *pageMeta, v int64) { p.lenSize = int(v) }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.countSize) }, func(p *pageMeta, v int64) { p.countSize = int(v) }},
	{1, func(p *pageMeta) int64 { return int64(p.countsAll) }, func(p *pageMeta, v int64) { p.countsAll = byte(v) }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.digestSize) }, func(p *pageMeta, v int64) { p.digestSize = int(v) }},
	{' ' - 1, func(p *pageMeta) int64 { return int64(p.marks.escape) }, func(p *pageMeta, v int64) { p.marks.escape = byte(v) }},
	{' ' - 1, func(p *pageMeta) int64 { return int64(p.marks.end) }, func(p *pageMeta, v int64) { p.marks.end = byte(v) }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.overSize) }, func(p *pageMeta, v int64) { p.overSize = int(v) }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.common) }, func(p *pageMeta, v int64) { p.common = int(v) }},
	{math.MaxInt32, func(p *pageMeta) int64 { return int64(p.metaFilt) }, func(p *pageMeta, v int64) { p.metaFilt = int(v) }},
}

// blockFields are the numbers of a line block in the order of the directory. It is only read.
var blockFields = []func(*lineBlock) *int32{
	func(b *lineBlock) *int32 { return &b.rows },
	func(b *lineBlock) *int32 { return &b.size },
	func(b *lineBlock) *int32 { return &b.ids },
	func(b *lineBlock) *int32 { return &b.filter },
}

// parseDirectory reads the raw bytes and checks that they agree with the footer.
func parseDirectory(raw []byte, f *footer) (*directory, error) {
	d := decbuf{b: raw}
	n := d.count()
	if names := d.count(); d.err == nil {
		dir := &directory{names: make([]string, 0, names)}
		for i := range names {
			name := string(d.bytes(d.count()))
			if i > 0 && name <= dir.names[i-1] {
				d.fail(fmt.Errorf("names out of order at %q", name))
			}
			if d.err != nil {
				return nil, d.err
			}
			dir.names = append(dir.names, name)
		}
		if n > len(d.b)/len(pageFields) {
			return nil, errShort
		}
		dir.pages = make([]pageMeta, n)
		if err := dir.parsePages(&d); err != nil {
			return nil, err
		}
		return dir, dir.check(f)
	}
	return nil, d.err
}

func (dir *directory) parsePages(d *decbuf) error {
	for _, field := range pageFields {
		for i := range dir.pages {
			v := d.uvarint()
			if v > field.limit {
				d.fail(fmt.Errorf("page %d: %d exceeds %d", i, v, field.limit))
			}
			field.set(&dir.pages[i], int64(v))
		}
	}
	for i := range dir.pages {
		dir.pages[i].lines = make([]lineBlock, d.size(min(maxPageBlocks, len(d.b))))
	}
	for _, field := range blockFields {
		for i := range dir.pages {
			for j := range dir.pages[i].lines {
				*field(&dir.pages[i].lines[j]) = int32(d.size(math.MaxInt32))
			}
		}
	}
	for i := range dir.pages {
		k := d.size(min(maxColumns, len(dir.names), len(d.b)))
		dir.pages[i].names = make([]uint32, k)
		dir.pages[i].sizes = make([]int, k)
	}
	for i := range dir.pages {
		prev := -1
		for j := range dir.pages[i].names {
			prev += d.size(len(dir.names)) + 1
			if d.err == nil && prev >= len(dir.names) {
				d.fail(fmt.Errorf("page %d: name %d of %d", i, prev, len(dir.names)))
			}
			dir.pages[i].names[j] = uint32(prev)
		}
	}
	for i := range dir.pages {
		for j := range dir.pages[i].sizes {
			dir.pages[i].sizes[j] = d.size(math.MaxInt32)
		}
	}
	return d.end()
}

// check sums up sizes and compares them with the footer.
func (dir *directory) check(f *footer) error {
	var raw, meta int64
	var page, time, count, digest, line, mf, row int64
	for i := range dir.pages {
		p := &dir.pages[i]
		if p.rows == 0 {
			return fmt.Errorf("page %d has no rows", i)
		}
		if err := p.checkLines(); err != nil {
			return fmt.Errorf("page %d: %w", i, err)
		}
		dir.pageOff = append(dir.pageOff, page)
		dir.timeOff = append(dir.timeOff, time)
		dir.countOff = append(dir.countOff, count)
		dir.digestOff = append(dir.digestOff, digest)
		dir.lineFiltOff = append(dir.lineFiltOff, line)
		dir.metaFiltOff = append(dir.metaFiltOff, mf)
		dir.firstRow = append(dir.firstRow, row)
		page += p.linesSize() + int64(p.overSize)
		for _, n := range p.sizes {
			page += int64(n)
		}
		time += int64(p.timeSize) + int64(p.lenSize)
		count += int64(p.countSize)
		digest += int64(p.digestSize)
		line += p.lineFilt()
		mf += int64(p.metaFilt)
		row += int64(p.rows)
		raw += p.rawBytes
		meta += p.metaBytes
	}
	dir.pageOff = append(dir.pageOff, page)
	dir.timeOff = append(dir.timeOff, time)
	dir.countOff = append(dir.countOff, count)
	dir.digestOff = append(dir.digestOff, digest)
	dir.lineFiltOff = append(dir.lineFiltOff, line)
	dir.metaFiltOff = append(dir.metaFiltOff, mf)
	dir.firstRow = append(dir.firstRow, row)
	got := [...]int64{page, time, count, digest, line, mf, row, raw, meta}
	want := [...]int64{f.lens[secPages], f.lens[secTimes], f.lens[secCounts], f.lens[secDigests], f.lens[secLineFilters], f.lens[secMetaFilters],
		f.info.Rows, f.info.RawBytes, f.info.MetadataBytes}
	if got != want {
		return fmt.Errorf("sums %v differ from those of the footer, %v", got, want)
	}
	return nil
}

// checkLines checks what is said of the line blocks of a page.
func (p *pageMeta) checkLines() error {
	if m := p.marks; p.packed() && (m.escape == 0 || m.end == 0 || m.escape == m.end) {
		return fmt.Errorf("lines can't be packed with %d and %d", m.escape, m.end)
	}
	var rows int64
	for i, b := range p.lines {
		switch {
		case b.rows == 0:
			return fmt.Errorf("line block %d has no rows", i)
		case !p.packed() && b.ids > 0:
			return errors.New("there are digits of lines that are not packed")
		}
		rows += int64(b.rows)
	}
	if rows != int64(p.rows) {
		return fmt.Errorf("line blocks have %d rows of %d", rows, p.rows)
	}
	return nil
}

// memory is about what the directory takes.
func (dir *directory) memory() int64 {
	n := int64(len(dir.pages)) * (192 + 7*8)
	for i := range dir.pages {
		n += int64(12*len(dir.pages[i].names) + 16*len(dir.pages[i].lines))
	}
	for _, s := range dir.names {
		n += int64(len(s)) + 16
	}
	return n
}
