package ingester

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// BenchmarkSegment hands the rows of a part to the store: 300,000 streams of a line, which came in another order than that
// of their labels.
func BenchmarkSegment(b *testing.B) {
	const streams = 300_000
	p := newPart(ulid.ULID{}, time.Time{})
	r := rand.New(rand.NewPCG(1, 2))
	for n := range streams {
		app := fmt.Sprintf("app%02d", n%10)
		ls := labels.FromStrings("app", app, "namespace", fmt.Sprint("ns-", n%5), "pod", fmt.Sprintf("%s-%08x", app, uint32(n)*2654435761))
		s := p.add(labels.StableHash(ls), ls, p.nextRef, 0)
		line := logLine(r, nil)
		p.append(line, &entries{rows: []row{{time: int64(n), len: uint32(len(line))}}, spans: []span{{n: 1, stream: s}}, linesHi: len(line)}, false)
	}
	t := &tenant{}
	sum := 0
	for b.Loop() {
		for s, err := range p.segment(context.Background(), t) {
			if err != nil {
				b.Fatal(err)
			}
			// As the writer, which copies the lines and looks at the labels.
			for _, c := range s.Lines.Data {
				sum += int(c)
			}
			sum += s.Labels.Len()
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/streams, "ns/stream")
	if sum == 0 {
		b.Fatal("no lines")
	}
}
