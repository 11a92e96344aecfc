//go:build !race

package ingester

import (
	"fmt"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
)

// TestAllocationsOfStreams checks what a part allocates for each of very many streams of a row: they share what they are
// made of.
func TestAllocationsOfStreams(t *testing.T) {
	const streams = 20_000
	sets := make([]labels.Labels, streams)
	hashes := make([]uint64, streams)
	for n := range sets {
		sets[n] = labels.FromStrings("app", "x", "pod", fmt.Sprint(n))
		hashes[n] = labels.StableHash(sets[n])
	}
	payload := []byte("a line")
	allocs := testing.AllocsPerRun(3, func() {
		p := newPart(ulid.ULID{1}, time.Unix(0, 0))
		for n := range sets {
			s := p.add(hashes[n], sets[n], p.nextRef, 0)
			e := entries{
				spans: []span{{ref: s.ref, n: 1, stream: s}}, rows: []row{{time: int64(n), len: 6}}, linesHi: len(payload),
			}
			p.append(payload, &e, false)
		}
	})
	// The spans and rows of the test are two.
	if perStream := allocs / streams; perStream > 2.1 {
		t.Errorf("%.2f allocations a stream", perStream)
	}
}
