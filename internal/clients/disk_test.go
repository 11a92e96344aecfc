//go:build linux

package clients

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk runs the server on a small file system until there is no room any more. What it has
// acknowledged must be there, then and after a restart, and with new room it must go on by itself.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-common.path-prefix", filepath.Join(dir, "data"), "-log.level=error",
		"-distributor.ingestion-rate-limit-mb=0", "-ingester.per-stream-rate-limit=0"}
	p := start(t, args...) // the later -common.path-prefix wins

	// Random bytes, so that compression makes no room. The time of a line is its number.
	from := time.Now().Add(-30 * time.Minute)
	source := rand.NewChaCha8([32]byte{1})
	acked := make(map[string]bool)
	next := 0
	push := func() (int, string) {
		lines := make([]string, 20)
		for i := range lines {
			raw := make([]byte, 10_000)
			_, _ = source.Read(raw)
			lines[i] = fmt.Sprintf("%06d %x", next+i, raw)
		}
		resp, body := do(t, http.DefaultClient, p.URL, request{
			method: http.MethodPost, path: "/loki/api/v1/push", header: map[string]string{"Content-Type": "application/json"},
			body: pushBody(map[string]string{"app": "disk"}, from.Add(time.Duration(next)*time.Millisecond), lines...),
		})
		next += len(lines)
		if resp.StatusCode == http.StatusNoContent {
			for _, line := range lines {
				acked[line[:6]] = true
			}
		}
		return resp.StatusCode, string(body)
	}
	check := func(when string) {
		t.Helper()
		found := make(map[string]int)
		for _, s := range queryStreams(t, p.URL, "", `{app="disk"} | line_format "{{ trunc 6 __line__ }}"`) {
			for _, v := range s.Values {
				found[v.line]++
			}
		}
		lost, double := 0, 0
		for n := range acked {
			if found[n] == 0 {
				lost++
			}
		}
		for _, n := range found {
			if n > 1 {
				double++
			}
		}
		t.Logf("%s: %d acknowledged, %d found", when, len(acked), len(found))
		if lost > 0 || double > 0 {
			t.Errorf("%s: of %d acknowledged lines %d are lost, %d are double", when, len(acked), lost, double)
		}
	}

	status, text := http.StatusNoContent, ""
	for status == http.StatusNoContent && next < 5000 {
		status, text = push()
	}
	t.Logf("after %d lines: %d %s", len(acked), status, strings.TrimSpace(text))
	if status/100 != 5 || !strings.Contains(text, "disk") && !strings.Contains(text, "space") && !strings.Contains(text, "room") {
		t.Fatalf("a push on a full disk = %d %q; want 5xx and a text that says that the disk is full", status, text)
	}
	for range 5 { // it stays refused, and reading goes on
		if again, text := push(); again == http.StatusNoContent {
			t.Logf("a push was taken again: there was some room left (%s)", text)
		}
	}
	check("full")

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	freed := time.Now()
	await(t, func() bool { status, text = push(); return status == http.StatusNoContent })
	t.Logf("writing went on %v after there was room", time.Since(freed))
	for range 20 {
		if status, text := push(); status != http.StatusNoContent {
			t.Fatalf("a push with room = %d %s", status, text)
		}
	}
	check("room again")
	p.Kill()
	p = start(t, args...)
	check("after kill and restart")
	if code, err := p.Terminate(); err != nil || code != 0 {
		t.Errorf("stop = %d, %v: %s", code, err, p.Output())
	}
	p = start(t, args...)
	check("after stop and restart")
}

// smallDisk returns a folder on a file system of 64 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestRetentionKeepsRoom pushes more than a small file system holds, whatever the compression: the oldest lines go, and no
// push is refused for want of room.
func TestRetentionKeepsRoom(t *testing.T) {
	dir := smallDisk(t)
	p := start(t, append(quickCompactor(), "-common.path-prefix", filepath.Join(dir, "data"), "-compactor.retention-max-disk-share=0.5", "-compactor.retention-delete-delay=2s", "-compactor.max-segment-size=4MB",
		"-ingester.chunk-target-size=32KB", "-distributor.ingestion-rate-limit-mb=8", "-ingester.per-stream-rate-limit=0")...)
	from := time.Now().Add(-30 * time.Minute)
	source := rand.NewChaCha8([32]byte{2})
	const lines, size, total = 20, 10_000, 120 << 20
	next, refused := 0, 0
	var most float64
	for next < total/(2*size) {
		texts := make([]string, lines)
		for i := range texts {
			raw := make([]byte, size)
			_, _ = source.Read(raw)
			texts[i] = fmt.Sprintf("%06d %x", next+i, raw) // twice as long as raw
		}
		resp, body := do(t, http.DefaultClient, p.URL, request{
			method: http.MethodPost, path: pushPath, header: map[string]string{"Content-Type": jsonType},
			body: pushBody(map[string]string{"app": "disk"}, from.Add(time.Duration(next)*time.Millisecond), texts...),
		})
		switch resp.StatusCode {
		case http.StatusNoContent:
		case http.StatusTooManyRequests: // the log grows no faster than it becomes segments
			<-time.After(20 * time.Millisecond)
			continue
		default:
			if refused++; refused > 100 {
				t.Fatalf("push of line %d = %d %s", next, resp.StatusCode, body)
			}
			continue
		}
		next += lines
		var fs syscall.Statfs_t
		if err := syscall.Statfs(dir, &fs); err != nil {
			t.Fatal(err)
		}
		most = max(most, 1-float64(fs.Bfree)/float64(fs.Blocks))
	}
	if refused > 0 {
		t.Errorf("%d pushes were refused", refused)
	}
	// The newest lines are there, without a gap, and the oldest are not. Between, what was merged with newer
	// lines may have outlived others.
	found := map[string]int{}
	oldest := next
	for _, s := range queryStreams(t, p.URL, "", `{app="disk"} | line_format "{{ trunc 6 __line__ }}"`) {
		for _, v := range s.Values {
			var n int
			if _, err := fmt.Sscanf(v.line, "%06d", &n); err != nil {
				t.Fatal(err)
			}
			found[v.line]++
			oldest = min(oldest, n)
		}
	}
	for n := range next {
		if got := found[fmt.Sprintf("%06d", n)]; got > 1 || got == 0 && n >= next-200 {
			t.Fatalf("line %d of %d to %d was found %d times", n, oldest, next, got)
		}
	}
	t.Logf("%d lines pushed, %d kept from %d on, the disk was at most %.0f%% full", next, len(found), oldest, 100*most)
	if oldest == 0 {
		t.Errorf("of %d lines those from %d on are kept", next, oldest)
	}
}
