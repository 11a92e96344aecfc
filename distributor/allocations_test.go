//go:build !race

// With the race detector, pools drop what they are given at random.

package distributor

import (
	"context"
	"fmt"
	"testing"

	"github.com/grafana/dskit/user"

	"example.com/loki/ingester"
	"example.com/loki/limits"
)

// nobody takes pushes and forgets them.
type nobody struct{}

func (nobody) Push(context.Context, *ingester.PushRequest) error { return nil }

// TestAllocationsOfStreams checks what a push allocates for each stream that is pushed for the first time: its labels, and
// room in the table of rates.
func TestAllocationsOfStreams(t *testing.T) {
	d, err := New(Config{Now: stoppedClock}, nobody{}, limits.Fixed(limits.Default()), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := user.InjectOrgID(context.Background(), "a")
	const streams, runs = 2000, 5
	var pushes [runs + 1]PushRequest
	for n := range pushes {
		for k := range streams {
			pushes[n].Streams = append(pushes[n].Streams, Stream{
				Text:    fmt.Sprintf(`{app="app%d", pod="%d-%d"}`, k%10, n, k),
				Entries: []ingester.Entry{entryAt(stopped, "x")},
			})
		}
	}
	n := 0
	allocs := testing.AllocsPerRun(runs, func() {
		if err := d.Push(ctx, &pushes[n]); err != nil {
			t.Fatal(err)
		}
		n++
	})
	if perStream := allocs / streams; perStream > 4 {
		t.Errorf("%.2f allocations a stream", perStream)
	}
}
