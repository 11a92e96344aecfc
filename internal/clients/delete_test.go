package clients

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/loki/compactor"
	"example.com/loki/store"
)

// quickCompactor are flags of a server whose compactor waits for next to nothing.
func quickCompactor() []string {
	return []string{"-compactor.compaction-interval=200ms", "-ingester.handover-window=50ms", "-compactor.min-age=100ms",
		"-compactor.retention-delete-delay=100ms", "-compactor.delete-request-cancel-period=1s"}
}

// curl sends a request as curl does when it is called as Loki's documentation says, with curl itself if there is one.
func curl(t *testing.T, method, tenant, url string, form ...string) (int, string) {
	t.Helper()
	if program, err := exec.LookPath("curl"); err == nil {
		args := []string{"-g", "-s", "-w", "\n%{http_code}", "-X", method, url, "-H", "X-Scope-OrgID: " + tenant}
		for _, f := range form {
			args = append(args, "--data-urlencode", f)
		}
		out := run(t, t.TempDir(), time.Minute, program, args...)
		i := strings.LastIndexByte(out, '\n')
		code, err := strconv.Atoi(out[i+1:])
		if err != nil {
			t.Fatalf("curl printed %q", out)
		}
		return code, strings.TrimSpace(out[:i])
	}
	base, query, _ := strings.Cut(url, "?")
	req, err := http.NewRequestWithContext(t.Context(), method, base, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.URL.RawQuery = query // braces and quotes as they are
	q := req.URL.Query()
	for _, f := range form {
		name, value, _ := strings.Cut(f, "=")
		q.Set(name, value)
	}
	req.URL.RawQuery = q.Encode()
	req.Header.Set("X-Scope-OrgID", tenant)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// TestDeleteFlow goes through what Loki's documentation says about the deletion of log entries, until the rows
// are in no file any more.
func TestDeleteFlow(t *testing.T) {
	dir := t.TempDir()
	p := start(t, append(quickCompactor(), "-common.path-prefix", dir, "-auth.enabled", "-validation.reject-old-samples=false")...)
	const api = "/loki/api/v1/delete"
	from := time.Unix(1591616227, 0)
	push := func(tenant string) {
		t.Helper()
		for _, app := range []string{"bar", "baz"} {
			var lines []string
			for i := range 20 {
				lines = append(lines, fmt.Sprintf("line %d %s", i, []string{"other", "usual"}[i%2]))
			}
			resp, body := do(t, http.DefaultClient, p.URL, request{
				method: http.MethodPost, path: pushPath, header: map[string]string{"Content-Type": jsonType, "X-Scope-OrgID": tenant},
				body: pushBody(map[string]string{"foo": app}, from, lines...),
			})
			if resp.StatusCode != http.StatusNoContent {
				t.Fatalf("push = %d %s", resp.StatusCode, body)
			}
		}
	}
	push("1")
	push("2")
	seen := func(tenant, selector string) int {
		t.Helper()
		code, body := curl(t, "GET", tenant, fmt.Sprintf("%s/loki/api/v1/query_range?query=%s&start=%d&end=%d&limit=100", p.URL, selector, from.Unix(), from.Unix()+3600))
		var res struct {
			Data struct {
				Result []struct{ Values [][2]string }
			}
		}
		if err := json.Unmarshal([]byte(body), &res); err != nil || code != http.StatusOK {
			t.Fatalf("query = %d %s", code, body)
		}
		n := 0
		for _, s := range res.Data.Result {
			n += len(s.Values)
		}
		return n
	}
	type entry struct {
		ID     string  `json:"request_id"`
		Start  float64 `json:"start_time"`
		End    float64 `json:"end_time"`
		Query  string  `json:"query"`
		Status string  `json:"status"`
		At     float64 `json:"created_at"`
	}
	list := func(tenant string) []entry {
		t.Helper()
		code, body := curl(t, "GET", tenant, p.URL+api)
		var all []entry
		if err := json.Unmarshal([]byte(body), &all); err != nil || code != http.StatusOK || all == nil {
			t.Fatalf("list = %d %s", code, body)
		}
		return all
	}
	if all := list("1"); len(all) != 0 {
		t.Errorf("the list is %v", all)
	}

	// The first example, and one with a filter; both leave what they don't name.
	if code, body := curl(t, "POST", "1", p.URL+api+`?query={foo="bar"}|="other"&start=1591616227&end=1591619692`); code != http.StatusNoContent || body != "" {
		t.Fatalf("delete = %d %q", code, body)
	}
	if n, rest, other := seen("1", `{foo="bar"}`), seen("1", `{foo="baz"}`), seen("2", `{foo="bar"}`); n != 10 || rest != 20 || other != 20 {
		t.Errorf("at once %d lines of bar, %d of baz, %d of another tenant are seen; want 10, 20, 20", n, rest, other)
	}
	all := list("1")
	if len(all) != 1 || all[0].Query != `{foo="bar"}|="other"` || all[0].Start != 1591616227 || all[0].End != 1591619692 || all[0].At == 0 || all[0].ID == "" {
		t.Fatalf("the list is %+v", all)
	}
	if len(list("2")) != 0 {
		t.Error("another tenant sees it")
	}

	// With an encoded form, as logcli and scripts send it, RFC 3339 times and without an end; then taken back.
	if code, body := curl(t, "PUT", "2", p.URL+api, `query={foo=~"ba."} |= "usual"`, "start=2020-06-08T11:37:07Z", "max_interval=24h"); code != http.StatusNoContent {
		t.Fatalf("delete = %d %q", code, body)
	}
	if n := seen("2", `{foo=~"ba."}`); n != 20 {
		t.Errorf("%d lines are seen, want 20", n)
	}
	id := list("2")[0].ID
	if code, body := curl(t, "DELETE", "1", p.URL+api+"?request_id="+id); code != http.StatusNotFound {
		t.Errorf("another tenant cancels: %d %s", code, body)
	}
	if code, body := curl(t, "DELETE", "2", p.URL+api+"?request_id="+id); code != http.StatusNoContent {
		// On a slow machine its rows may be being removed already; nothing is to be said against that.
		if code != http.StatusBadRequest || !strings.Contains(body, "in process or already processed") {
			t.Errorf("cancel = %d %s", code, body)
		}
	} else if n := seen("2", `{foo=~"ba."}`); n != 40 || len(list("2")) != 0 {
		t.Errorf("after the cancellation %d lines are seen, want 40; the list is %v", n, list("2"))
	}

	for _, c := range []struct {
		params string
		code   int
		want   string
	}{
		{"", 400, "query not set"},
		{`?query={foo="bar"}`, 400, "start time not set"},
		{`?query={foo="bar"&start=1`, 400, ""},
		{`?query={foo="bar"}&start=x`, 400, "invalid start time: require unix seconds or RFC3339 format"},
		{`?query={foo="bar"}&start=2&end=1`, 400, "start time can't be greater than end time"},
		{`?query={foo="bar"}&start=1&end=4102444800`, 400, "deletes in the future are not allowed"},
		{`?query={foo="bar"}&start=1&max_interval=1d`, 400, "invalid max_interval: valid time units are 's', 'm', 'h'"},
	} {
		if code, body := curl(t, "POST", "1", p.URL+api+c.params); code != c.code || !strings.Contains(body, c.want) {
			t.Errorf("POST %s = %d %s; want %d %s", c.params, code, body, c.code, c.want)
		}
	}

	// The rows go from the disk, and the status says so.
	for deadline := time.Now().Add(time.Minute); ; <-time.After(50 * time.Millisecond) {
		s := list("1")[0].Status
		if s == "processed" {
			break
		}
		if s != "received" && !strings.HasSuffix(s, "% Complete") || time.Now().After(deadline) {
			t.Fatalf("status is %q", s)
		}
	}
	if n := seen("1", `{foo="bar"}`); n != 10 {
		t.Errorf("%d lines are seen after the removal, want 10", n)
	}
	if code, body := curl(t, "DELETE", "1", p.URL+api+"?request_id="+all[0].ID); code != http.StatusBadRequest {
		t.Errorf("cancel what is processed: %d %s", code, body)
	}
	if code, err := p.Terminate(); err != nil || code != 0 {
		t.Errorf("exit code %d, %v", code, err)
	}
	found := 0
	err := filepath.WalkDir(filepath.Join(dir, "store", "segments"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found++
		}
		return err
	})
	if err != nil || found == 0 {
		t.Fatalf("%d segments, %v", found, err)
	}
	bucket, err := store.NewFilesystemBucket(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := compactor.Fsck(t.Context(), bucket, compactor.FsckOptions{Checksums: true})
	if err != nil || len(report.Problems) > 0 {
		t.Fatal(report, err)
	}
	if want := int64(40 - 10 + 40); report.Rows > want || report.Replaced > 0 {
		t.Errorf("the store holds %d rows in segments that count and %d segments that don't; want at most %d and none", report.Rows, report.Replaced, want)
	}
}
