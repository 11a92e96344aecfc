package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// TestStartWithLog kills an ingester that holds a gigabyte of lines which are in its log alone, and says how long the
// next one takes until it is ready: below 5s on an idle machine of two cores.
func TestStartWithLog(t *testing.T) {
	if !*full {
		t.Skip("it takes long; see -e2e.full")
	}
	const pushes, pushBytes = 250, 4 << 20
	dir := t.TempDir()
	args := []string{"-server.http-listen-port=0", "-common.path-prefix", dir, "-log.level=info",
		"-ingester.chunk-target-size=37748736", // 24 times the default: nothing is cut before there is a gigabyte of lines
		"-ingester.wal-enabled=false",          // the log is written all the same, and not waited for
		"-distributor.ingestion-rate-limit-mb=10000", "-distributor.ingestion-burst-size-mb=10000", "-ingester.per-stream-rate-limit=10GB",
		"-ingester.per-stream-rate-limit-burst=10GB", "-validation.reject-old-samples=false"}
	p := process.Start(t, programs["monolithic"], args...)
	bodies := make(chan []byte, 2)
	var sending sync.WaitGroup
	for range 2 {
		sending.Go(func() {
			for b := range bodies {
				if status, text, err := process.Do(t.Context(), http.MethodPost, p.URL+"/loki/api/v1/push", "application/json", b); err != nil || status != http.StatusNoContent {
					t.Errorf("push = %d, %v: %s", status, err, text)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 2))
	at, lines := time.Now().UnixNano(), 0
	for range pushes {
		var b bytes.Buffer
		b.Grow(pushBytes * 2)
		b.WriteString(`{"streams":[`)
		for s, size := 0, 0; s < 50; s++ {
			if s > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"stream":{"app":"shop","pod":"p%d"},"values":[`, s)
			for first := true; size < pushBytes*(s+1)/50; first = false {
				if !first {
					b.WriteByte(',')
				}
				at += 1000
				line := fmt.Sprintf("level=info method=GET path=/api/v1/items/%d status=%d duration=%dms request_id=%016x user=%d msg=done",
					r.IntN(1000), 200+r.IntN(3)*100, r.IntN(5000), r.Uint64(), r.IntN(100000))
				fmt.Fprintf(&b, `["%d","%s"]`, at, line)
				size += len(line)
				lines++
			}
			b.WriteString(`]}`)
		}
		b.WriteString(`]}`)
		bodies <- b.Bytes()
	}
	close(bodies)
	sending.Wait()
	p.Kill()
	logged := int64(0)
	files, err := filepath.Glob(filepath.Join(dir, "wal", "0*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			logged += info.Size()
		}
	}
	began := time.Now()
	p = process.Start(t, programs["monolithic"], args...)
	took, cpu := time.Since(began), cpuTime(t, p.Pid())
	t.Logf("ready %s after the start, with %s of CPU, with %d MB of %d lines in %d MB of log",
		took.Round(10*time.Millisecond), cpu, pushes*pushBytes>>20, lines, logged>>20)
	if cpu > 15*time.Second {
		t.Error("that is too much")
	}
	until(t, "the lines are not there", func(ctx context.Context) error {
		_, text, err := process.Do(ctx, http.MethodGet, p.URL+"/loki/api/v1/query?query=sum(count_over_time(%7Bapp=%22shop%22%7D%5B1d%5D))&time="+
			strconv.FormatInt(at+1e9, 10), "", nil)
		if err == nil && !strings.Contains(string(text), strconv.Itoa(lines)) {
			err = fmt.Errorf("%s; should count %d", text, lines)
		}
		return err
	})
}

// cpuTime is what a process has used so far. It reads what Linux says of it.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Skip(err)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // user, system
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}
