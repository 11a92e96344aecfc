package crashtest

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/thanos-io/objstore"

	"example.com/loki/compactor"
	"example.com/loki/internal/crashtest/process"
	"example.com/loki/store"
	"example.com/loki/store/s3"
)

var gateway = flag.String("crash.s3", "", "program of versitygw: TestKillCompactor keeps segments in S3")

// storage returns flags that say where segments are, and the bucket itself.
func storage(t *testing.T, dir string) ([]string, objstore.Bucket) {
	t.Helper()
	if *gateway == "" {
		bucket, err := store.NewFilesystemBucket(filepath.Join(dir, "store"))
		if err != nil {
			t.Fatal(err)
		}
		return nil, bucket
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	files := t.TempDir()
	if err := os.Mkdir(filepath.Join(files, "logs"), 0o777); err != nil { // the bucket
		t.Fatal(err)
	}
	process.Launch(t, *gateway, "--access", "tester", "--secret", "tester-secret", "--port", addr, "posix", files)
	bucket, err := s3.NewBucket(s3.Config{
		Bucket: "logs", Endpoint: addr, Insecure: true, PathStyle: true, AccessKey: "tester", SecretKey: "tester-secret", Region: "us-east-1",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bucket.Close() })
	for deadline := time.Now().Add(time.Minute); bucket.Check(t.Context()) != nil; pause(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the S3 server does not start")
		}
	}
	return []string{"-common.storage.s3.buckets=logs", "-common.storage.s3.endpoint", addr, "-common.storage.s3.insecure",
		"-common.storage.s3.force-path-style", "-common.storage.s3.access-key-id=tester", "-common.storage.s3.secret-access-key=tester-secret",
		"-common.storage.s3.region=us-east-1"}, bucket
}

// remove asks for the deletion of one entry in ten from first to end, all of which are acknowledged.
func (l *ledger) remove(ctx context.Context, base string, first, end int) {
	digit := first / batchSize % 10
	params := url.Values{
		"query": {fmt.Sprintf(`%s |~ "entry [0-9]*%d "`, l.stream(), digit)},
		"start": {time.Unix(0, l.time(first)).UTC().Format(time.RFC3339Nano)}, "end": {time.Unix(0, l.time(end-1)).UTC().Format(time.RFC3339Nano)},
	}
	status, _, err := process.Do(ctx, http.MethodPost, base+"/loki/api/v1/delete?"+params.Encode(), "", nil)
	for n := first; n < end; n++ {
		switch {
		case n%10 != digit:
		case err == nil && status == http.StatusNoContent:
			l.gone[n] = true
		default:
			l.unsure[n] = true
		}
	}
}

// TestKillCompactor kills the server at random moments while it merges and deletes, beside clients that push.
// What was acknowledged and not deleted must be there once, what was deleted never, and in the end nothing is left
// of what was replaced.
func TestKillCompactor(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("-crash.seed=%d", *seed)
	rnd := rand.New(rand.NewPCG(*seed, 2))
	dir := t.TempDir()
	where, bucket := storage(t, dir)
	args := append(append(flags(dir), where...), "-compactor.compaction-interval=20ms", "-compactor.delete-request-cancel-period=100ms",
		// Longer than any query of this test runs, so that no answer depends on the speed of the machine.
		"-ingester.handover-window=5s", "-compactor.min-age=5100ms", "-compactor.retention-delete-delay=5s",
		"-compactor.max-segment-size=512KB", "-compactor.bytes-per-second=4MB")
	base := time.Now().Add(-time.Minute).UnixNano()
	ledgers := make([]*ledger, clients)
	for i := range ledgers {
		ledgers[i] = &ledger{client: i, base: base, gone: map[int]bool{}, unsure: map[int]bool{}}
	}
	verify := func(p *process.Process) {
		t.Helper()
		for _, l := range ledgers {
			l.verify(t, p.URL)
		}
	}
	kills, merged := 0, 0.0
	began := time.Now()
	// What is pushed in the first rounds is merged in the later ones.
	for n := 0; n < *rounds || time.Since(began) < 10*time.Second; n++ {
		p := process.Launch(t, server, args...)
		if err := p.AwaitReady(t.Context()); err != nil {
			t.Fatal(err)
		}
		verify(p)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i, l := range ledgers {
			var batches []int // of which some entries are to be deleted
			for range 3 {
				if l.sent == 0 {
					break
				}
				first := rnd.IntN(l.sent/batchSize) * batchSize
				if l.acked[first] && !slices.Contains(batches, first) {
					batches = append(batches, first)
				}
			}
			wg.Go(func() {
				for _, first := range batches {
					l.remove(ctx, p.URL, first, first+batchSize)
				}
				l.push(ctx, p.URL, i%2 == 0)
			})
		}
		wg.Go(func() {
			for ctx.Err() == nil { // many small segments
				_, _, _ = process.Do(ctx, http.MethodPost, p.URL+"/flush", "", nil) // it may be killed meanwhile
				select {
				case <-time.After(50 * time.Millisecond):
				case <-ctx.Done():
				}
			}
		})
		pause(100*time.Millisecond + time.Duration(rnd.Int64N(int64(900*time.Millisecond))))
		merged += scrape(ctx, p.URL)["loki_compactor_segments_merged_total"]
		p.Kill()
		kills++
		cancel()
		wg.Wait()
	}

	p := process.Start(t, server, args...)
	verify(p)
	var report *compactor.FsckReport
	settled := func() bool {
		var err error
		if report, err = compactor.Fsck(t.Context(), bucket, compactor.FsckOptions{Checksums: true}); err != nil {
			t.Fatal(err)
		}
		if len(report.Problems) > 0 {
			t.Fatalf("after %d kills: %v", kills, report.Problems)
		}
		if report.Replaced > 0 {
			return false
		}
		_, body, err := process.Do(t.Context(), http.MethodGet, p.URL+"/loki/api/v1/delete", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(body), `"status"`) == strings.Count(string(body), `"status":"processed"`)
	}
	if status, body, err := process.Do(t.Context(), http.MethodPost, p.URL+"/flush", "", nil); err != nil || status >= 300 {
		t.Fatalf("flush = %d, %v: %s", status, err, body)
	}
	for deadline := time.Now().Add(3 * time.Minute); !settled(); pause(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the store does not settle: %+v", report)
		}
	}
	total, last := 0, ledgers[0].time(0)
	gone := 0
	for _, l := range ledgers {
		total += l.verify(t, p.URL)
		last = max(last, l.time(l.sent))
		gone += len(l.gone)
	}
	if n := count(t, p.URL, base-1, last); n != total {
		t.Errorf("count_over_time says %d entries, reading them %d", n, total)
	}
	merged += scrape(t.Context(), p.URL)["loki_compactor_segments_merged_total"]
	t.Logf("%d kills, %d entries are left and %d deleted, in %d segments; %d delete requests; at least %v segments were merged",
		kills, total, gone, report.Segments, report.Requests, merged)
	if total == 0 || gone == 0 || merged == 0 {
		t.Error("nothing was stored, nothing deleted, or nothing merged")
	}
	if code, err := p.Terminate(); err != nil || code != 0 {
		t.Errorf("exit code %d, %v:\n%s", code, err, p.Output())
	}
}

// scrape returns the metrics without labels, none if there is no answer.
func scrape(ctx context.Context, base string) map[string]float64 {
	_, body, err := process.Do(ctx, http.MethodGet, base+"/metrics", "", nil)
	if err != nil {
		return nil
	}
	out := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if f, err := strconv.ParseFloat(value, 64); ok && err == nil {
			out[name] = f
		}
	}
	return out
}
