package store

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/logql/column"
)

// TestRewritePieces writes a stream in pieces of all sizes and reads the same segment as from one piece.
func TestRewritePieces(t *testing.T) {
	ctx := user.InjectOrgID(context.Background(), "a")
	st, err := New(Config{PageBytes: 4 << 10}, objstore.NewInMemBucket(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(ctx, st); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = services.StopAndAwaitTerminated(context.Background(), st) }()
	const rows = 3000
	piece := func(ls labels.Labels, from, to int) *StreamRows {
		s := &StreamRows{Labels: ls, Lines: column.Lines{Offsets: []uint32{0}}, Metadata: []NamedMetadata{{Name: "n"}}}
		for i := from; i < to; i++ {
			s.Times = append(s.Times, int64(i/2)*1e6)
			s.Lines.Data = append(s.Lines.Data, fmt.Sprintf("line number %d", i)...)
			s.Lines.Offsets = append(s.Lines.Offsets, uint32(len(s.Lines.Data)))
			s.Metadata[0].Values = append(s.Metadata[0].Values, fmt.Appendf(nil, "v%d", i%7))
			s.Metadata[0].Index = append(s.Metadata[0].Index, uint32(i-from+1))
		}
		return s
	}
	var want map[string]bool
	for n, size := range []int{rows, 1, 7, 100, 999} {
		id := ulid.ULID{15: byte(n + 1)}
		info, err := st.Rewrite(ctx, id, func(yield func(*StreamRows, error) bool) {
			for _, app := range []string{"a", "b"} {
				for from := 0; from < rows; from += size {
					if !yield(piece(labels.FromStrings("app", app), from, min(rows, from+size)), nil) {
						return
					}
				}
			}
		}, RewriteOptions{CompressionLevel: 3})
		if err != nil {
			t.Fatalf("pieces of %d: %v", size, err)
		}
		if info.Rows != 2*rows || info.Streams != 2 {
			t.Errorf("pieces of %d: %d rows of %d streams", size, info.Rows, info.Streams)
		}
		seg, err := st.Open(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if err := seg.Verify(ctx, nil); err != nil {
			t.Errorf("pieces of %d: %v", size, err)
		}
		got := map[string]bool{}
		for b, err := range seg.Batches(math.MinInt64, math.MaxInt64) {
			if err != nil {
				t.Fatal(err)
			}
			times, err := b.Times(ctx)
			if err != nil {
				t.Fatal(err)
			}
			lines, err := b.Lines(ctx)
			if err != nil {
				t.Fatal(err)
			}
			md, err := b.Metadata(ctx, "n")
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range b.Runs {
				for i := r.From; i < r.To; i++ {
					v, _ := md.Row(i)
					got[fmt.Sprintf("%s %d %s %s", r.Stream.Labels, times[i], lines.Row(i), v)] = true
				}
			}
			b.Release()
		}
		seg.Close()
		if want == nil {
			want = got
		}
		if len(got) != len(want) || len(got) != 2*rows {
			t.Errorf("pieces of %d: %d rows, want %d", size, len(got), 2*rows)
		}
		for k := range want {
			if !got[k] {
				t.Fatalf("pieces of %d: %s is missing", size, k)
			}
		}
	}
}

// TestReplacedParts reads a part that was replaced after a snapshot was taken, and remembers its name after
// its removal.
func TestReplacedParts(t *testing.T) {
	ctx := user.InjectOrgID(context.Background(), "a")
	bucket := objstore.NewInMemBucket()
	st, err := New(Config{}, bucket, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := services.StartAndAwaitRunning(ctx, st); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = services.StopAndAwaitTerminated(context.Background(), st) }()
	one := func(yield func(*StreamRows, error) bool) {
		yield(&StreamRows{Labels: labels.FromStrings("a", "b"), Times: []int64{1}, Lines: column.Lines{Data: []byte("x"), Offsets: []uint32{0, 1}}}, nil)
	}
	old, fresh := ulid.ULID{15: 1}, ulid.ULID{15: 2}
	if _, err := st.Put(ctx, old, one); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Rewrite(ctx, fresh, one, RewriteOptions{Replaces: []ulid.ULID{old}}); err != nil {
		t.Fatal(err)
	}
	// Beyond the rows of the fresh one, but where the late one had some.
	late, empty := ulid.ULID{15: 3}, ulid.ULID{15: 4}
	rows := func(at ...int64) Rows {
		return func(yield func(*StreamRows, error) bool) {
			if len(at) > 0 {
				yield(&StreamRows{Labels: labels.FromStrings("a", "c"), Times: at, Lines: column.Lines{Offsets: make([]uint32, len(at)+1)}}, nil)
			}
		}
	}
	if _, err := st.Put(ctx, late, rows(100, 200)); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Rewrite(ctx, empty, rows(), RewriteOptions{Replaces: []ulid.ULID{late}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		start, end int64
		want       []ulid.ULID
	}{{0, 100, []ulid.ULID{fresh}}, {0, 101, []ulid.ULID{fresh, empty}}, {150, 160, []ulid.ULID{empty}}, {201, 300, nil}} {
		infos, err := st.Segments(ctx, c.start, c.end)
		var got []ulid.ULID
		for _, i := range infos {
			got = append(got, i.ID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("segments from %d to %d: %v, %v, want %v", c.start, c.end, got, err, c.want)
		}
	}
	for _, id := range []ulid.ULID{late, empty} {
		if err := bucket.Delete(ctx, SegmentPath("a", id)); err != nil {
			t.Fatal(err)
		}
		if err := st.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		if infos, err := st.Segments(ctx, 150, 160); err != nil || len(infos) != 0 {
			t.Errorf("segments in place of one that is removed: %v, %v", infos, err)
		}
	}
	count := func(parts []string) (n int) {
		for b, err := range st.Select(ctx, &logql.SelectRequest{Matchers: []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "a", "b")}, End: 10, Parts: parts}) {
			if err != nil {
				t.Fatal(err)
			}
			n += b.Runs[0].To - b.Runs[0].From
			b.Release()
		}
		return n
	}
	if n := count(nil); n != 1 {
		t.Errorf("%d rows", n)
	}
	if n := count([]string{old.String()}); n != 1 {
		t.Errorf("%d rows of the replaced part", n)
	}
	held, err := st.Held(ctx)
	if err != nil || len(held) != 2 || !held[0].Replaced || held[1].Replaced {
		t.Errorf("held: %v, %v", held, err)
	}
	for range 2 {
		if err := st.Remove(ctx, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if ok, err := st.Exists(ctx, old); err != nil || !ok {
		t.Errorf("a replaced part does not exist any more: %v", err)
	}
	if _, err := st.Put(ctx, old, one); err != nil || len(bucket.Objects()) != 1 {
		t.Errorf("a replaced part was put again: %v", err)
	}
}
