package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql/column"
)

// timesSegment is a segment whose first page has runs of these numbers of rows.
func timesSegment(t testing.TB, c *codec, runs ...int) (*segment, [][]int64) {
	var all []*StreamRows
	var want [][]int64
	for i, rows := range runs {
		s := sampleRows(uint64(i), labels.FromStrings("app", fmt.Sprintf("%04d", i)), rows)
		s.Metadata = nil
		for row := range rows { // empty lines: the page takes them all
			s.Lines.Offsets[row+1] = 0
		}
		s.Lines.Data = nil
		all, want = append(all, s), append(want, s.Times)
	}
	_, seg := segmentOf(t, c, all...)
	return seg, want
}

// rawTimes are the raw bytes of the times of a page.
func rawTimes(t testing.TB, c *codec, seg *segment, page int) []byte {
	b := make([]byte, seg.dir.pages[page].timeSize)
	if err := readRange(t.Context(), seg.bucket, seg.path, "times", seg.offset(secTimes)+seg.dir.timeOff[page], b); err != nil {
		t.Fatal(err)
	}
	raw, err := c.decodeBlock(b, false, allocBytes)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestTimeOfRow(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	for _, runs := range [][]int{{1}, {2}, {3}, {514}, {515}, {1, 2, 3, 514, 1, 515}, {1300, 700, 4, 2000}, {512 + 2, 512 + 2, 1, 512 + 2}, slices.Repeat([]int{3}, 1200)} {
		seg, want := timesSegment(t, c, runs...)
		times := slices.Concat(want...)
		raw := rawTimes(t, c, seg, 0)
		var pool slicePool[uint64]
		got := make([]int64, len(times))
		if err := seg.decodeTimes(got, 0, raw, &pool); err != nil || !slices.Equal(got, times) {
			t.Fatalf("runs of %d rows: times are not what they were, %v", runs, err)
		}
		for row, want := range times {
			if got, err := seg.timeOf(0, raw, row); err != nil || got != want {
				t.Fatalf("runs of %d rows: row %d is of %d, %v; want %d", runs, row, got, err, want)
			}
		}
		for i := range raw[:min(len(raw), 40)] {
			if seg.decodeTimes(got, 0, raw[:i], &pool) == nil {
				t.Fatalf("runs of %d rows: %d of %d bytes are enough", runs, i, len(raw))
			}
		}
	}
}

// TestStretchBeginsElsewhere: that a stretch says another time than the rows before it have is noticed.
func TestStretchBeginsElsewhere(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	seg, want := timesSegment(t, c, 400, 900, 200)
	p := newPageBuilder(pageRawTarget)
	at := 0
	for _, times := range want {
		p.runs = append(p.runs, at)
		at += len(times)
	}
	p.times, p.lens, p.rows = slices.Concat(want...), make([]uint32, at), at
	p.steps()
	var pool slicePool[uint64]
	dst := make([]int64, at)
	for i := range p.since {
		for _, by := range []uint64{0, 1, ^uint64(0)} {
			p.steps()
			p.since[i] += by
			err := seg.decodeTimes(dst, 0, appendPageTimes(nil, p.deltas, p.since), &pool)
			if by == 0 && err != nil || by != 0 && !errors.Is(err, errSince) {
				t.Errorf("stretch %d begins by %d elsewhere: %v", i+1, int64(by), err)
			}
		}
	}
}

// TestPickTimes: times of few rows are those of all rows, however they are read.
func TestPickTimes(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	far, want := timesSegment(t, c, 700, 3000, 5)
	times := slices.Concat(want...)
	object := make([]byte, far.info.SizeBytes)
	if err := readRange(t.Context(), far.bucket, far.path, "all", 0, object); err != nil {
		t.Fatal(err)
	}
	segs := []*segment{far, nearSegment(t, c, object)}
	few := []int32{0, 1, 650, 700, 2100, 3702}
	many := []int32{0, 1, 650, 700, 2100, 3700, 3701, 3702, 3703, 3704}
	for _, seg := range segs {
		r := newColumnReader(c, newCache[columnKey, *columnData](1<<20, nil, nopCounter(), nopCounter()), func(int64) {})
		for _, rows := range [][]int32{few, many, few} {
			p := &pageColumns{reader: r, seg: seg}
			cached := p.hasTimes()
			got, err := p.PickTimes(t.Context(), rows)
			if err != nil {
				t.Fatal(err)
			}
			some := p.someTimes(t.Context())
			for _, row := range rows {
				if got[row] != times[row] {
					t.Errorf("row %d is of %d, want %d", row, got[row], times[row])
				}
				if at, err := some(int(row)); err != nil || at != times[row] {
					t.Errorf("row %d is of %d, %v; want %d", row, at, err, times[row])
				}
			}
			if whole := len(rows) > pickedTimes || cached; p.hasTimes() != whole {
				t.Errorf("for %d rows, all times were read: %t, want %t", len(rows), p.hasTimes(), whole)
			}
			p.Release()
			if _, err := p.timeOf(t.Context(), 650); !errors.Is(err, errReleased) {
				t.Errorf("a time of a released batch: %v", err)
			}
		}
	}
}

// TestSearchPicksTimes: a search that finds little does not read all times, one that finds much does, and both find the same lines.
func TestSearchPicksTimes(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2000)
	_, seg := segmentOf(t, c, s)
	for _, text := range []string{string(s.Lines.Row(600)[:40]), `"info"`} {
		r := newColumnReader(c, newCache[columnKey, *columnData](1<<20, nil, nopCounter(), nopCounter()), func(int64) {})
		p := &pageColumns{reader: r, seg: seg, searches: &searches{}}
		rows, lines, ok, err := p.Search(t.Context(), &column.Texts{Any: [][]byte{[]byte(text)}})
		if err != nil || !ok || len(rows) == 0 {
			t.Fatalf("search for %q: %d rows, %t, %v", text, len(rows), ok, err)
		}
		for _, row := range rows {
			if got, want := lines.Row(int(row)), s.Lines.Row(int(row)); !bytes.Equal(got, want) {
				t.Fatalf("line %d is %q, want %q", row, got, want)
			}
		}
		if p.hasTimes() != (len(rows) > pickedTimes) {
			t.Errorf("for %d rows, all times were read: %t", len(rows), p.hasTimes())
		}
		p.Release()
	}
}

func FuzzPageTimes(f *testing.F) {
	p := fuzzParts(f)
	f.Add(p.times)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var pool slicePool[uint64]
		all := make([]int64, p.seg.dir.pages[0].rows)
		whole := p.seg.decodeTimes(all, 0, raw, &pool) == nil
		for row := 0; row < len(all); row += 7 {
			at, err := p.seg.timeOf(0, raw, row)
			if whole && (err != nil || at != all[row]) {
				t.Fatalf("row %d is of %d, %v; with all it is of %d", row, at, err, all[row])
			}
		}
	})
}

// BenchmarkTimes reads the times of a page, and that of one row.
func BenchmarkTimes(b *testing.B) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	seg, _ := timesSegment(b, c, 2000)
	raw := rawTimes(b, c, seg, 0)
	all := make([]int64, 2000)
	var pool slicePool[uint64]
	b.Run("page", func(b *testing.B) {
		yardstick.Bytes(b, int64(8*len(all)))
		for b.Loop() {
			if err := seg.decodeTimes(all, 0, raw, &pool); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("row", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i = (i + 37) % len(all) {
			if _, err := seg.timeOf(0, raw, i); err != nil {
				b.Fatal(err)
			}
		}
	})
}
