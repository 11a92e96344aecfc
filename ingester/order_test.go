package ingester

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql/column"
)

// TestLabelOrder compares the order of streams with that of labels.Compare, for labels that agree in long parts, end early, or
// have zeros.
func TestLabelOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"a", "aa", "aaaaaaaa", "aaaaaaaaa", "a\x00", "a\x00b", "a\x00\xff", "\x00", "\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\xff", "b", "zone", "zone-eu-west-1a"}
	seen := map[string]bool{}
	var streams []*stream
	for range 4000 {
		var b labels.ScratchBuilder
		for _, name := range []string{"a", "aaaaaaaa", "aaaaaaaab", "b"} {
			if r.IntN(3) > 0 {
				b.Add(name, words[r.IntN(len(words))])
			}
		}
		ls := b.Labels()
		if !seen[ls.String()] {
			seen[ls.String()] = true
			streams = append(streams, &stream{Stream: *column.NewStream(ls)})
		}
	}
	r.Shuffle(len(streams), func(i, j int) { streams[i], streams[j] = streams[j], streams[i] })
	want := slices.Clone(streams)
	slices.SortFunc(want, func(a, b *stream) int { return labels.Compare(a.Labels, b.Labels) })
	got := inLabelOrder(streams)
	for n := range want {
		if got[n] != want[n] {
			t.Fatalf("of %d streams, number %d is %s instead of %s", len(want), n, got[n].Labels, want[n].Labels)
		}
	}
}
