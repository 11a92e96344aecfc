package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// TestPick compares values of some rows with those of all.
func TestPick(t *testing.T) {
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	r := rand.New(rand.NewPCG(1, 2))
	s := sampleRows(1, labels.FromStrings("app", "x"), 3000)
	add := func(name string, share int, value func() string) {
		m := NamedMetadata{Name: name}
		places := map[string]uint32{}
		for range s.Times {
			place := uint32(0)
			if r.IntN(100) < share {
				v := value()
				if place = places[v]; place == 0 {
					m.Values = append(m.Values, []byte(v))
					place = uint32(len(m.Values))
					places[v] = place
				}
			}
			m.Index = append(m.Index, place)
		}
		s.Metadata = append(s.Metadata, m)
	}
	s.Metadata = nil
	add("const", 100, func() string { return "one" })
	add("few", 60, func() string { return fmt.Sprint(r.IntN(5)) })
	add("hex", 90, func() string { return fmt.Sprintf("%016x", r.IntN(900)) })
	add("more", 90, func() string { return fmt.Sprint(r.IntN(700)) })
	add("rare", 1, func() string { return fmt.Sprint(r.Uint64()) })
	add("unique", 100, func() string { return fmt.Sprint(r.Uint64()) })
	add("uuid", 70, func() string { return fmt.Sprintf("%08x-0000-4000-8000-%012x", r.Uint32(), r.IntN(1<<40)) })
	_, seg := segmentOf(t, c, s)
	reader := uncached(c)
	for page := range seg.dir.pages {
		cols := &pageColumns{reader: reader, seg: seg, page: page}
		some := samplesOf(cols.Rows())
		for _, m := range append(s.Metadata, NamedMetadata{Name: "none"}) {
			want, err := cols.Metadata(context.Background(), m.Name)
			if err != nil {
				t.Fatal(err)
			}
			other := &pageColumns{reader: reader, seg: seg, page: page}
			got, err := other.Pick(context.Background(), m.Name, some)
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range some {
				a, hasA := got.Row(int(row))
				if b, hasB := want.Row(int(row)); hasA != hasB || !bytes.Equal(a, b) {
					t.Fatalf("%s of row %d is %q (%t) instead of %q (%t)", m.Name, row, a, hasA, b, hasB)
				}
			}
			other.Release()
			if _, err := other.Pick(context.Background(), m.Name, some); err != errReleased && m.Name != "none" {
				t.Fatalf("%s after the release: %v", m.Name, err)
			}
		}
		cols.Release()
	}
}

func BenchmarkPick(b *testing.B) {
	s := sampleRows(1, labels.FromStrings("app", "x"), 3000)
	p := newPageBuilder(pageRawTarget)
	n := samplePage(p, s)
	for _, m := range s.Metadata {
		stored := p.cols[m.Name].append(nil, p.rows)
		index := make([]uint32, n)
		b.Run(m.Name+"/one", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				clear(index)
				if _, err := pickMetadata(stored, []int32{int32(n / 2)}, index); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(m.Name+"/all", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var md column.Metadata
				var err error
				if md, err = decodeMetadata(stored, p.rows); err != nil || len(md.Index) != n {
					b.Fatal(err)
				}
			}
		})
	}
}
