package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// segmentOf writes rows as a segment and opens it.
func segmentOf(t testing.TB, c *codec, rows ...*StreamRows) (object []byte, seg *segment) {
	t.Helper()
	var b bytes.Buffer
	if _, err := writeSegment(context.Background(), &b, c, pageRawTarget, segmentNames{}, yieldAll(rows)); err != nil {
		t.Fatal(err)
	}
	seg, err := openSegment(context.Background(), oneObject(b.Bytes()), c, "x", int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), seg
}

func uncached(c *codec) *columnReader {
	return newColumnReader(c, newCache[columnKey, *columnData](0, nil, nopCounter(), nopCounter()), func(int64) {})
}

// linesOf makes a stream of lines, one each millisecond.
func linesOf(lines ...string) *StreamRows {
	s := &StreamRows{Labels: labels.FromStrings("app", "x"), Lines: column.Lines{Offsets: []uint32{0}}}
	for i, l := range lines {
		s.Times = append(s.Times, int64(i)*1e6)
		s.Lines.Data = append(s.Lines.Data, l...)
		s.Lines.Offsets = append(s.Lines.Offsets, uint32(len(s.Lines.Data)))
	}
	return s
}

// TestLineBlocks reads pages whole and in parts.
func TestLineBlocks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	var every, sizes, empty []string
	for i := range 3000 {
		every = append(every, fmt.Sprintf("line %d has %q and 0123456789abcdef%04x", i, "x", i))
		sizes = append(sizes, strings.Repeat("abc ", r.IntN(1<<r.IntN(15))))
		empty = append(empty, "")
	}
	var controls []byte
	for b := range byte(' ') {
		controls = append(controls, b)
	}
	for name, s := range map[string]*StreamRows{
		"packed":           sampleRows(1, labels.FromStrings("app", "x"), 5000),
		"digits":           linesOf(every...),
		"without escape":   linesOf(append(every, string(controls))...),
		"of all sizes":     linesOf(sizes...),
		"empty":            linesOf(empty...),
		"large, then many": linesOf(append([]string{strings.Repeat("a large one ", 30_000)}, every...)...),
		"small, then many": linesOf(append([]string{"x"}, sizes...)...),
	} {
		_, seg := segmentOf(t, c, s)
		reader := uncached(c)
		row := 0
		most := 0
		for page := range seg.dir.pages {
			p := &seg.dir.pages[page]
			most = max(most, len(p.lines))
			for try := range 12 {
				blocks := r.Uint64() & r.Uint64() & (allBlocks >> (maxPageBlocks - len(p.lines)))
				switch {
				case try == 0:
					blocks = 0
				case try <= len(p.lines):
					blocks = 1 << (try - 1)
				}
				cols := &pageColumns{reader: reader, seg: seg, page: page, blocks: blocks}
				lines, err := cols.Lines(context.Background())
				if err != nil {
					t.Fatalf("%s: page %d, blocks %b: %v", name, page, blocks, err)
				}
				at := 0
				for i, b := range p.lines {
					for range b.rows {
						want := s.Lines.Row(row + at)
						if blocks != 0 && blocks>>i&1 == 0 {
							want = nil
						}
						if got := lines.Row(at); !bytes.Equal(got, want) {
							t.Fatalf("%s: page %d, blocks %b: row %d of block %d is %q instead of %q", name, page, blocks, at, i, got, want)
						}
						at++
					}
				}
				cols.Release()
			}
			row += p.rows
		}
		if name != "empty" && most < 3 {
			t.Errorf("%s: pages have at most %d blocks", name, most)
		}
	}
}

// TestLineBlocksHelpEachOther compares with blocks that are compressed each on its own.
func TestLineBlocksHelpEachOther(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2000)
	_, seg := segmentOf(t, c, s)
	alone := 0
	for _, b := range seg.dir.pages[0].lines {
		n := int(b.rows)
		size := s.Lines.Offsets[n]
		alone += len(c.appendBlock(nil, s.Lines.Data[:size]))
	}
	if got := int(seg.dir.pages[0].linesSize()); got >= alone {
		t.Errorf("blocks take %d bytes, each alone %d", got, alone)
	}
}

func TestManyLineBlocks(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	p := newPageBuilder(16 << 20)
	var cur streamCursor
	cur.reset(linesOf(strings.Split(strings.Repeat(strings.Repeat("line ", 100)+"\n", 40_000), "\n")...))
	p.add(&cur, 0, p.fit(&cur, 0))
	var e encodedPage
	p.encode(c, &e)
	if n := len(e.meta.lines); n < maxPageBlocks/2 || n > maxPageBlocks {
		t.Errorf("a page of %d bytes has %d line blocks", e.meta.rawBytes, n)
	}
	if err := e.meta.checkLines(); err != nil {
		t.Error(err)
	}
}

func TestBlockCursor(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		var p pageMeta
		wanted := r.Uint64()
		var want []int // the block of each row, -1 if it isn't wanted
		for i := range 1 + r.IntN(maxPageBlocks) {
			n := 1 + r.IntN(5)
			p.lines = append(p.lines, lineBlock{rows: int32(n)})
			for range n {
				if want = append(want, i); wanted>>i&1 == 0 {
					want[len(want)-1] = -1
				}
			}
		}
		c := blockCursor{page: &p, wanted: wanted}
		for from := 0; from < len(want); {
			to := min(from+1+r.IntN(20), len(want))
			at := from
			for a, b, blocks := c.next(from, to); a < b; a, b, blocks = c.next(b, to) {
				if a < at || b > to {
					t.Fatalf("rows [%d, %d) after %d, of [%d, %d)", a, b, at, from, to)
				}
				for ; at < a; at++ {
					if want[at] >= 0 {
						t.Fatalf("row %d is left out", at)
					}
				}
				var touched uint64
				for ; at < b; at++ {
					if want[at] < 0 {
						t.Fatalf("row %d is not wanted", at)
					}
					touched |= 1 << want[at]
				}
				if blocks != touched || b < to && want[b] >= 0 {
					t.Fatalf("rows [%d, %d) of [%d, %d) touch blocks %b instead of %b", a, b, from, to, blocks, touched)
				}
			}
			for ; at < to; at++ {
				if want[at] >= 0 {
					t.Fatalf("row %d is left out", at)
				}
			}
			from = to
		}
	}
}

// TestLineBlocksPruned looks for an identifier, a word and a phrase that one line has.
func TestLineBlocksPruned(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	s := sampleRows(1, labels.FromStrings("app", "x"), 2000)
	const at = 1500
	lines := make([]string, 0, len(s.Times))
	for i := range s.Times {
		lines = append(lines, string(s.Lines.Row(i)))
	}
	lines[at] += " nx42ab42cd77ef zymurgical quoll"
	_, seg := segmentOf(t, c, linesOf(lines...))
	for _, text := range []string{"nx42ab42cd77ef", "NX42AB42CD77EF", "zymurgical", "request completed zymurgical", "2ab42cd77e", "ab42cd7"} {
		var p pruner
		p.needle.add(text)
		filters, err := seg.lineFilters.get(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		row, found, total := 0, 0, 0
		for i := range seg.dir.pages {
			page := &seg.dir.pages[i]
			blocks := p.lineBlocks(filters[i], page)
			for j, b := range page.lines {
				total++
				if blocks>>j&1 != 0 {
					found++
				} else if row <= at && at < row+int(b.rows) {
					t.Errorf("%q: the block that has it is ruled out", text)
				}
				row += int(b.rows)
			}
		}
		if found > total/2 {
			t.Errorf("%q: %d of %d blocks may have it", text, found, total)
		}
	}
}

func TestDamagedLineBlock(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	object, whole := segmentOf(t, c, sampleRows(1, labels.FromStrings("app", "x"), 2000))
	for i := 0; i < int(whole.dir.pages[0].linesSize()); i += 97 {
		bad := bytes.Clone(object)
		bad[headerSize+i] ^= 0x10
		seg, err := openSegment(context.Background(), oneObject(bad), c, "x", int64(len(bad)))
		if err != nil {
			t.Fatal(err)
		}
		var e *CorruptError
		cols := &pageColumns{reader: uncached(c), seg: seg}
		if _, err := cols.Lines(context.Background()); !errors.As(err, &e) {
			t.Fatalf("byte %d: %v", i, err)
		}
		cols.Release()
		block, end := whole.dir.pages[0].lines[0], 0
		for _, b := range whole.dir.pages[0].lines {
			if end += int(b.size + b.ids); i < end {
				block = b
				break
			}
		}
		if want := int64(headerSize + end - int(block.size+block.ids)); e.Section != "lines of page 0" || e.Offset != want {
			t.Errorf("byte %d: damage in %s at %d instead of %d", i, e.Section, e.Offset, want)
		}
	}
}

func FuzzLineBlock(f *testing.F) {
	c := newCodec(zstd.SpeedFastest)
	f.Cleanup(c.close)
	s := sampleRows(1, labels.FromStrings("app", "x"), 20)
	e := c.after.Get().(*afterEncoder)
	e.begin(history(s.Lines.Data[:2000]))
	b := e.appendBlock(nil, s.Lines.Data[2000:4000])
	f.Add(s.Lines.Data[:2000], b[:len(b)-crcSize])
	f.Fuzz(func(t *testing.T, first, b []byte) {
		b = appendCRC(bytes.Clone(b), b)
		d := lineDecoder{codec: c}
		if len(first)%2 == 0 {
			d.begin(first)
		}
		raw, err := d.decode(b, func(n int) []byte {
			if n > maxHistory+maxExpand*(len(b)+1) {
				t.Fatalf("%d bytes of memory for a block of %d", n, len(b))
			}
			return make([]byte, n)
		})
		if err != nil || len(first) < minHistory {
			return
		}
		e.begin(history(first))
		d.begin(first)
		again, err := d.decode(e.appendBlock(nil, raw), allocBytes)
		if err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("decode(encode(raw)) differs: %v", err)
		}
	})
}
