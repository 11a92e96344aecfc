package store

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/prometheus/model/labels"

	"example.com/loki/logql"
)

// volumesByRun is what addVolume must say of each stream: run by run.
func volumesByRun(t *testing.T, x *selected, start, end int64) (out []logql.StreamVolume) {
	t.Helper()
	m := streamMaker{index: x.seg.index}
	table := x.seg.table
	for n := range x.streams.each() {
		from, to := table.runsOf(n, start, end)
		if from == to {
			continue
		}
		st, err := m.stream(n)
		if err != nil {
			t.Fatal(err)
		}
		v := logql.StreamVolume{Labels: st.Labels, Chunks: 1, Writers: x.seg.info.Writers}
		for r := from; r < to; r++ {
			a, b := table.rows(r)
			f := overlap(table.min[r], table.max[r], start, end)
			v.Entries += scale(int64(b-a), f)
			v.Bytes += scale(table.bytes(r), f)
		}
		out = append(out, v)
	}
	return out
}

// TestVolumes compares volumes that come from sums of pages with those of each run.
func TestVolumes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := newCodec(zstd.SpeedFastest)
	defer c.close()
	var rows []*StreamRows
	const last = 2000
	for app := range 4 {
		for pod := range 30 {
			lines := make([]string, 1+r.IntN(4))
			if r.IntN(10) == 0 {
				lines = make([]string, 200) // of several pages
			}
			for i := range lines {
				lines[i] = strings.Repeat("x", r.IntN(50))
			}
			s := linesOf(lines...)
			s.Labels = labels.FromStrings("app", fmt.Sprint(app), "pod", fmt.Sprintf("%02d", pod))
			at := r.Int64N(last)
			for i := range s.Times {
				at += r.Int64N(3)
				s.Times[i] = at
			}
			rows = append(rows, s)
		}
	}
	var b bytes.Buffer
	if _, err := writeSegment(context.Background(), &b, c, 1000, segmentNames{}, yieldAll(rows)); err != nil {
		t.Fatal(err)
	}
	seg, err := openSegment(context.Background(), oneObject(b.Bytes()), c, "x", int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if len(seg.dir.pages) < 10 {
		t.Fatalf("%d pages", len(seg.dir.pages))
	}
	for i := range 300 {
		start, end := r.Int64N(last+600)-100, r.Int64N(last+600)
		if i%4 == 0 {
			start, end = 0, 10*last
		}
		x := &selected{seg: seg}
		for from := r.IntN(20); from < len(rows); from += 1 + r.IntN(80) {
			to := min(from+1+r.IntN(60), len(rows))
			x.streams = x.streams.add(uint32(from), uint32(to))
			from = to
		}
		if i%8 == 0 {
			x.streams = streamSet{{0, uint32(len(rows))}}
		}
		want := volumesByRun(t, x, start, end)
		got, err := x.volumes(nil, start, end)
		if err != nil {
			t.Fatal(err)
		}
		if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("streams %v in [%d, %d): volumes %v, want %v", x.streams, start, end, got, want)
		}
		streams := len(want)
		for _, by := range [][]string{{}, {"app"}, {"app", "none"}, {"pod"}} {
			want := logql.GroupVolumes(append([]logql.StreamVolume(nil), want...), by)
			grouped, err := x.groupVolumes(nil, start, end, by)
			if err != nil {
				t.Fatal(err)
			}
			got := logql.AddVolumes(grouped)
			if a, b := logql.CountStreams(got), logql.CountStreams(want); len(by) == 0 && (a != b || a != int64(streams)) {
				t.Fatalf("streams %v in [%d, %d): %d of them, want %d, which is %d", x.streams, start, end, a, b, streams)
			}
			if len(got)+len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("streams %v in [%d, %d) by %q: volumes %v, want %v", x.streams, start, end, by, got, want)
			}
		}
	}
}
