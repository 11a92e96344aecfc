package clients

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLogcli reads with logcli, the program that the environment variable LOKI_LOGCLI names.
func TestLogcli(t *testing.T) {
	program := os.Getenv("LOKI_LOGCLI")
	if program == "" {
		t.Skip("set LOKI_LOGCLI to the path of logcli to run it")
	}
	base := start(t).URL
	dir := t.TempDir()
	now := time.Now().Truncate(time.Second)
	const lines = 2000
	for host := range 2 {
		values := make([]any, lines/2)
		for i := range values {
			n := 2*i + host
			values[i] = []any{
				fmt.Sprint(now.Add(time.Duration(n-lines) * 5 * time.Second).UnixNano()), fmt.Sprintf("level=info n=%d", n),
				map[string]string{"trace": fmt.Sprint("t", n)},
			}
		}
		body, err := json.Marshal(map[string]any{"streams": []any{map[string]any{
			"stream": map[string]string{"app": "shop", "host": fmt.Sprint("h", host)}, "values": values,
		}}})
		if err != nil {
			t.Fatal(err)
		}
		if resp, answer := do(t, http.DefaultClient, base, post(pushPath, jsonType, "", body)); resp.StatusCode != http.StatusNoContent {
			t.Fatalf("push = %d: %s", resp.StatusCode, answer)
		}
	}
	logcli := func(args ...string) string {
		t.Helper()
		return run(t, dir, time.Minute, program, append([]string{"--quiet", "--addr=" + base}, args...)...)
	}
	const sel = `{app="shop"}`
	for _, c := range []struct {
		args []string
		want string // a regular expression
	}{
		{[]string{"labels"}, `^app\nhost\nservice_name\n$`},
		{[]string{"labels", "host"}, `^h0\nh1\n$`},
		{[]string{"labels", "none"}, `^$`},
		{[]string{"series", sel}, `^\{app="shop", host="h0", service_name="shop"\}\n\{app="shop", host="h1", service_name="shop"\}\n$`},
		{[]string{"series", "{}"}, `host="h0"`},
		{[]string{"series", "--analyze-labels", sel}, `Total Streams:  2\nUnique Labels:  3\n(?s:.*)host +2 +2\n`},
		{[]string{"stats", sel, "--since=24h"}, `streams: 2\n +entries: 2,?000\n`},
		{[]string{"volume", sel}, `"app": "shop"(?s:.*)"value"`},
		{[]string{"volume", "--targetLabels=host", "--limit=1", sel}, `"host": "h[01]"`},
		{[]string{"volume_range", "--step=10m", sel}, `"values": \[`},
		{[]string{"detected-fields", sel}, `label: n\t+type: int`},
		{[]string{"detected-fields", sel, "level"}, `info\n`},
		{[]string{"instant-query", `sum(count_over_time(` + sel + `[3h]))`}, `"2000"`},
		{[]string{"instant-query", "vector(1)"}, `"1"`},
		{[]string{"query", "--step=1h", "--since=3h", `sum by (host) (count_over_time(` + sel + `[1h]))`}, `"host": "h1"(?s:.*)"values"`},
		{[]string{"query", "--limit=2", sel}, `^\S+ \{host="h1", trace="t1999"\} level=info n=1999\n\S+ \{host="h0", trace="t1998"\} level=info n=1998\n$`},
		{[]string{"query", "--limit=1", "--include-common-labels", sel}, `app="shop", detected_level="info", host="h1"`},
		{[]string{"query", "--limit=1", "--no-labels", sel}, `^\S+ level=info n=1999\n$`},
		{[]string{"query", "--limit=2", "--output=raw", "--forward", "--since=24h", sel}, `^level=info n=0\nlevel=info n=1\n$`},
		{[]string{"query", "--limit=1", "--output=jsonl", sel}, `^\{"labels":\{.*\},"line":"level=info n=1999","timestamp":".*"\}\n$`},
		{[]string{"query", "--limit=1", "--stats", sel}, `Summary.ExecTime`},
		{[]string{"query", "--output=raw", "--from=" + now.Add(-12*time.Second).UTC().Format(time.RFC3339), "--to=" + now.UTC().Format(time.RFC3339), sel}, `^level=info n=1999\nlevel=info n=1998\n$`},
	} {
		if got := logcli(c.args...); !regexp.MustCompile(c.want).MatchString(got) {
			t.Errorf("logcli %s printed\n%s\nwant %s", strings.Join(c.args, " "), got, c.want)
		}
	}

	// Pages: each line once, whatever their size and order; parallel parts as well.
	from, to := now.Add(-4*time.Hour).Truncate(time.Hour).UTC(), now.Add(time.Hour).Truncate(time.Hour).UTC()
	for _, args := range [][]string{
		{"--since=24h", "--limit=5000", "--batch=300"},
		{"--since=24h", "--limit=5000", "--batch=300", "--forward"},
		{
			"--from=" + from.Format(time.RFC3339), "--to=" + to.Format(time.RFC3339), "--parallel-duration=30m", "--parallel-max-workers=2",
			"--merge-parts", "--part-path-prefix=" + filepath.Join(dir, "part"),
		},
	} {
		found := strings.Fields(strings.ReplaceAll(logcli(append([]string{"query", "--output=raw", sel}, args...)...), "level=info ", ""))
		if n := len(found); n != lines {
			t.Errorf("logcli query %v found %d lines, want %d", args, n, lines)
		}
		slices.Sort(found)
		if n := len(slices.Compact(found)); n != lines {
			t.Errorf("logcli query %v found %d different lines, want %d", args, n, lines)
		}
	}

	// What it prints of an error is the server's text.
	cmd := exec.Command(program, "--addr="+base, "query", `{app="shop"`)
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "parse error at line 1, col 12") {
		t.Errorf("logcli with a broken query: %v, %s", err, out)
	}

	// Formatting reads from the standard input.
	cmd = exec.Command(program, "--addr="+base, "fmt")
	cmd.Stdin = strings.NewReader(`{app="shop"}|="a"|json`)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `{app="shop"} |= "a" | json`) {
		t.Errorf("logcli fmt: %v, %s", err, out)
	}

	// A tail shows what comes.
	cmd = exec.Command(program, "--quiet", "--addr="+base, "query", "--tail", "--output=raw", sel)
	file, err := os.Create(filepath.Join(dir, "tail"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	n := 0
	await(t, func() bool {
		n++
		do(t, http.DefaultClient, base, post(pushPath, jsonType, "", pushBody(map[string]string{"app": "shop"}, time.Now(), fmt.Sprint("live ", n))))
		b, err := os.ReadFile(file.Name())
		return err == nil && strings.Contains(string(b), "live")
	})
}
