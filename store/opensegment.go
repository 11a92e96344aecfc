package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"
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

// Close frees what the segment holds. Columns that it has handed out may still be used.
func (s *Segment) Close() { s.codec.close() }

// StreamSummary is what a segment has of a stream.
type StreamSummary struct {
	Labels           labels.Labels
	MinTime, MaxTime int64 // both inclusive
	Rows             int64
	Bytes            int64 // of lines and metadata
}

// Streams yields what there is of each stream, in the order of their labels. It reads nothing.
func (s *Segment) Streams() iter.Seq2[StreamSummary, error] {
	return func(yield func(StreamSummary, error) bool) {
		t := s.seg.table
		for n := range t.streams() {
			st, err := s.seg.stream(n)
			if err != nil {
				yield(StreamSummary{}, err)
				return
			}
			sum := StreamSummary{Labels: st.Labels}
			sum.MinTime, sum.MaxTime = t.timeRange(n)
			for r := int(t.firstRun[n]); r < int(t.firstRun[n+1]); r++ {
				from, to := t.rows(r)
				sum.Rows += int64(to - from)
				sum.Bytes += t.bytes(r)
			}
			if !yield(sum, nil) {
				return
			}
		}
	}
}

// Batches yields the pages of the segment that hold rows with start <= time < end, in the order of their
// streams, with those of their runs that do. Columns are read when they are asked for and kept only until
// the batch is released; what they are read by is fetched ahead, so pages should be read in order.
func (s *Segment) Batches(start, end int64) iter.Seq2[*column.Batch, error] {
	return func(yield func(*column.Batch, error) bool) {
		seg := s.seg
		reader := newColumnReader(s.codec, newCache[columnKey, *columnData](4*narrowGroup, nil, nopCounter(), nopCounter()), func(int64) {})
		defer reader.cache.purge()
		ahead := &segment{
			bucket: newReadAhead(seg.bucket, seg.info.SizeBytes), codec: seg.codec, path: seg.path,
			footer: seg.footer, dir: seg.dir, table: seg.table, index: seg.index,
		}
		// Streams come in the order of pages, and a page has several.
		streams := newStreamsOfRuns(seg.table)
		for page := range seg.dir.pages {
			ref := pageRef{seg: ahead, part: seg.info.ID.String(), page: page}
			from, to := seg.table.pageRuns(page)
			for r := from; r < to; r++ {
				n := streams.of(r)
				t := seg.table
				if t.max[r] < start || t.min[r] >= end {
					continue
				}
				st, err := seg.stream(n)
				if err != nil {
					yield(nil, err)
					return
				}
				if len(ref.runs) == 0 {
					ref.min, ref.max = t.min[r], t.max[r]
				}
				ref.min, ref.max = min(ref.min, t.min[r]), max(ref.max, t.max[r])
				ref.raw += int64(t.lineBytes[r])
				ref.meta += int64(t.metaBytes[r])
				a, b := t.rows(r)
				ref.runs = append(ref.runs, column.Run{Stream: st, From: a, To: b, MinTime: t.min[r], MaxTime: t.max[r]})
			}
			if len(ref.runs) > 0 && !yield(ref.batch(reader, nil), nil) {
				return
			}
		}
	}
}

// streamsOfRuns finds the stream of runs that are asked for in ascending order.
type streamsOfRuns struct {
	table *streamTable
	at    int
}

func newStreamsOfRuns(t *streamTable) *streamsOfRuns { return &streamsOfRuns{table: t} }

func (s *streamsOfRuns) of(run int) int {
	for int(s.table.firstRun[s.at+1]) <= run {
		s.at++
	}
	return s.at
}

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
		lines += p.linesSize()
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
	for i := secCounts; i < sections; i++ {
		out = append(out, SectionSize{sectionName(i), s.seg.lens[i]})
	}
	return append(out, SectionSize{"footer", int64(s.seg.footer.size())})
}

// Verify reads the whole segment and checks all checksums and everything that must agree. The error of
// a damaged segment is a *CorruptError. after, if it is not nil, is called after each page with the bytes of its lines; its
// errors are returned.
func (s *Segment) Verify(ctx context.Context, after func(rawBytes int64) error) error {
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
		if after == nil {
			continue
		}
		if err := after(seg.dir.pages[page].rawBytes); err != nil {
			return err
		}
	}
	return nil
}

// verifyPage decodes all columns of a page and compares its metadata with the totals.
func verifyPage(ctx context.Context, p *pageColumns) error {
	defer p.Release()
	times, err := p.Times(ctx)
	if err != nil {
		return err
	}
	lengths, err := p.LineLengths(ctx)
	if err != nil {
		return err
	}
	if p.seg.dir.pages[p.page].countSize > 0 {
		c, err := p.column(ctx, colCounts)
		if err != nil {
			return err
		}
		if err := p.seg.checkCounts(p.page, c.counts, times, lengths); err != nil {
			return corrupt(p.seg.path, fmt.Sprintf("counts of page %d", p.page), p.seg.offset(secCounts)+p.seg.dir.countOff[p.page], err)
		}
	}
	lines, err := p.Lines(ctx)
	if err != nil {
		return err
	}
	digests, err := p.seg.digests(ctx, p.page)
	if err != nil {
		return err
	}
	for row, n := range lengths {
		if lines.Offsets[row+1]-lines.Offsets[row] != n {
			return corrupt(p.seg.path, "pages", p.seg.offset(secPages)+p.seg.dir.pageOff[p.page],
				fmt.Errorf("line %d of page %d has %d bytes instead of %d", row, p.page, lines.Offsets[row+1]-lines.Offsets[row], n))
		}
	}
	names, err := p.MetadataNames(ctx)
	if err != nil {
		return err
	}
	var bytes int64
	all := make([]NamedMetadata, 0, len(names))
	for _, n := range names {
		md, err := p.Metadata(ctx, n)
		if err != nil {
			return err
		}
		bytes += metadataBytes(md)
		all = append(all, NamedMetadata{n, md})
	}
	if err := p.seg.checkDigests(p.page, digests, times, lines, all); err != nil {
		return corrupt(p.seg.path, fmt.Sprintf("digests of page %d", p.page), p.seg.offset(secDigests)+p.seg.dir.digestOff[p.page], err)
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
