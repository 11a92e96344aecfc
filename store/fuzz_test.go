package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql/column"
)

// parts are the raw bytes of a segment's sections: what a decoder sees behind the checksums, which an
// enemy can make as well as we.
type parts struct {
	footer                                                                 *footer
	seg                                                                    *segment
	object, directory, streams, index, times, counts, digests, meta, rests []byte
}

func fuzzParts(t testing.TB) parts {
	t.Helper()
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	var all []*StreamRows
	for i := range 3 {
		s := sampleRows(uint64(i), labels.FromStrings("app", fmt.Sprint(i)), 20)
		for k := range 210 {
			s.Metadata = append(s.Metadata, NamedMetadata{Name: fmt.Sprintf("x%03d", k),
				Metadata: column.Metadata{Values: [][]byte{[]byte("v")}, Index: append([]uint32{1}, make([]uint32, 19)...)}})
		}
		all = append(all, s)
	}
	many := sampleRows(9, labels.FromStrings("app", "many"), 600)
	all = append(all, many)
	var buf bytes.Buffer
	if _, err := writeSegment(t.Context(), &buf, c, pageRawTarget, segmentNames{id: [16]byte{1}, digests: true}, yieldAll(all)); err != nil {
		t.Fatal(err)
	}
	b := objstore.NewInMemBucket()
	if err := b.Upload(t.Context(), "x", bytes.NewReader(buf.Bytes())); err != nil {
		t.Fatal(err)
	}
	seg, err := openSegment(t.Context(), b, c, "x", int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	raw := func(off int64, n int) []byte {
		out, err := c.decodeBlock(buf.Bytes()[off:off+int64(n)], false, allocBytes)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	section := func(i int) []byte { return raw(seg.offset(i), int(seg.lens[i])) }
	meta, n := seg.dir.columnAt(0, 1)
	over, m := seg.dir.columnAt(0, len(seg.dir.pages[0].sizes))
	return parts{
		footer: seg.footer, seg: seg, object: buf.Bytes(),
		directory: section(secDirectory), streams: section(secStreams), index: section(secIndex),
		times:   raw(seg.offset(secTimes), seg.dir.pages[0].timeSize),
		counts:  raw(seg.offset(secCounts), seg.dir.pages[0].countSize),
		digests: raw(seg.offset(secDigests), seg.dir.pages[0].digestSize),
		meta:    raw(seg.offset(secPages)+meta, n), rests: raw(seg.offset(secPages)+over, m),
	}
}

func FuzzBlock(f *testing.F) {
	c := newCodec(zstd.SpeedFastest)
	f.Cleanup(c.close)
	for _, raw := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("abc"), 99)} {
		b := c.appendBlock(nil, raw)
		f.Add(b[:len(b)-crcSize])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = appendCRC(bytes.Clone(b), b)
		raw, err := c.decodeBlock(b, true, func(n int) []byte {
			if n > maxExpand*(len(b)+1) {
				t.Fatalf("%d bytes of memory for a block of %d", n, len(b))
			}
			return make([]byte, n)
		})
		if err != nil {
			return
		}
		again, err := c.decodeBlock(c.appendBlock(nil, raw), false, allocBytes)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("decode(encode(raw)) differs: %v", err)
		}
	})
}

func FuzzTimes(f *testing.F) {
	f.Add(fuzzParts(f).times, uint16(57))
	f.Fuzz(func(t *testing.T, b []byte, n uint16) {
		dst := make([]uint64, n)
		if decodeTimes(dst, b) != nil {
			return
		}
		again := make([]uint64, n)
		if err := decodeTimes(again, appendTimes(nil, append([]uint64(nil), dst...))); err != nil {
			t.Fatal(err)
		}
		for i := range dst {
			if dst[i] != again[i] {
				t.Fatalf("difference %d is %d, then %d", i, dst[i], again[i])
			}
		}
	})
}

func FuzzCounts(f *testing.F) {
	p := fuzzParts(f)
	f.Add(p.counts)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var pool slicePool[uint64]
		c, err := p.seg.decodeCounts(0, raw, &pool)
		if err != nil {
			return
		}
		for i, r := range p.seg.countedRuns(0) {
			rows := c.rows[c.first[i]:c.first[i+1]]
			bytes := c.bytes[c.first[i]:c.first[i+1]]
			if !slices.IsSorted(rows) || !slices.IsSorted(bytes) || int(rows[len(rows)-1]) != r.rows || int64(bytes[len(bytes)-1]) != r.bytes {
				t.Fatalf("run %d of %d rows: %d, %d", i, r.rows, rows, bytes)
			}
		}
	})
}

func FuzzDigests(f *testing.F) {
	p := fuzzParts(f)
	f.Add(p.digests)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var pool slicePool[uint64]
		all, err := p.seg.decodeDigests(0, raw, &pool)
		if err != nil {
			return
		}
		first, _ := p.seg.table.pageRuns(0)
		for i, d := range all {
			if d.ends == nil {
				continue
			}
			from, to := p.seg.table.rows(first + i)
			if !slices.IsSorted(d.ends) || d.ends[0] == 0 || int(d.ends[len(d.ends)-1]) != to-from || len(d.sums) != len(d.ends) || len(d.ends) > to-from {
				t.Fatalf("run %d of %d rows: %d, %d", i, to-from, d.ends, d.sums)
			}
		}
	})
}

func FuzzMetadata(f *testing.F) {
	p := fuzzParts(f)
	f.Add(p.meta, uint16(60))
	f.Add(p.rests, uint16(60))
	f.Fuzz(func(t *testing.T, b []byte, rows uint16) {
		if rows == 0 {
			return
		}
		picked := samplesOf(int(rows))
		index := make([]uint32, rows)
		values, pickErr := pickMetadata(b, picked, index)
		if md, err := decodeMetadata(b, int(rows)); err == nil {
			if pickErr != nil {
				t.Fatal(pickErr)
			}
			some := column.Metadata{Values: values, Index: index}
			for _, row := range picked {
				got, has := some.Row(int(row))
				if want, is := md.Row(int(row)); is != has || !bytes.Equal(got, want) {
					t.Fatalf("row %d has %q (%t) instead of %q (%t)", row, got, has, want, is)
				}
			}
		}
		if o, err := decodeOverflow(b, int(rows)); err == nil {
			for _, n := range o.names {
				md := o.column(n, int(rows))
				for i := range int(rows) {
					md.Row(i)
				}
			}
		}
	})
}

// samplesOf returns some of the rows of a page.
func samplesOf(rows int) (some []int32) {
	for row := 0; row < rows; row += 1 + row/3 {
		some = append(some, int32(row))
	}
	return append(some, int32(rows-1))
}

func FuzzDirectory(f *testing.F) {
	p := fuzzParts(f)
	f.Add(p.directory, p.streams)
	f.Fuzz(func(t *testing.T, dirRaw, streamsRaw []byte) {
		dir, err := parseDirectory(dirRaw, p.footer)
		if err != nil {
			return
		}
		table, err := parseStreams(streamsRaw, p.footer, dir)
		if err != nil {
			return
		}
		for s := range table.streams() {
			lo, hi := table.timeRange(s)
			for r, end := table.runsOf(s, lo, hi); r < end; r++ {
				if from, to := table.rows(r); from < 0 || to <= from || to > dir.pages[table.pageOf(r)].rows || table.streamOf(r) != s {
					t.Fatalf("run %d has rows [%d, %d)", r, from, to)
				}
			}
		}
	})
}

func FuzzIndex(f *testing.F) {
	f.Add(fuzzParts(f).index, 3)
	m := labels.MustNewMatcher(labels.MatchRegexp, "app", "1|2|x.*")
	f.Fuzz(func(t *testing.T, raw []byte, streams int) {
		if streams < 0 || streams > len(raw) {
			return
		}
		x, err := openIndex(raw, streams)
		if err != nil {
			return
		}
		for i := range streams {
			if _, err := x.stream(i); err != nil {
				break
			}
		}
		some, _ := x.match(context.Background(), []*labels.Matcher{m})
		_ = x.labelNames(some)
		_ = x.labelValues("app", some)
	})
}

func FuzzSegment(f *testing.F) {
	p := fuzzParts(f)
	f.Add(p.object)
	c := newCodec(zstd.SpeedFastest)
	f.Cleanup(c.close)
	f.Fuzz(func(t *testing.T, data []byte) {
		// The footer's checksum is made right, so that what it says is looked at.
		data = bytes.Clone(data)
		if n := len(data) - crcSize - len(magic); n > footerFixed {
			if k, err := footerLen(data); err == nil && k <= int64(len(data)) {
				copy(data[n:], appendCRC(nil, data[len(data)-int(k):n]))
			}
		}
		b := oneObject(data)
		seg, err := openSegment(t.Context(), b, c, "x", int64(len(data)))
		if err == nil {
			err = (&Segment{seg: seg, codec: c}).Verify(t.Context(), nil)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
			t.Fatalf("error is not ErrCorrupt: %v", err)
		}
	})
}

// oneObject is a bucket in which every name is this object.
type oneObject []byte

func (o oneObject) GetRange(_ context.Context, _ string, off, length int64) (io.ReadCloser, error) {
	if off < 0 || off > int64(len(o)) {
		return nil, errors.New("offset beyond the object")
	}
	return io.NopCloser(io.LimitReader(bytes.NewReader(o[off:]), length)), nil
}

func (o oneObject) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return o.GetRange(ctx, name, 0, int64(len(o)))
}

func (o oneObject) Iter(context.Context, string, func(string) error, ...objstore.IterOption) error {
	return nil
}

func (o oneObject) IterWithAttributes(context.Context, string, func(objstore.IterObjectAttributes) error, ...objstore.IterOption) error {
	return nil
}

func (o oneObject) SupportedIterOptions() []objstore.IterOptionType { return nil }
func (o oneObject) Exists(context.Context, string) (bool, error)    { return true, nil }
func (o oneObject) IsObjNotFoundErr(error) bool                     { return false }
func (o oneObject) IsAccessDeniedErr(error) bool                    { return false }

func (o oneObject) Attributes(context.Context, string) (objstore.ObjectAttributes, error) {
	return objstore.ObjectAttributes{Size: int64(len(o))}, nil
}
