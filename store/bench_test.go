package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql/column"
)

// sampleRows makes a stream of log lines like those of a web service.
func sampleRows(seed uint64, ls labels.Labels, rows int) *StreamRows {
	r := rand.New(rand.NewPCG(seed, 7))
	s := &StreamRows{Labels: ls, Lines: column.Lines{Offsets: []uint32{0}}}
	var trace, level NamedMetadata
	trace.Name, level.Name = "trace_id", "level"
	for v := range 4 {
		level.Values = append(level.Values, []byte([]string{"info", "warn", "error", "debug"}[v]))
	}
	words := bytes.Fields([]byte("request completed user session cache miss hit database connection timeout retry upstream checkout payment accepted worker finished started"))
	now := int64(1_700_000_000e9)
	var b []byte
	for i := range rows {
		now += int64(r.ExpFloat64() * 1e7)
		id := r.Uint64()
		b = fmt.Appendf(b[:0], `{"ts":%d,"level":"info","caller":"server.go:%d","msg":"`, now/1e6, r.IntN(400))
		for range 4 + r.IntN(6) {
			b = append(append(b, words[r.IntN(len(words))]...), ' ')
		}
		b = fmt.Appendf(b, `","path":"/api/v1/items/%d","status":%d,"duration_ms":%.3f`, r.IntN(5000), 200+r.IntN(5), r.ExpFloat64()*20)
		if i%3 == 0 {
			b = fmt.Appendf(b, `,"trace":"%016x%016x"`, id, id*31)
		}
		b = append(b, '}')
		s.Times = append(s.Times, now)
		s.Lines.Data = append(s.Lines.Data, b...)
		s.Lines.Offsets = append(s.Lines.Offsets, uint32(len(s.Lines.Data)))
		trace.Values = append(trace.Values, fmt.Appendf(nil, "%016x%016x", id, id*31))
		trace.Index = append(trace.Index, uint32(i+1))
		level.Index = append(level.Index, uint32(min(r.IntN(12), 3))+1)
	}
	s.Metadata = []NamedMetadata{level, trace}
	return s
}

// samplePage fills a page.
func samplePage(p *pageBuilder, s *StreamRows) int {
	var c streamCursor
	c.reset(s)
	n := p.fit(&c, 0)
	p.add(&c, 0, n)
	return n
}

func BenchmarkPageEncode(b *testing.B) {
	s := sampleRows(1, labels.FromStrings("app", "x"), 3000)
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression} {
		b.Run(fmt.Sprintf("level=%d", level), func(b *testing.B) {
			c := newCodec(level)
			defer c.close()
			p := newPageBuilder(pageRawTarget)
			var e encodedPage
			size := int64(0)
			yardstick.BytesOf(b, &size)
			for b.Loop() {
				n := samplePage(p, s)
				size = int64(s.Lines.Offsets[n])
				p.encode(c, &e)
			}
			b.ReportMetric(float64(e.meta.rawBytes)/float64(len(e.page)+len(e.times)+len(e.lineFilt)+len(e.metaFilt)), "ratio")
		})
	}
}

func BenchmarkColumn(b *testing.B) {
	s := sampleRows(1, labels.FromStrings("app", "x"), 3000)
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	p := newPageBuilder(pageRawTarget)
	n := samplePage(p, s)
	raw := bytes.Clone(p.lines)
	p.steps()
	deltas := append([]uint64(nil), p.deltas...)
	lens := append([]uint32(nil), p.lens...)
	timesRaw := appendTimes(nil, append([]uint64(nil), deltas...))
	run := func(name string, size int, f func()) {
		b.Run(name, func(b *testing.B) {
			yardstick.Bytes(b, int64(size))
			for b.Loop() {
				f()
			}
		})
	}
	var buf []byte
	run("lines/encode", len(raw), func() { buf = c.appendBlock(buf[:0], raw) })
	block := c.appendBlock(nil, raw)
	dst := make([]byte, len(raw))
	run("lines/decode", len(raw), func() {
		if _, err := c.decodeBlock(block, false, func(n int) []byte { return dst[:n] }); err != nil {
			b.Fatal(err)
		}
	})
	scratch := make([]uint64, len(deltas))
	run("times/encode", 8*len(deltas), func() { copy(scratch, deltas); buf = appendTimes(buf[:0], scratch) })
	run("times/decode", 8*len(deltas), func() {
		if err := decodeTimes(scratch, timesRaw); err != nil {
			b.Fatal(err)
		}
	})
	planes := appendPlanes(nil, lens)
	run("lengths/encode", 4*len(lens), func() { buf = appendPlanes(buf[:0], lens) })
	run("lengths/decode", 4*len(lens), func() { d := decbuf{b: planes}; d.planes(lens) })
	for i, m := range s.Metadata {
		col := p.cols[m.Name]
		stored := col.append(nil, p.rows)
		run(m.Name+"/encode", 4*n, func() { buf = col.append(buf[:0], p.rows) })
		run(m.Name+"/collect", 4*n, func() {
			col.reset()
			col.add(m.Metadata, 0, n, 0, make(remap, len(s.Metadata[i].Values)), 9)
		})
		run(m.Name+"/decode", 4*n, func() {
			if _, err := decodeMetadata(stored, p.rows); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkCounts makes and reads what a page has of its rows by the minute, here 30 of each.
func BenchmarkCounts(b *testing.B) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2000)
	for row := range s.Times {
		s.Times[row] = 1_700_000_000e9 + int64(row)*2e9
	}
	p := newPageBuilder(pageRawTarget)
	n := samplePage(p, s)
	p.steps()
	_, seg := segmentOf(b, c, s)
	ok, of := p.counted()
	if !ok || seg.dir.pages[0].rows != n {
		b.Fatalf("counted: %t; %d rows, the segment's page has %d", ok, n, seg.dir.pages[0].rows)
	}
	var raw []byte
	b.Run("encode", func(b *testing.B) {
		yardstick.Bytes(b, int64(8*n))
		for b.Loop() {
			raw = p.appendCounts(raw[:0], of)
		}
		b.ReportMetric(float64(len(raw))/float64(n), "bytes/row")
	})
	var pool slicePool[uint64]
	b.Run("decode", func(b *testing.B) {
		yardstick.Bytes(b, int64(8*n))
		for b.Loop() {
			if _, err := seg.decodeCounts(0, raw, &pool); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkLineBlocks reads the lines of a page, and those of one of its blocks.
func BenchmarkLineBlocks(b *testing.B) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2200)
	_, seg := segmentOf(b, c, s)
	r := uncached(c)
	for name, blocks := range map[string]uint64{"all": 0, "first": 1, "one": 1 << 4} {
		b.Run(name, func(b *testing.B) {
			yardstick.Bytes(b, seg.dir.pages[0].rawBytes)
			for b.Loop() {
				cols := &pageColumns{reader: r, seg: seg, blocks: blocks}
				if _, err := cols.Lines(b.Context()); err != nil {
					b.Fatal(err)
				}
				cols.Release()
			}
		})
	}
}

func BenchmarkFilter(b *testing.B) {
	s := sampleRows(1, labels.FromStrings("app", "x"), 2000)
	k := newKeyFinder()
	var f []byte
	b.Run("build", func(b *testing.B) {
		yardstick.Bytes(b, int64(len(s.Lines.Data)))
		for b.Loop() {
			for i := range s.Times {
				k.add(s.Lines.Row(i))
			}
			f = appendFilter(f[:0], k.take().own[0], lineBitsPerKey)
		}
		b.ReportMetric(float64(len(f)), "bytes/filter")
	})
	flt := filter(f)
	keys := needleKeys("7d623d66c91d311dbe2177322c23b9bc")
	const needle = "7d623d66c91d311dbe2177322c23b9bc"
	b.Run("probe", func(b *testing.B) { // of the bytes of the lines that it spares
		yardstick.Bytes(b, int64(len(s.Lines.Data)))
		for b.Loop() {
			flt.hasAll(keys)
		}
	})
	b.Run("needle", func(b *testing.B) {
		yardstick.Bytes(b, int64(len(needle)))
		for b.Loop() {
			needleKeys(needle)
		}
	})
}

func BenchmarkSegmentWrite(b *testing.B) {
	for _, shape := range []struct {
		streams, rows int
		digests       bool
	}{{10, 20_000, false}, {10, 20_000, true}, {20_000, 10, false}} {
		b.Run(fmt.Sprintf("streams=%d/rows=%d/digests=%t", shape.streams, shape.rows, shape.digests), func(b *testing.B) {
			var all []*StreamRows
			for i := range shape.streams {
				all = append(all, sampleRows(uint64(i), labels.FromStrings("app", fmt.Sprintf("app%02d", i%10), "pod", fmt.Sprintf("pod-%06d", i)), shape.rows))
			}
			sortStreams(all)
			c := newCodec(zstd.SpeedFastest)
			defer c.close()
			var info SegmentInfo
			yardstick.BytesOf(b, &info.RawBytes)
			for b.Loop() {
				var err error
				info, err = writeSegment(context.Background(), &bytes.Buffer{}, c, pageRawTarget, segmentNames{digests: shape.digests}, yieldAll(all))
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(info.SizeBytes)/float64(info.Rows), "bytes/row")
		})
	}
}
