package store

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/pace"
)

// segmentWriter turns rows into a segment. It writes each page when it is full and keeps the small
// sections in memory until the end: about 4 % of the raw bytes.
type segmentWriter struct {
	w     io.Writer
	codec *codec
	page  *pageBuilder
	enc   encodedPage

	pages     []pageMeta
	columns   [][]string // names of metadata columns, per page
	names     map[string]uint32
	times     []byte
	counts    []byte
	digests   []byte
	lineFilts []byte
	metaFilts []byte
	runs      []run
	perStream []int32
	index     *indexWriter
	lens      [sections]int64
	info      SegmentInfo
}

// segmentNames is what a segment is called, what it stands for and where its rows come from.
type segmentNames struct {
	id       ulid.ULID
	replaces []ulid.ULID
	writers  []string
	digests  bool // others put copies of its rows, which digests tell from what differs
}

// writeSegment writes the rows to w. It stops when ctx is done.
func writeSegment(ctx context.Context, w io.Writer, c *codec, pageBytes int, names segmentNames, rows Rows) (SegmentInfo, error) {
	return writeRows(ctx, w, c, pageBytes, names, rows, false)
}

// writeRows is writeSegment; with pieces, rows may yield a stream in several pieces one after another.
func writeRows(ctx context.Context, w io.Writer, c *codec, pageBytes int, names segmentNames, rows Rows, pieces bool) (SegmentInfo, error) {
	sw := &segmentWriter{
		w: w, codec: c, page: newPageBuilder(pageBytes), names: make(map[string]uint32), index: newIndexWriter(),
		info: SegmentInfo{ID: names.id, Replaces: names.replaces, Writers: names.writers},
	}
	if _, err := w.Write(header()); err != nil {
		return SegmentInfo{}, err
	}
	var last labels.Labels
	var lastTime int64
	cur := streamCursor{digested: names.digests && !pieces}
	for s, err := range rows {
		if err != nil {
			return SegmentInfo{}, err
		}
		if err := ctx.Err(); err != nil {
			return SegmentInfo{}, err
		}
		if err := checkStream(s); err != nil {
			return SegmentInfo{}, fmt.Errorf("%w: stream %s: %w", ErrInput, s.Labels, err)
		}
		more := pieces && sw.info.Streams > 0 && labels.Equal(last, s.Labels)
		switch {
		case more && s.Times[0] < lastTime:
			return SegmentInfo{}, fmt.Errorf("%w: stream %s: pieces are out of order", ErrInput, s.Labels)
		case !more && sw.info.Streams > 0 && labels.Compare(last, s.Labels) >= 0:
			return SegmentInfo{}, fmt.Errorf("%w: stream %s comes after %s", ErrInput, s.Labels, last)
		case !more:
			last = s.Labels
		}
		lastTime = s.Times[len(s.Times)-1]
		cur.reset(s)
		if err := sw.add(ctx, &cur, more); err != nil {
			return SegmentInfo{}, err
		}
	}
	return sw.finish()
}

// checkStream checks what the format takes for granted.
func checkStream(s *StreamRows) error {
	n := len(s.Times)
	off := s.Lines.Offsets
	switch {
	case s.Labels.IsEmpty():
		return fmt.Errorf("no labels")
	case n == 0:
		return fmt.Errorf("no rows")
	case len(off) != n+1:
		return fmt.Errorf("%d line offsets for %d rows", len(off), n)
	case int(off[n]) > len(s.Lines.Data):
		return fmt.Errorf("lines end at %d of %d bytes", off[n], len(s.Lines.Data))
	case !slices.IsSorted(off):
		return fmt.Errorf("line offsets are not ascending")
	case !slices.IsSorted(s.Times):
		return fmt.Errorf("times are not ascending")
	}
	for i, m := range s.Metadata {
		if m.Name == "" {
			return fmt.Errorf("metadata without a name")
		}
		if i > 0 && m.Name <= s.Metadata[i-1].Name {
			return fmt.Errorf("metadata %q comes after %q", m.Name, s.Metadata[i-1].Name)
		}
		if m.Index != nil && len(m.Index) != n {
			return fmt.Errorf("metadata %q has %d rows of %d", m.Name, len(m.Index), n)
		}
		for _, x := range m.Index {
			if int(x) > len(m.Values) {
				return fmt.Errorf("metadata %q refers to value %d of %d", m.Name, x, len(m.Values))
			}
		}
	}
	return nil
}

// add appends a stream, or with more a further piece of the last one.
func (w *segmentWriter) add(ctx context.Context, c *streamCursor, more bool) error {
	if !more {
		w.index.add(c.Labels)
		w.perStream = append(w.perStream, 0)
		w.info.Streams++
	}
	runs := len(w.runs)
	for from := 0; from < len(c.Times); {
		to := w.page.fit(c, from)
		// In a page, a stream has one run, whatever the pieces are.
		if last := len(w.runs) - 1; more && from == 0 && w.page.rows > 0 {
			w.page.join()
			w.runs[last].join(w.page.add(c, from, to))
		} else {
			w.runs = append(w.runs, w.page.add(c, from, to))
		}
		if w.page.full() {
			if err := w.flushPage(); err != nil {
				return err
			}
			if err := pace.Yield(ctx); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		from = to
	}
	w.perStream[len(w.perStream)-1] += int32(len(w.runs) - runs)
	first, last := c.Times[0], c.Times[len(c.Times)-1]
	if w.info.Rows == 0 {
		w.info.MinTime, w.info.MaxTime = first, last
	}
	w.info.MinTime, w.info.MaxTime = min(w.info.MinTime, first), max(w.info.MaxTime, last)
	w.info.Rows += int64(len(c.Times))
	return nil
}

func (w *segmentWriter) flushPage() error {
	if w.page.rows == 0 {
		return nil
	}
	w.page.encode(w.codec, &w.enc)
	e := &w.enc
	w.pages = append(w.pages, e.meta)
	w.columns = append(w.columns, slices.Clone(e.columns))
	for _, n := range e.columns {
		w.names[n] = 0
	}
	w.times = append(w.times, e.times...)
	w.counts = append(w.counts, e.counts...)
	w.digests = append(w.digests, e.digests...)
	w.lineFilts = append(w.lineFilts, e.lineFilt...)
	w.metaFilts = append(w.metaFilts, e.metaFilt...)
	w.info.RawBytes += e.meta.rawBytes
	w.info.MetadataBytes += e.meta.metaBytes
	w.lens[secPages] += int64(len(e.page))
	_, err := w.w.Write(e.page)
	return err
}

func (w *segmentWriter) finish() (SegmentInfo, error) {
	if err := w.flushPage(); err != nil {
		return SegmentInfo{}, err
	}
	names := make([]string, 0, len(w.names))
	for n := range w.names {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		w.names[n] = uint32(i)
	}
	for i, cols := range w.columns {
		for _, n := range cols {
			w.pages[i].names = append(w.pages[i].names, w.names[n])
		}
	}
	f := footer{info: w.info}
	parts := [sections][]byte{
		secTimes:       w.times,
		secCounts:      w.counts,
		secDigests:     w.digests,
		secLineFilters: w.lineFilts,
		secMetaFilters: w.metaFilts,
		secStreams:     w.codec.appendTable(nil, appendStreams(nil, w.runs, w.perStream, w.info.MinTime)),
		secIndex:       w.codec.appendTable(nil, w.index.finish()),
		secDirectory:   w.codec.appendTable(nil, appendDirectory(nil, names, w.pages)),
	}
	for i := secTimes; i < sections; i++ {
		w.lens[i] = int64(len(parts[i]))
		if _, err := w.w.Write(parts[i]); err != nil {
			return SegmentInfo{}, err
		}
	}
	f.lens = w.lens
	if _, err := w.w.Write(f.append(nil)); err != nil {
		return SegmentInfo{}, err
	}
	w.info.SizeBytes = f.offset(sections) + int64(f.size())
	return w.info, nil
}
