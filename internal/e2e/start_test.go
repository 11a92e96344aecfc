package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// TestStartWithLog kills an ingester whose log is large, and says how long the next one takes until it is
// ready: below 5s on an idle machine of two cores.
func TestStartWithLog(t *testing.T) {
	if !*full {
		t.Skip("it takes long; see -e2e.full")
	}
	usual := []string{"-ingester.wal-enabled=false", // the log is written all the same, and not waited for
		"-auth.enabled", "-distributor.ingestion-rate-limit-mb=10000", "-distributor.ingestion-burst-size-mb=10000",
		"-ingester.per-stream-rate-limit=10GB", "-ingester.per-stream-rate-limit-burst=10GB", "-validation.reject-old-samples=false"}
	// A gigabyte of lines that are in the log alone: five times what an ingester holds that is not configured otherwise.
	t.Run("heads", func(t *testing.T) {
		startWithLog(t, append(usual, "-ingester.chunk-target-size=37748736"), 1000<<20, func(b []byte, r *rand.Rand) []byte {
			return fmt.Appendf(b, "level=info method=GET path=/api/v1/items/%d status=%d duration=%dms request_id=%016x user=%d msg=done",
				r.IntN(1000), 200+r.IntN(3)*100, r.IntN(5000), r.Uint64(), r.IntN(100000))
		})
	})
	// An ingester as it is configured, and lines that hardly compress: nearly all of them are in segments.
	t.Run("log", func(t *testing.T) {
		startWithLog(t, usual, 900<<20, func(b []byte, r *rand.Rand) []byte {
			b = append(b, "token="...)
			for range 12 {
				b = strconv.AppendUint(b, r.Uint64(), 36)
			}
			return b
		})
	})
}

// startWithLog pushes so many bytes of lines, kills the server and starts it again, three times.
func startWithLog(t *testing.T, args []string, size int, line func([]byte, *rand.Rand) []byte) {
	dir := t.TempDir()
	args = append(args, "-server.http-listen-port=0", "-common.path-prefix", dir, "-log.level=info")
	p := process.Start(t, programs["monolithic"], args...)
	do := func(ctx context.Context, tenant, method, path string, body []byte) (int, string, error) {
		r, err := http.NewRequestWithContext(ctx, method, p.URL+path, bytes.NewReader(body))
		if err != nil {
			return 0, "", err
		}
		r.Header.Set("X-Scope-OrgID", tenant)
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text), err
	}
	push := func(tenant string, body []byte) {
		if status, text, err := do(t.Context(), tenant, http.MethodPost, "/loki/api/v1/push", body); err != nil || status != http.StatusNoContent {
			t.Errorf("push = %d, %v: %s", status, err, text)
		}
	}
	at := time.Now().UnixNano()
	push("quiet", fmt.Appendf(nil, `{"streams":[{"stream":{"app":"shop"},"values":[["%d","x"]]}]}`, at))
	const pushBytes = 4 << 20
	bodies := make(chan []byte, 2)
	var sending sync.WaitGroup
	for range 2 {
		sending.Go(func() {
			for b := range bodies {
				push("loud", b)
			}
		})
	}
	r := rand.New(rand.NewPCG(1, 2))
	lines := 0
	var text []byte
	for range size / pushBytes {
		var b bytes.Buffer
		b.Grow(pushBytes * 2)
		b.WriteString(`{"streams":[`)
		for s, done := 0, 0; s < 50; s++ {
			if s > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"stream":{"app":"shop","pod":"p%d"},"values":[`, s)
			for first := true; done < pushBytes*(s+1)/50; first = false {
				if !first {
					b.WriteByte(',')
				}
				at += 1000
				text = line(text[:0], r)
				fmt.Fprintf(&b, `["%d","%s"]`, at, text)
				done += len(text)
				lines++
			}
			b.WriteString(`]}`)
		}
		b.WriteString(`]}`)
		bodies <- b.Bytes()
	}
	close(bodies)
	sending.Wait()
	best := time.Hour
	for range 3 {
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
		best = min(best, cpu)
		t.Logf("ready %s after the start, with %s of CPU, with %d MB of %d lines pushed and %d MB of log",
			took.Round(10*time.Millisecond), cpu, size>>20, lines, logged>>20)
	}
	if best > 8*time.Second { // of processor time, since the machine may be busy: two cores need half of that
		t.Error("that is too much")
	}
	for tenant, want := range map[string]int{"loud": lines, "quiet": 1} {
		until(t, "the lines are not there", func(ctx context.Context) error {
			_, text, err := do(ctx, tenant, http.MethodGet, "/loki/api/v1/query?query=sum(count_over_time(%7Bapp=%22shop%22%7D%5B1d%5D))&time="+
				strconv.FormatInt(at+1e9, 10), nil)
			if err == nil && !strings.Contains(text, fmt.Sprintf(`"%d"`, want)) {
				err = fmt.Errorf("%s; should count %d", text, want)
			}
			return err
		})
	}
}

// TestStartCluster starts all microservices and waits until a query is answered: below 10s.
func TestStartCluster(t *testing.T) {
	const limit = 10 * time.Second
	best := time.Hour
	for n := 0; n < 3 && best > limit; n++ { // the machine may be busy
		t.Run(fmt.Sprint(n), func(t *testing.T) { best = min(best, launch(t, layout{shape: microservices()}).took) })
	}
	if best > limit {
		t.Errorf("a cluster takes %s to start", best)
	}
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
