package wire

import (
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// TestVolumesOfManyStreams sends a volume whose streams need several messages.
func TestVolumesOfManyStreams(t *testing.T) {
	v := logql.StreamVolume{Labels: labels.FromStrings("app", "x"), Entries: 5, Bytes: 50, Chunks: 2, Writers: []string{"a", "b"}}
	for i := range uint64(300_000) {
		v.Streams = append(v.Streams, i*i)
	}
	plain := logql.StreamVolume{Labels: labels.FromStrings("app", "y"), Entries: 1, Bytes: 10, Chunks: 1}
	msgs := EncodeVolumes([]logql.StreamVolume{v, plain})
	if len(msgs) != 4 {
		t.Fatalf("%d messages, want 4", len(msgs))
	}
	for _, m := range msgs {
		if n := m.SizeVT(); n > PieceSize+1000 {
			t.Errorf("a message of %d bytes", n)
		}
	}
	var d VolumeDecoder
	got, err := d.Append(nil, msgs)
	if err != nil {
		t.Fatal(err)
	}
	got = logql.AddVolumes(got)
	if len(got) != 2 || got[0].Entries != 5 || got[0].Bytes != 50 || got[0].Chunks != 2 || !slices.Equal(got[0].Writers, v.Writers) ||
		!slices.Equal(got[0].Streams, v.Streams) {
		t.Errorf("%d volumes, the first %d entries of %d streams", len(got), got[0].Entries, len(got[0].Streams))
	}
	if got[1].Entries != 1 || got[1].Streams != nil {
		t.Errorf("the other is %+v", got[1])
	}
}
