package logql

import (
	"strconv"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
)

func TestMergeVolumes(t *testing.T) {
	app := labels.FromStrings("app", "x")
	of := func(n int64, writers ...string) StreamVolume {
		return StreamVolume{Labels: app, Entries: n, Bytes: 10 * n, Chunks: 1, Writers: writers}
	}
	for _, c := range []struct {
		name   string
		factor int
		in     []StreamVolume
		want   int64
	}{
		{"one process", 1, []StreamVolume{of(5), of(7)}, 12},
		{"copies", 3, []StreamVolume{of(5, "a"), of(5, "b"), of(5, "c")}, 5},
		{"copies cut at different times", 3, []StreamVolume{of(5, "a"), of(2, "b"), of(3, "b"), of(1, "c"), of(4, "c")}, 5},
		{"one lacks some", 3, []StreamVolume{of(5, "a"), of(2, "b"), of(5, "c")}, 5},
		{"moved to another", 3, []StreamVolume{of(4, "a"), of(9, "b"), of(9, "c"), of(5, "d")}, 9},
		{"moved to three others", 3, []StreamVolume{of(4, "a"), of(4, "b"), of(4, "c"), of(5, "d"), of(5, "e"), of(5, "f")}, 9},
		{"no copies, moved", 1, []StreamVolume{of(4, "a"), of(5, "b")}, 9},
		{"merged and newer", 3, []StreamVolume{of(4, "a", "b", "c"), of(5, "a"), of(5, "b"), of(5, "c")}, 9},
		{"merged before a third copy was there", 3, []StreamVolume{of(4, "a", "b"), of(4, "c")}, 4},
		{"merged, no copies", 1, []StreamVolume{of(9, "a", "b"), of(5, "b")}, 14},
		{"merged of more than the factor", 3, []StreamVolume{of(9, "a", "b", "c", "d"), of(3, "d"), of(3, "a"), of(3, "b")}, 12},
	} {
		got := MergeVolumes(c.in, c.factor)
		if len(got) != 1 || got[0].Entries != c.want || got[0].Bytes != 10*c.want || got[0].Writers != nil {
			t.Errorf("%s: %+v, want %d entries", c.name, got, c.want)
		}
	}
	other := labels.FromStrings("app", "y")
	got := MergeVolumes([]StreamVolume{{Labels: other, Entries: 1}, of(5, "a"), of(5, "b")}, 2)
	if len(got) != 2 || !labels.Equal(got[0].Labels, app) || got[0].Entries != 5 || got[1].Entries != 1 {
		t.Errorf("two streams: %+v", got)
	}
}

// TestCountStreams counts the streams of volumes of all streams, which several places have.
func TestCountStreams(t *testing.T) {
	of := func(from, to int) (vs []StreamVolume) {
		for i := from; i < to; i++ {
			vs = append(vs, StreamVolume{Labels: labels.FromStrings("app", "x", "pod", strconv.Itoa(i)), Entries: 1, Chunks: 1})
		}
		return vs
	}
	a, b := GroupVolumes(of(0, 3000), []string{}), GroupVolumes(of(2000, 5000), nil)
	both := MergeVolumes(append(a, b...), 1)
	if len(both) != 1 || both[0].Entries != 6000 || !both[0].Labels.IsEmpty() {
		t.Fatalf("%d volumes, the first of %d entries, want one of 6000", len(both), both[0].Entries)
	}
	// One more place that has one stream more, whose hash is 0.
	all := append(both, StreamVolume{Streams: []uint64{0, a[0].Streams[7], 0}})
	if n := CountStreams(all); n != 5001 {
		t.Errorf("%d streams, want 5001", n)
	}
	if n := CountStreams(nil); n != 0 {
		t.Errorf("%d streams of nothing", n)
	}
	if vs := GroupVolumes(of(0, 2), []string{"app"}); vs[0].Streams != nil {
		t.Errorf("streams of a group: %v", vs[0].Streams)
	}
}
