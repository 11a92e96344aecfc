package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/internal/bench/yardstick"
	"example.com/loki/logql/column"
)

func TestPackedForms(t *testing.T) {
	const id = "00112233445566778899aabbccddeeff"
	for _, c := range []struct {
		text  string
		forms []string // ~ is the escape; none: what is left is too short
	}{
		{"timeout after ", []string{"timeout after "}},
		{"error", []string{"rror"}},
		{"level=error", []string{"level=error"}},
		{"failed", []string{"iled", "il~"}},
		{"nxc8bc62dd0ab3", []string{"nxc8bc62dd0ab3", "nx~"}},
		{"trace=" + id, []string{"trace=" + id, "trace=~"}},
		{"trace=" + id + " x", []string{"trace=" + id, "trace=~"}},
		{"trace=" + id + " span", []string{"trace=" + id, "trace=~"}},
		{id + " span", []string{" span"}},
		{"status=200 ", []string{"status=200 "}},
		{"status=200", []string{"status=200", "status=~"}},
		{"ip=10.2.3.4 ", []string{"ip=10.2.3.4 "}},
		{"ip=10.2.3.4", []string{"ip=10.2.3.4", "ip=10.2.3.~"}},
		{"T15:04:05Z started", []string{"Z started", "Z start~"}},
		{"started T15:04", []string{"started T15:04", "started T~", "started T15:~"}},
		{"at 150405 it", []string{" it"}},
		{"took 150405 it", []string{"took 150405", "took ~"}},
		{"xy", nil},
		{"", nil},
		{id, nil},
		{"dead", nil},
	} {
		var got []string
		for _, f := range packedForms([]byte(c.text), 1) {
			got = append(got, strings.ReplaceAll(string(f), "\x01", "~"))
		}
		if !slices.Equal(got, c.forms) {
			t.Errorf("forms of %q are %q instead of %q", c.text, got, c.forms)
		}
	}
}

// mixedLine makes a line of what is packed and what looks alike.
func mixedLine(r *rand.Rand, at int64) string {
	var b []byte
	for range r.IntN(9) {
		switch r.IntN(14) {
		case 0, 1:
			layout := []string{"15:04:05", "15:04:05.000", "150405", "15:04:05,000000", "2006-01-02T15:04:05.000000000Z"}[r.IntN(5)]
			b = time.Unix(0, at).UTC().AppendFormat(b, layout)
		case 2, 3:
			b = fmt.Appendf(b, "%016x%0*x", r.Uint64(), r.IntN(17), uint16(r.Uint64()))
		case 4:
			b = append(b, strings.Repeat("0f", r.IntN(200))...)
		case 5:
			b = append(b, "0123456789abcdef:.,"[r.IntN(19)])
		case 6:
			b = append(b, '\n')
		default:
			b = append(b, []string{" ", "error", "id=", "x", "dead ", "-", "user=me ", "took ", "\"msg\":\""}[r.IntN(9)]...)
		}
	}
	return string(b)
}

// TestTextSearch looks for parts of lines and for texts that are like them.
func TestTextSearch(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	p := &packer{}
	searched, skipped := 0, 0
	for range 400 {
		var lines []string
		var times []int64
		for range 1 + r.IntN(20) {
			at := r.Int64N(1e18)
			lines, times = append(lines, mixedLine(r, at)), append(times, at)
		}
		m, text, _ := packLines(t, p, lines, times)
		for range 40 {
			var texts [][]byte
			for range 1 + r.IntN(2) {
				line := lines[r.IntN(len(lines))]
				from := r.IntN(len(line) + 1)
				part := []byte(line[from:min(len(line), from+r.IntN(40))])
				if len(part) > 0 && r.IntN(4) == 0 {
					part[r.IntN(len(part))] = 'e'
				}
				texts = append(texts, part)
			}
			s := newTextSearch(texts, m)
			if s == nil {
				skipped++
				continue
			}
			searched++
			var rows []int
			if err := s.rows(text, len(lines), func(row, at, n int) error {
				rows = append(rows, row)
				if at > 0 && text[at-1] != m.end || text[at+n] != m.end || bytes.Count(text[:at], []byte{m.end}) != row {
					t.Fatalf("line %d is not at %d, %d bytes long, in %q", row, at, n, text)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			if !slices.IsSorted(rows) || len(slices.Compact(slices.Clone(rows))) != len(rows) {
				t.Fatalf("rows %v", rows)
			}
			for i, l := range lines {
				has := slices.ContainsFunc(texts, func(text []byte) bool { return strings.Contains(l, string(text)) })
				if has && !slices.Contains(rows, i) {
					t.Fatalf("%q has one of %q, but was not found as %q", l, texts, text)
				}
			}
		}
	}
	if searched < 2000 {
		t.Errorf("%d searches were done, %d were not", searched, skipped)
	}
}

// TestSearch compares what columns find with their lines.
func TestSearch(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	r := rand.New(rand.NewPCG(3, 4))
	mixed := &StreamRows{Labels: labels.FromStrings("app", "x"), Lines: column.Lines{Offsets: []uint32{0}}}
	for i := range 12_000 {
		at := int64(1e18) + int64(i)*1e7
		mixed.Times = append(mixed.Times, at)
		mixed.Lines.Data = append(mixed.Lines.Data, mixedLine(r, at)...)
		mixed.Lines.Offsets = append(mixed.Lines.Offsets, uint32(len(mixed.Lines.Data)))
	}
	_, seg := segmentOf(t, c, mixed)
	reader := uncached(c)
	begin := 0
	for page := range seg.dir.pages {
		rows := seg.dir.pages[page].rows
		for _, blocks := range []uint64{0, 1, 1 << 3, 1<<1 | 1<<4} {
			for _, text := range []string{"error", "dead id=", "\x01 is in no line", "x-id=", "00:", "-error\n"} {
				cols := &pageColumns{reader: reader, seg: seg, page: page, blocks: blocks, searches: &searches{}}
				all, err := cols.Lines(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				texts := &column.Texts{Any: [][]byte{[]byte(text)}}
				found, lines, ok, err := cols.Search(context.Background(), texts)
				if err != nil || ok != (len(text) > len("00:")) {
					t.Fatalf("%q: %t, %v", text, ok, err)
				}
				at := 0
				for row := range rows {
					want := all.Row(row)
					is := at < len(found) && int(found[at]) == row
					if is {
						at++
						if !bytes.Equal(lines.Row(row), want) {
							t.Fatalf("%q: row %d is %q instead of %q", text, row, lines.Row(row), want)
						}
					}
					if ok && !is && bytes.Contains(want, []byte(text)) {
						t.Fatalf("%q was not found in row %d, %q", text, row, want)
					}
				}
				if at != len(found) {
					t.Fatalf("%q: rows %v", text, found)
				}
				again, _, _, err := cols.Search(context.Background(), texts)
				if err != nil || !slices.Equal(again, found) {
					t.Fatalf("%q: a second search finds %v instead of %v: %v", text, again, found, err)
				}
				cols.Release()
				if _, _, _, err := cols.Search(context.Background(), texts); err != errReleased {
					t.Fatalf("search after the release: %v", err)
				}
			}
		}
		begin += rows
	}
	if begin != len(mixed.Times) {
		t.Fatalf("%d rows instead of %d", begin, len(mixed.Times))
	}
}

// BenchmarkSearch compares a search through a page with making its lines.
func BenchmarkSearch(b *testing.B) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	_, seg := segmentOf(b, c, sampleRows(1, labels.FromStrings("app", "x"), 2200))
	r := uncached(c)
	for _, text := range []string{"no such text", "timeout upstream", "checkout "} {
		texts := &column.Texts{Any: [][]byte{[]byte(text)}}
		b.Run(strings.ReplaceAll(strings.TrimSpace(text), " ", "-"), func(b *testing.B) {
			yardstick.Bytes(b, seg.dir.pages[0].rawBytes)
			s := &searches{}
			for b.Loop() {
				cols := &pageColumns{reader: r, seg: seg, searches: s}
				if _, _, ok, err := cols.Search(b.Context(), texts); err != nil || !ok {
					b.Fatal(ok, err)
				}
				cols.Release()
			}
		})
	}
}
