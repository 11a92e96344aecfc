package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/thanos-io/objstore"
	"golang.org/x/sync/errgroup"

	"example.com/loki/internal/pace"
)

// tailRead is how much of the end of a segment is read at first: for most, footer, directory, index and
// streams are in it.
const tailRead = 64 << 10

// segment is an open segment: footer, directory, streams and index are in memory. It is immutable but
// for filters and digests, which are read when they are first needed, and safe for concurrent use.
//
// One that is not loaded lacks streams and index. Where there are very many streams these take far longer to make than all
// else, and a query for text that the filters rule out does not need them.
type segment struct {
	bucket objstore.BucketReader
	codec  *codec
	path   string
	*footer
	dir *directory

	loading sync.Mutex
	stored  []byte // streams and index as they are stored, until they are loaded
	table   *streamTable
	index   *segIndex

	lineFilters, metaFilters lazyFilters // the latter are one filter for each page
	lazyDigests              lazyDigests
}

// corrupt wraps what a decoder found wrong. Version errors and those of the context or the bucket pass
// as they are.
func corrupt(path, section string, off int64, err error) error {
	if errors.Is(err, ErrVersion) {
		return fmt.Errorf("store: %s: %w", path, err)
	}
	return &CorruptError{Object: path, Section: section, Offset: off, Reason: err.Error()}
}

// near tells that reads of it cost next to nothing.
func (s *segment) near() bool {
	_, ok := s.bucket.(*openFiles)
	return ok
}

// readRange reads part of an object. An object that ends too early is corrupt.
func readRange(ctx context.Context, b objstore.BucketReader, path, section string, off int64, dst []byte) error {
	if len(dst) == 0 {
		return nil
	}
	defer pace.Idle(ctx)()
	var n int
	var err error
	if f, ok := b.(*openFiles); ok {
		n, err = f.readAt(ctx, path, dst, off)
	} else {
		n, err = getRange(ctx, b, path, dst, off)
	}
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return corrupt(path, section, off+int64(n), errors.New("object ends too early"))
	case err != nil:
		return fmt.Errorf("store: read %s of %s: %w", section, path, err)
	}
	return nil
}

// getRange fills dst with what an object has from off on.
func getRange(ctx context.Context, b objstore.BucketReader, path string, dst []byte, off int64) (int, error) {
	r, err := b.GetRange(ctx, path, off, int64(len(dst)))
	if err != nil {
		return 0, err
	}
	defer closeQuietly(r)
	return io.ReadFull(r, dst)
}

// readFooter reads the end of an object. It returns the footer and all that it has read, the footer included.
func readFooter(ctx context.Context, b objstore.BucketReader, path string, size int64) (*footer, []byte, error) {
	if size < headerSize+footerFixed+int64(trailerSize) {
		return nil, nil, corrupt(path, "footer", 0, fmt.Errorf("an object of %d bytes is no segment", size))
	}
	tail := make([]byte, min(size, tailRead))
	if err := readRange(ctx, b, path, "footer", size-int64(len(tail)), tail); err != nil {
		return nil, nil, err
	}
	n, err := footerLen(tail)
	if err == nil && n > size-headerSize {
		err = fmt.Errorf("length %d in an object of %d", n, size)
	}
	if err != nil {
		return nil, nil, corrupt(path, "footer", size-int64(trailerSize), err)
	}
	if n > int64(len(tail)) {
		if n > 16<<20 { // a million replaced segments
			return nil, nil, corrupt(path, "footer", size-int64(trailerSize), fmt.Errorf("length %d", n))
		}
		tail = make([]byte, n)
		if err := readRange(ctx, b, path, "footer", size-n, tail); err != nil {
			return nil, nil, err
		}
	}
	f, err := parseFooter(tail[int64(len(tail))-n:], size)
	if err != nil {
		return nil, nil, corrupt(path, "footer", size-n, err)
	}
	return f, tail, nil
}

// end returns the part of the bytes before the end of an object that it takes to open the segment, nil if they are
// too few.
func (f *footer) end(tail []byte) []byte {
	n := f.lens[secStreams] + f.lens[secIndex] + f.lens[secDirectory] + int64(f.size())
	if n > int64(len(tail)) {
		return nil
	}
	return tail[int64(len(tail))-n:]
}

// readEnd reads of an object of a known size what it takes to open it: streams, index, directory and footer.
func readEnd(ctx context.Context, b objstore.BucketReader, path string, size int64) ([]byte, error) {
	f, tail, err := readFooter(ctx, b, path, size)
	if err != nil {
		return nil, err
	}
	if end := f.end(tail); end != nil {
		return end, nil
	}
	n := f.lens[secStreams] + f.lens[secIndex] + f.lens[secDirectory]
	if n > math.MaxInt32 {
		return nil, corrupt(path, "footer", f.offset(sections), fmt.Errorf("index of %d bytes", n))
	}
	end := make([]byte, n, n+int64(f.size()))
	if err := readRange(ctx, b, path, "index", f.offset(secStreams), end); err != nil {
		return nil, err
	}
	return append(end, tail[len(tail)-f.size():]...), nil
}

// openSegment opens an object of a known size; 0 means that it must be asked for.
func openSegment(ctx context.Context, b objstore.BucketReader, c *codec, path string, size int64) (*segment, error) {
	if size == 0 {
		attrs, err := b.Attributes(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("store: size of %s: %w", path, err)
		}
		size = attrs.Size
	}
	end, err := readEnd(ctx, b, path, size)
	if err != nil {
		return nil, err
	}
	s, err := openEnd(b, c, path, size, end)
	if err != nil {
		return nil, err
	}
	return s, s.load()
}

// openEnd opens an object of which readEnd has read the end. It checks all of it but does not load the segment.
func openEnd(b objstore.BucketReader, c *codec, path string, size int64, end []byte) (*segment, error) {
	n, err := footerLen(end)
	if err != nil || n > int64(len(end)) {
		return nil, corrupt(path, "footer", size-int64(trailerSize), cmp.Or(err, errShort))
	}
	f, err := parseFooter(end[int64(len(end))-n:], size)
	if err != nil {
		return nil, corrupt(path, "footer", size-n, err)
	}
	if end = f.end(end); end == nil {
		return nil, corrupt(path, "footer", size-n, errShort)
	}
	s := &segment{bucket: b, codec: c, path: path, footer: f}
	streams, end := end[:f.lens[secStreams]], end[f.lens[secStreams]:]
	index, dir := end[:f.lens[secIndex]], end[f.lens[secIndex]:][:f.lens[secDirectory]]
	raw, err := c.decodeBlock(dir, false, allocBytes)
	if err == nil {
		s.dir, err = parseDirectory(raw, f)
	}
	if err != nil {
		return nil, corrupt(path, "directory", f.offset(secDirectory), err)
	}
	_, rawStreams, _, err := blockInfo(streams)
	if err == nil && f.info.Streams > int64(rawStreams) { // each takes a byte at least
		err = fmt.Errorf("%d bytes for %d streams", rawStreams, f.info.Streams)
	}
	if err != nil {
		return nil, corrupt(path, "streams", f.offset(secStreams), err)
	}
	if _, _, _, err := blockInfo(index); err != nil {
		return nil, corrupt(path, "index", f.offset(secIndex), err)
	}
	s.stored = slices.Concat(streams, index)
	s.lineFilters.init(s, secLineFilters, s.dir.lineFiltOff)
	s.metaFilters.init(s, secMetaFilters, s.dir.metaFiltOff)
	return s, nil
}

// loaded tells that the segment has streams and index.
func (s *segment) loaded() bool {
	s.loading.Lock()
	defer s.loading.Unlock()
	return s.index != nil
}

// load makes streams and index, unless they are there.
func (s *segment) load() error {
	s.loading.Lock()
	defer s.loading.Unlock()
	if s.index != nil {
		return nil
	}
	var table *streamTable
	var index *segIndex
	var g errgroup.Group // each takes some tens of nanoseconds a stream
	g.Go(func() error {
		raw, err := s.codec.decodeBlock(s.stored[:s.lens[secStreams]], false, allocBytes)
		if err == nil {
			table, err = parseStreams(raw, s.footer, s.dir)
		}
		if err != nil {
			return corrupt(s.path, "streams", s.offset(secStreams), err)
		}
		return nil
	})
	raw, err := s.codec.decodeBlock(s.stored[s.lens[secStreams]:], false, allocBytes)
	if err == nil {
		index, err = openIndex(raw, int(s.info.Streams))
	}
	if streamsErr := g.Wait(); streamsErr != nil {
		return streamsErr
	}
	if err != nil {
		return corrupt(s.path, "index", s.offset(secIndex), err)
	}
	s.table, s.index, s.stored = table, index, nil
	return nil
}

// memory is about what the segment takes, filters included.
func (s *segment) memory() int64 {
	s.loading.Lock()
	defer s.loading.Unlock()
	n := int64(len(s.stored))
	if s.index != nil {
		n += s.table.memory() + s.index.memory()
	}
	return n + s.dir.memory() + s.lens[secDigests] + s.lens[secLineFilters] + s.lens[secMetaFilters] + 1024
}

// lazyFilters are the filters of all pages, read at once on first use: a query that needs those of one
// page mostly needs those of all, and they are small.
type lazyFilters struct {
	seg     *segment
	section int
	offs    []int64

	mu      sync.Mutex
	filters [][]byte // of each page, without the checksum; nil until read
}

func (l *lazyFilters) init(s *segment, section int, offs []int64) {
	l.seg, l.section, l.offs = s, section, offs
}

// get returns the filters by page.
func (l *lazyFilters) get(ctx context.Context) ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.filters != nil {
		return l.filters, nil
	}
	s := l.seg
	data := make([]byte, s.lens[l.section])
	start := s.offset(l.section)
	if err := readRange(ctx, s.bucket, s.path, sectionName(l.section), start, data); err != nil {
		return nil, err
	}
	filters := make([][]byte, len(s.dir.pages))
	for i := range filters {
		f, err := openFilters(data[l.offs[i]:l.offs[i+1]])
		if err != nil {
			return nil, corrupt(s.path, sectionName(l.section), start+l.offs[i], err)
		}
		filters[i] = f
	}
	l.filters = filters
	return filters, nil
}
