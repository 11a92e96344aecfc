package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql/column"
)

// Segment is one segment, opened without a store, for tools.
type Segment struct {
	seg   *segment
	codec *codec
}

// OpenSegment opens the segment of that name in a bucket. Close it after use.
func OpenSegment(ctx context.Context, b objstore.BucketReader, name string) (*Segment, error) {
	c := newCodec(zstd.SpeedFastest)
	seg, err := openSegment(ctx, b, c, name, 0)
	if err != nil {
		c.close()
		return nil, err
	}
	return &Segment{seg: seg, codec: c}, nil
}

// Close frees what the segment holds.
func (s *Segment) Close() { s.codec.close() }

// Info returns what the footer says.
func (s *Segment) Info() SegmentInfo { return s.seg.info }

// Pages returns the number of pages.
func (s *Segment) Pages() int { return len(s.seg.dir.pages) }

// SectionSize is how much of a segment something takes.
type SectionSize struct {
	Name  string
	Bytes int64
}

// Sections returns what the object's bytes are spent on. Pages and times are given by columns.
func (s *Segment) Sections() []SectionSize {
	var lines, meta, over, times, lengths int64
	for i := range s.seg.dir.pages {
		p := &s.seg.dir.pages[i]
		lines += int64(p.lineSize) + int64(p.idSize)
		over += int64(p.overSize)
		for _, n := range p.sizes {
			meta += int64(n)
		}
		times += int64(p.timeSize)
		lengths += int64(p.lenSize)
	}
	out := []SectionSize{
		{"header", headerSize}, {"lines", lines}, {"metadata columns", meta}, {"metadata overflow", over},
		{"times", times}, {"lengths", lengths},
	}
	for i := secLineFilters; i < sections; i++ {
		out = append(out, SectionSize{sectionName(i), s.seg.lens[i]})
	}
	return append(out, SectionSize{"footer", int64(s.seg.footer.size())})
}

// Verify reads the whole segment and checks all checksums and everything that must agree. The error of
// a damaged segment is a *CorruptError.
func (s *Segment) Verify(ctx context.Context) error {
	seg := s.seg
	head := make([]byte, headerSize)
	if err := readRange(ctx, seg.bucket, seg.path, "header", 0, head); err != nil {
		return err
	}
	if !bytes.Equal(head, header()) {
		return corrupt(seg.path, "header", 0, errors.New("it is not that of a segment"))
	}
	if _, err := seg.lineFilters.get(ctx); err != nil {
		return err
	}
	if _, err := seg.metaFilters.get(ctx); err != nil {
		return err
	}
	for n := range seg.table.streams() {
		if _, err := seg.stream(n); err != nil {
			return err
		}
	}
	if _, err := seg.index.match(ctx, nil); err != nil {
		return seg.indexError(ctx, err)
	}
	r := newColumnReader(s.codec, newCache[columnKey, *columnData](0, nil, nopCounter(), nopCounter()), func(int64) {})
	for page := range seg.dir.pages {
		if err := verifyPage(ctx, &pageColumns{reader: r, seg: seg, page: page}); err != nil {
			return err
		}
	}
	return nil
}

// verifyPage decodes all columns of a page and compares its metadata with the totals.
func verifyPage(ctx context.Context, p *pageColumns) error {
	defer p.Release()
	if _, err := p.Times(ctx); err != nil {
		return err
	}
	if _, err := p.Lines(ctx); err != nil {
		return err
	}
	names, err := p.MetadataNames(ctx)
	if err != nil {
		return err
	}
	var bytes int64
	for _, n := range names {
		md, err := p.Metadata(ctx, n)
		if err != nil {
			return err
		}
		bytes += metadataBytes(md)
	}
	if want := p.seg.dir.pages[p.page].metaBytes; bytes != want {
		return corrupt(p.seg.path, "pages", p.seg.offset(secPages)+p.seg.dir.pageOff[p.page],
			fmt.Errorf("page %d has %d bytes of metadata instead of %d", p.page, bytes, want))
	}
	return nil
}

func metadataBytes(md column.Metadata) (n int64) {
	for _, x := range md.Index {
		if x > 0 {
			n += int64(column.MetadataSize(md.Values[x-1]))
		}
	}
	return n
}
