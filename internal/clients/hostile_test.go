//go:build linux

package clients

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// What one attack may cost a server with default limits. An honest server of this size takes less than a
// tenth of both; what is bounded is that no request, however small, makes it take what the host has.
const (
	maxPeak     = 1536 << 20 // bytes of memory (VmHWM)
	maxDuration = 15 * time.Second
)

// victim is a server under attack, watched by a tenant that works on as if nothing happened.
type victim struct {
	*process.Process
	client *http.Client

	mu      sync.Mutex
	pushed  int           // by the good tenant
	slowest time.Duration // of its requests
	failed  []error
}

// attack starts a server and its good tenant. At the end of the test the good tenant must have had no
// error and must find all its lines.
func attack(t *testing.T, args ...string) *victim {
	t.Helper()
	// A server that takes all it can must die, not the machine.
	args = append([]string{"-c", `ulimit -v 12000000; exec "$0" "$@"`, server, "-server.http-listen-port=0",
		"-common.path-prefix", filepath.Join(t.TempDir(), "data"), "-auth.enabled", "-log.level=error"}, args...)
	v := &victim{Process: process.Start(t, "/bin/sh", args...)}
	v.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: time.Minute}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() { v.work(ctx) })
	t.Cleanup(func() {
		stop()
		working.Wait()
		v.client.CloseIdleConnections()
		for _, err := range v.failed {
			t.Errorf("the good tenant: %v", err)
		}
		found := 0
		for _, s := range queryStreams(t, v.URL, "good", `{app="good"}`) {
			found += len(s.Values)
		}
		if found != min(v.pushed, 5000) || found == 0 {
			t.Errorf("the good tenant finds %d lines of %d", found, v.pushed)
		}
		t.Logf("the good tenant pushed %d times; its slowest request took %v", v.pushed, v.slowest)
	})
	return v
}

// work pushes a line and looks for it, again and again.
func (v *victim) work(ctx context.Context) {
	send := func(method, path, contentType, body string) ([]byte, error) {
		r, err := http.NewRequest(method, v.URL+path, strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header.Set("X-Scope-OrgID", "good")
		r.Header.Set("Content-Type", contentType)
		began := time.Now()
		resp, err := v.client.Do(r)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		answer := make([]byte, 4096)
		n, _ := resp.Body.Read(answer)
		v.mu.Lock()
		v.slowest = max(v.slowest, time.Since(began))
		v.mu.Unlock()
		if resp.StatusCode/100 != 2 {
			return nil, fmt.Errorf("%s %s = %d: %s", method, path, resp.StatusCode, answer[:n])
		}
		return answer[:n], nil
	}
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		line := "line " + strconv.Itoa(n) + " of work"
		_, err := send(http.MethodPost, "/loki/api/v1/push", "application/json", string(pushBody(map[string]string{"app": "good"}, time.Now(), line)))
		if err == nil {
			v.mu.Lock()
			v.pushed++
			v.mu.Unlock()
			var answer []byte
			answer, err = send(http.MethodGet, "/loki/api/v1/query_range?limit=1&query="+url.QueryEscape(`{app="good"} |= "`+line+`"`), "", "")
			if err == nil && !strings.Contains(string(answer), line) {
				err = fmt.Errorf("%q is not found: %s", line, answer)
			}
		}
		if err != nil {
			v.mu.Lock()
			if v.failed = append(v.failed, err); len(v.failed) > 5 {
				v.mu.Unlock()
				return
			}
			v.mu.Unlock()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// memory returns a figure of /proc/PID/status in bytes.
func (v *victim) memory(t *testing.T, name string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.Pid()))
	if err != nil {
		t.Fatalf("%v; the server printed:\n%s", err, v.Output())
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			kb, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatalf("no %s in\n%s", name, status)
	return 0
}

// shot is one hostile request and what should come of it.
type shot struct {
	name   string
	req    request
	status []int // any of them; none means any of the 4xx
}

// fire sends a hostile request and checks what it cost.
func (v *victim) fire(t *testing.T, s shot) {
	t.Helper()
	// 5 resets the peak. Where that isn't allowed the peak of all shots so far is compared.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", v.Pid()), []byte("5"), 0)
	if s.req.header == nil {
		s.req.header = make(map[string]string)
	}
	if _, ok := s.req.header["X-Scope-OrgID"]; !ok {
		s.req.header["X-Scope-OrgID"] = "evil"
	}
	began := time.Now()
	resp, body, err := try(t, v.client, v.URL, s.req)
	took, peak := time.Since(began), v.memory(t, "VmHWM")
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	text := string(body[:min(len(body), 300)])
	t.Logf("%-40s %d in %7.3fs, peak %4d MiB: %q", s.name, status, took.Seconds(), peak>>20, strings.TrimSpace(text[:min(len(text), 160)]))
	ok := len(s.status) == 0 && status/100 == 4
	for _, want := range s.status {
		ok = ok || status == want
	}
	if !ok {
		t.Errorf("%s: status %d (%v), want %v or a 4xx if none: %s", s.name, status, err, s.status, text)
	}
	if status/100 == 4 && (len(strings.TrimSpace(text)) < 8 || len(body) > 16<<10) {
		t.Errorf("%s: the error is %d bytes and says %q", s.name, len(body), text)
	}
	if took > maxDuration {
		t.Errorf("%s took %v, more than %v", s.name, took, maxDuration)
	}
	if peak > maxPeak {
		t.Errorf("%s made the server take %d MiB, more than %d", s.name, peak>>20, maxPeak>>20)
	}
}

func query(path string, params ...string) request {
	v := make(url.Values)
	for i := 0; i < len(params); i += 2 {
		v.Set(params[i], params[i+1])
	}
	return request{method: http.MethodPost, path: path, params: v}
}

// feed pushes lines as the hostile tenant, within the limits, so that its queries have something to read.
func (v *victim) feed(t *testing.T, batches, size int) {
	t.Helper()
	now := time.Now().Add(-10 * time.Minute)
	for b := range batches {
		streams := make([]any, 0, 10)
		for s := range 10 {
			values := make([][]string, size/10)
			for i := range values {
				n := (b*10+s)*len(values) + i
				values[i] = []string{fmt.Sprint(now.Add(time.Duration(n) * time.Microsecond).UnixNano()), fmt.Sprintf("level=info n=%d id=u%d xxxxxxxxxxxxxxxxxxxxxxxxx", n, n)}
			}
			streams = append(streams, map[string]any{"stream": map[string]string{"app": "evil", "s": strconv.Itoa(s)}, "values": values})
		}
		body, err := json.Marshal(map[string]any{"streams": streams})
		if err != nil {
			t.Fatal(err)
		}
		req := post(pushPath, jsonType, "", body)
		req.header["X-Scope-OrgID"] = "evil"
		if resp, answer := do(t, v.client, v.URL, req); resp.StatusCode != http.StatusNoContent {
			t.Fatalf("push = %d: %s", resp.StatusCode, answer)
		}
	}
}
