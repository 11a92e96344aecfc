package frontend

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// TestCutShards checks that shards of random streams leave no hash out, have all that there is, and are of the size asked for.
func TestCutShards(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var streams []logql.StreamVolume
		var bytes, largest int64
		for i := range r.IntN(6000) {
			v := logql.StreamVolume{Labels: labels.FromStrings("pod", fmt.Sprint(i)), Entries: 1, Chunks: 2, Bytes: int64(r.IntN(1000))}
			streams = append(streams, v)
			bytes, largest = bytes+v.Bytes, max(largest, v.Bytes)
		}
		target := 1 + r.Int64N(bytes+10)
		if r.IntN(3) == 0 {
			target = 1 + r.Int64N(100)
		}
		shards := cutShards(streams, target)
		next, sum := uint64(0), IndexStats{}
		for i, s := range shards {
			if s.Min != next || s.Max < s.Min {
				t.Fatalf("shard %d is from %d to %d, want one from %d", i, s.Min, s.Max, next)
			}
			next = s.Max + 1
			sum.Streams, sum.Chunks, sum.Entries, sum.Bytes = sum.Streams+s.Streams, sum.Chunks+s.Chunks, sum.Entries+s.Entries, sum.Bytes+s.Bytes
			if size := max(target, bytes/(MaxIndexShards-1)+1); s.Bytes > size+largest && i < MaxIndexShards-1 {
				t.Errorf("a shard has %d bytes, want about %d", s.Bytes, size)
			}
		}
		n := int64(len(streams))
		if want := (IndexStats{Streams: n, Chunks: 2 * n, Entries: n, Bytes: bytes}); next != 0 || sum != want {
			t.Errorf("shards as far as %d have %+v, want %+v", next-1, sum, want)
		}
		if len(shards) > MaxIndexShards || int64(len(shards)) > 2*bytes/target+1 {
			t.Errorf("%d shards of %d bytes for %d", len(shards), target, bytes)
		}
	}
	if got := cutShards(nil, 1); len(got) != 1 || got[0] != (IndexShard{Max: math.MaxUint64}) {
		t.Errorf("shards of nothing: %+v", got)
	}
}
