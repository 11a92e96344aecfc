package store

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/grafana/dskit/services"
	"github.com/grafana/dskit/user"
	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
)

// TestRuledOut looks for a text: segments that do not have it are not loaded, and what has it comes as before, doubles in
// segments that overlap marked.
func TestRuledOut(t *testing.T) {
	bucket := objstore.NewInMemBucket()
	open := func() *Store {
		s, err := New(Config{RefreshInterval: -1}, bucket, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := services.StartAndAwaitRunning(context.Background(), s); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := services.StopAndAwaitTerminated(context.Background(), s); err != nil {
				t.Error(err)
			}
		})
		return s
	}
	ctx := user.InjectOrgID(context.Background(), "a")
	s := open()
	const segments = 6
	for n := range segments {
		var rows []*StreamRows
		for i := range 100 {
			r := linesOf(fmt.Sprintf("something common %d", i), fmt.Sprintf("only in segment%04d of row%04d", n/2, i))
			r.Labels = labels.FromStrings("app", "x", "pod", fmt.Sprintf("%03d", i))
			rows = append(rows, r)
		}
		if _, err := s.Put(ctx, ulid.ULID{15: byte(n + 1)}, yieldAll(rows)); err != nil {
			t.Fatal(err)
		}
	}
	for _, loaded := range []bool{false, true} {
		s := open()
		if loaded {
			if _, err := s.Series(ctx, 0, 1<<62, nil); err != nil {
				t.Fatal(err)
			}
		}
		req := &logql.SelectRequest{End: 1 << 62, Contains: []logql.Needle{{Text: "segment0001 of row0042"}}}
		found := 0
		for b, err := range s.Select(ctx, req) {
			if err != nil {
				t.Fatal(err)
			}
			lines, err := b.Columns.Lines(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range b.Runs {
				for row := r.From; row < r.To; row++ {
					if bytes.Contains(lines.Data[lines.Offsets[row]:lines.Offsets[row+1]], []byte("segment0001 of row0042")) {
						found++
						if !r.Shared {
							t.Error("a double is not marked")
						}
					}
				}
			}
			b.Release()
		}
		if found != 2 {
			t.Errorf("found %d times, want twice", found)
		}
		n := 0
		for _, h := range s.open.entries {
			if h.val.loaded() {
				n++
			}
			if want := h.val.memory(); h.cost != want {
				t.Errorf("a segment that takes %d bytes counts as %d", want, h.cost)
			}
		}
		if want := map[bool]int{false: 2, true: segments}[loaded]; n != want {
			t.Errorf("%d segments are loaded, want %d", n, want)
		}
	}
}
