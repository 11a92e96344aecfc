package store

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql/column"
)

// nearSegment opens a segment in a file that is kept open.
func nearSegment(t testing.TB, c *codec, object []byte) *segment {
	t.Helper()
	b, err := NewFilesystemBucket(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Upload(t.Context(), "x", bytes.NewReader(object)); err != nil {
		t.Fatal(err)
	}
	files := newOpenFiles(b, b, nopCounter(), nopCounter())
	if files == nil {
		t.Skip("files are not kept open here")
	}
	t.Cleanup(files.close)
	seg, err := openSegment(t.Context(), files, c, "x", int64(len(object)))
	if err != nil {
		t.Fatal(err)
	}
	return seg
}

// TestSearchNear: in files the same is found as elsewhere, whichever line blocks are wanted and whether or not the first one is
// there already.
func TestSearchNear(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2000)
	object, far := segmentOf(t, c, s)
	near := nearSegment(t, c, object)
	blocks := near.dir.pages[0].lines
	if len(blocks) < 5 {
		t.Fatalf("%d line blocks", len(blocks))
	}
	find := func(r *columnReader, seg *segment, blocks uint64) string {
		p := &pageColumns{reader: r, seg: seg, blocks: blocks, searches: &searches{}}
		defer p.Release()
		rows, lines, ok, err := p.Search(t.Context(), &column.Texts{Any: [][]byte{[]byte(`"trace":`)}})
		if err != nil || !ok {
			t.Fatalf("blocks %b: %t, %v", blocks, ok, err)
		}
		var out []byte
		for _, row := range rows {
			if !bytes.Equal(lines.Row(int(row)), s.Lines.Row(int(row))) {
				t.Fatalf("blocks %b: line %d is %q, want %q", blocks, row, lines.Row(int(row)), s.Lines.Row(int(row)))
			}
			out = fmt.Appendf(out, "%d ", row)
		}
		return string(out)
	}
	r := newColumnReader(c, newCache[columnKey, *columnData](1<<20, nil, nopCounter(), nopCounter()), func(int64) {})
	for i := range 2 {
		for _, wanted := range []uint64{0b1110, 1, 0b10, 0b11, 0b10000, 0b10100, 0b10001, 0} {
			want := find(uncached(c), far, wanted)
			if got := find(r, near, wanted); got != want || want == "" {
				t.Errorf("blocks %b: found %s, want %s", wanted, got, want)
			}
			if begin := r.cache.has(columnKey{path: near.path, col: colBegin}); i == 0 && begin != (wanted != 0b1110) {
				t.Errorf("blocks %b: the first one is kept: %t", wanted, begin)
			}
		}
	}
}

// TestSearchNearDamage: a search notices damage in the blocks that it needs, and says where it is.
func TestSearchNearDamage(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	object, seg := segmentOf(t, c, sampleRows(1, labels.FromStrings("app", "x"), 2000))
	blocks := seg.dir.pages[0].lines
	for damaged := range 4 {
		at := seg.offset(secPages) + seg.dir.pageOff[0] + blocksSize(blocks[:damaged])
		bad := bytes.Clone(object)
		bad[at+20] ^= 1
		near := nearSegment(t, c, bad)
		for _, wanted := range []uint64{1, 0b10, 0b100, 0b1010, 0b1110} {
			p := &pageColumns{reader: uncached(c), seg: near, blocks: wanted, searches: &searches{}}
			_, _, _, err := p.Search(t.Context(), &column.Texts{Any: [][]byte{[]byte("checkout")}})
			p.Release()
			var damage *CorruptError
			switch needed := damaged == 0 || wanted>>damaged&1 != 0; {
			case !needed && err != nil:
				t.Errorf("block %d is damaged, %b are wanted: %v", damaged, wanted, err)
			case needed && (!errors.As(err, &damage) || damage.Offset != at):
				t.Errorf("block %d at %d is damaged, %b are wanted: %v", damaged, at, wanted, err)
			}
		}
	}
}

// BenchmarkSearchBlock looks for a line of one block of a page.
func BenchmarkSearchBlock(b *testing.B) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2200)
	object, far := segmentOf(b, c, s)
	near := nearSegment(b, c, object)
	line := s.Lines.Row(1100)
	text := &column.Texts{Any: [][]byte{line[bytes.Index(line, []byte("/items/")):][:40]}}
	blocks, row := uint64(1), 0
	for _, l := range near.dir.pages[0].lines {
		if row += int(l.rows); row > 1100 {
			break
		}
		blocks <<= 1
	}
	for _, from := range []struct {
		name  string
		seg   *segment
		cache int64
	}{{"file", near, 0}, {"file/again", near, 1 << 20}, {"bucket", far, 0}} {
		b.Run(from.name, func(b *testing.B) {
			r := newColumnReader(c, newCache[columnKey, *columnData](from.cache, nil, nopCounter(), nopCounter()), func(int64) {})
			yardstick.Bytes(b, from.seg.dir.pages[0].rawBytes)
			for b.Loop() {
				p := &pageColumns{reader: r, seg: from.seg, blocks: blocks, searches: &searches{}}
				rows, _, ok, err := p.Search(b.Context(), text)
				if err == nil {
					_, err = p.PickTimes(b.Context(), rows)
				}
				if err != nil || !ok || len(rows) != 1 {
					b.Fatal(len(rows), ok, err)
				}
				p.Release()
			}
		})
	}
}
