package loki_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"example.com/loki"
)

// TestManyStreams holds what streams cost on disk: the same lines in two thousand streams of ten each take little more
// than in ten streams, push to segment. Time is measured by internal/bench/streams.
func TestManyStreams(t *testing.T) {
	const lines = 20_000
	size := func(streams int) (bytes int64) {
		dir := t.TempDir()
		eng := open(t, loki.Config{Dir: dir})
		r := rand.New(rand.NewPCG(1, 2))
		at := time.Now().Add(-50 * time.Minute)
		batch := make([]loki.Line, 0, 1000)
		for i := range lines {
			k := i % streams
			at = at.Add(time.Duration(r.ExpFloat64() * float64(100*time.Millisecond)))
			batch = append(batch, loki.Line{
				Labels: fmt.Sprintf(`{app="app%02d", namespace="ns-%d", pod="app%02d-%08x"}`, k%10, k%5, k%10, uint32(k)*2654435761),
				Time:   at,
				Text: fmt.Sprintf(`{"level":"info","caller":"server.go:%d","msg":"request completed","path":"/api/v1/items/%d","duration_ms":%.3f,"user":"%016x"}`,
					r.IntN(400), r.IntN(5000), r.ExpFloat64()*20, r.Uint64()),
			})
			if len(batch) == cap(batch) {
				if err := eng.Push(t.Context(), batch...); err != nil {
					t.Fatal(err)
				}
				batch = batch[:0]
			}
		}
		if err := eng.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		err := filepath.WalkDir(filepath.Join(dir, "store"), func(_ string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil {
				bytes += info.Size()
			}
			return err
		})
		if err != nil || bytes == 0 {
			t.Fatal(bytes, err)
		}
		return bytes
	}
	few, many := size(10), size(lines/10)
	t.Logf("a line takes %.2f bytes in 10 streams and %.2f in %d", float64(few)/lines, float64(many)/lines, lines/10)
	if float64(many) > 1.08*float64(few) {
		t.Errorf("%d bytes instead of %d, %.1f %% more", many, few, 100*float64(many-few)/float64(few))
	}
}
