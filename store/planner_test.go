package store_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/thanos-io/objstore"

	"example.com/loki/logql"
	"example.com/loki/store"
	"example.com/loki/store/storetest"
)

// readsBucket notes which objects are read.
type readsBucket struct {
	objstore.Bucket
	mu    sync.Mutex
	reads map[string]bool
}

func (b *readsBucket) GetRange(ctx context.Context, name string, off, length int64) (io.ReadCloser, error) {
	b.mu.Lock()
	if b.reads != nil {
		b.reads[name] = true
	}
	b.mu.Unlock()
	return b.Bucket.GetRange(ctx, name, off, length)
}

// putHours writes a segment for each of n hours, each reaching a little into the next, with streams of two
// rows.
func putHours(t testing.TB, s *store.Store, n, streams int) {
	t.Helper()
	const hour = int64(3600e9)
	for h := range n {
		var entries []storetest.Entry
		for i := range streams {
			ls := labels.FromStrings("app", fmt.Sprintf("app-%d", i%10), "pod", fmt.Sprintf("pod-%06d", i))
			for _, at := range []int64{int64(h) * hour, int64(h)*hour + hour + hour/10 + int64(i)} {
				entries = append(entries, storetest.Entry{Labels: ls, Time: at, Line: fmt.Sprintf("line %d of %d", i, h)})
			}
		}
		storetest.Put(t, storetest.Tenant("a"), s, storetest.ID(h+1), entries)
	}
}

// TestSelectInOrder checks that pages come in order over many segments in both directions, all of them, and
// that a reader that stops early opens the segments alone that it needs.
func TestSelectInOrder(t *testing.T) {
	ctx := storetest.Tenant("a")
	for _, d := range []logql.Direction{logql.Backward, logql.Forward} {
		bucket := &readsBucket{Bucket: objstore.NewInMemBucket()}
		s := start(t, store.Config{RefreshInterval: -1}, bucket)
		putHours(t, s, 20, 30)
		bucket.reads = map[string]bool{}
		req := &logql.SelectRequest{End: 1 << 62, Direction: d}
		for b, err := range s.Select(ctx, req) {
			if err != nil {
				t.Fatal(err)
			}
			b.Release()
			break
		}
		if n := len(bucket.reads); n == 0 || n > 4 {
			t.Errorf("%s: %d segments were opened for the first page", d, n)
		}
		rows, last := 0, int64(-1)
		for b, err := range s.Select(ctx, req) {
			if err != nil {
				t.Fatal(err)
			}
			edge := b.MinTime
			if d == logql.Backward {
				edge = 1<<62 - b.MaxTime
			}
			if edge < last {
				t.Errorf("%s: a page from %d to %d comes too late", d, b.MinTime, b.MaxTime)
			}
			last = edge
			for _, r := range b.Runs {
				rows += r.To - r.From
				if !r.Shared {
					t.Errorf("%s: run of %d to %d overlaps the next segment and is not marked", d, r.MinTime, r.MaxTime)
				}
			}
			b.Release()
		}
		if rows != 20*30*2 {
			t.Errorf("%s: %d rows, want %d", d, rows, 20*30*2)
		}
	}
}
