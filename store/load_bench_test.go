package store

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"
)

// BenchmarkLoad makes streams and index of a segment of many streams, as the first query that needs them does.
func BenchmarkLoad(b *testing.B) {
	const streams = 100_000
	rows := make([]*StreamRows, streams)
	for i := range rows {
		app := fmt.Sprintf("app%02d", i%10)
		s := linesOf("one", "two", "three")
		for row := range s.Times {
			s.Times[row] = int64(uint32(i)*2654435761) + int64(row)*1e9
		}
		s.Labels = labels.FromStrings("app", app, "namespace", fmt.Sprint("ns-", i%5), "pod", fmt.Sprintf("%s-%08x", app, uint32(i)*2654435761))
		rows[i] = s
	}
	slices.SortFunc(rows, func(a, b *StreamRows) int { return labels.Compare(a.Labels, b.Labels) })
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	var buf bytes.Buffer
	if _, err := writeSegment(b.Context(), &buf, c, 512<<10, segmentNames{}, yieldAll(rows)); err != nil {
		b.Fatal(err)
	}
	bucket := oneObject(buf.Bytes())
	end, err := readEnd(context.Background(), bucket, "x", int64(buf.Len()))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := openEnd(bucket, c, "x", int64(buf.Len()), end); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("load", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := openEnd(bucket, c, "x", int64(buf.Len()), end)
			if err == nil {
				err = s.load()
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/streams, "ns/stream")
	})
}
