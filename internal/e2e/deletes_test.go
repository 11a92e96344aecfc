package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"example.com/loki/internal/crashtest/process"
)

const (
	deleteSelector = `{job="deletes"}`
	deleteQuery    = deleteSelector + ` |= "secret"`
	deletePart     = 100 // lines that are pushed together, every other with the word
)

// TestDelete deletes lines of segments and of heads while all processes are asked for them: they vanish, come back when the
// request is taken back, and vanish for good. When the request is said to be processed neither the bucket nor a log has any.
func TestDelete(t *testing.T) {
	t.Parallel()
	segments := t.TempDir() // a folder, whatever -e2e.s3 says: it is looked into
	c := launch(t, layout{shape: microservices(), where: []string{"-local.chunk-directory", segments}, args: func(string, int) []string {
		return []string{"-compactor.delete-request-cancel-period=20s", "-compactor.delete-request-poll-interval=1s",
			// Others have to know of a new segment, and that one is replaced, within these times.
			"-ingester.handover-window=20s", "-compactor.min-age=25s", "-compactor.retention-delete-delay=20s"}
	}})
	c.settlePushes(t)
	compactors := c.running("compactor")
	readers := slices.Concat(c.running("querier"), c.running("query-frontend"))
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	pushDeletes(t, c, begin, 0)
	c.flush(t)
	pushDeletes(t, c, begin, 1)
	want := func(t *testing.T, plain, secret int) {
		t.Helper()
		until(t, "what queriers and frontends find", func(ctx context.Context) error {
			return findDeletes(ctx, readers, begin, plain, secret)
		})
	}
	want(t, deletePart, deletePart)

	// A request that is taken back.
	requestDelete(t, compactors[0], begin)
	want(t, deletePart, 0)
	// What comes later has to be hidden as well.
	first := pushDeletes(t, c, begin, 2)
	want(t, deletePart*3/2, 0)
	tailDeletes(t, c.running("query-frontend")[0], begin, first, deletePart*3/2)
	id := awaitDelete(t, compactors, func(status string) bool { return status == "received" })
	status, text, err := process.Do(t.Context(), http.MethodDelete, compactors[1].base().String()+"/loki/api/v1/delete?request_id="+id, "", nil)
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("taking the request back = %d, %v: %s", status, err, text)
	}
	want(t, deletePart*3/2, deletePart*3/2)
	c.flush(t) // the segments of all ingesters have all lines now
	until(t, "the bucket", func(ctx context.Context) error {
		return findInBucket(ctx, t, segments, "", begin, deletePart*3/2, deletePart*3/2)
	})

	// One that is not. From now on nobody must see the lines, whatever happens to the segments.
	began := time.Now()
	requestDelete(t, compactors[1], begin)
	want(t, deletePart*3/2, 0)
	hidden := time.Since(began)
	asked := 0
	awaitDelete(t, compactors, func(status string) bool {
		asked++
		pause(t.Context(), 200*time.Millisecond)
		if err := findDeletes(t.Context(), readers, begin, deletePart*3/2, 0); err != nil {
			t.Errorf("while the request is %q: %v", status, err)
		}
		return status == "processed"
	})
	t.Logf("hidden everywhere after %s, removed after %s; all processes were asked %d times meanwhile",
		hidden.Round(10*time.Millisecond), time.Since(began).Round(100*time.Millisecond), asked)
	for m := range c.all() {
		m.process().Kill()
	}
	until(t, "the bucket", func(ctx context.Context) error {
		return findInBucket(ctx, t, segments, "", begin, deletePart*3/2, 0)
	})
	for _, m := range c.running("ingester") {
		until(t, "the log of "+m.name, func(ctx context.Context) error {
			return findInBucket(ctx, t, segments, m.dir, begin, deletePart*3/2, 0)
		})
	}
}

// pushDeletes pushes the nth part of the lines and returns the time of its first.
func pushDeletes(t *testing.T, c *cluster, begin time.Time, part int) time.Time {
	t.Helper()
	var values [][2]string
	at := begin.Add(time.Duration(part*deletePart) * time.Second)
	for n := range deletePart {
		line := fmt.Sprintf("part %d line %d plain", part, n)
		if n%2 == 1 {
			line = fmt.Sprintf("part %d line %d secret", part, n)
		}
		values = append(values, [2]string{strconv.FormatInt(at.Add(time.Duration(n)*time.Second).UnixNano(), 10), line})
	}
	body, err := json.Marshal(map[string]any{"streams": []any{map[string]any{"stream": map[string]string{"job": "deletes"}, "values": values}}})
	if err != nil {
		t.Fatal(err)
	}
	if status, text := c.do(t.Context(), http.MethodPost, "/loki/api/v1/push", body); status != http.StatusNoContent {
		t.Fatalf("push = %d %s", status, text)
	}
	return at
}

func requestDelete(t *testing.T, m *member, begin time.Time) {
	t.Helper()
	params := url.Values{"query": {deleteQuery}, "start": {strconv.FormatInt(begin.Unix(), 10)}}
	status, text, err := process.Do(t.Context(), http.MethodPost, m.base().String()+"/loki/api/v1/delete?"+params.Encode(), "", nil)
	if err != nil || status != http.StatusNoContent {
		t.Fatalf("delete = %d, %v: %s", status, err, text)
	}
}

// awaitDelete waits until all compactors say of the only request what is wanted, and returns its name.
func awaitDelete(t *testing.T, compactors []*member, wanted func(status string) bool) (id string) {
	t.Helper()
	last := ""
	untilWithin(t, 5*time.Minute, "delete request", func(ctx context.Context) error {
		for _, m := range compactors {
			status, body, err := process.Do(ctx, http.MethodGet, m.base().String()+"/loki/api/v1/delete", "", nil)
			if err != nil {
				return err
			}
			var list []struct {
				ID     string `json:"request_id"`
				Query  string `json:"query"`
				Status string `json:"status"`
			}
			if err := json.Unmarshal(body, &list); err != nil || status != http.StatusOK {
				return fmt.Errorf("%s lists %d, %w: %s", m.name, status, err, body)
			}
			if len(list) != 1 || list[0].Query != deleteQuery {
				return fmt.Errorf("%s lists %s", m.name, body)
			}
			if id = list[0].ID; list[0].Status != last {
				last = list[0].Status
				t.Logf("%s says: %s", m.name, last)
			}
			if !wanted(list[0].Status) {
				return fmt.Errorf("%s says %s", m.name, list[0].Status)
			}
		}
		return nil
	})
	return id
}

// findDeletes asks each process for the lines, and how many there are.
func findDeletes(ctx context.Context, readers []*member, begin time.Time, plain, secret int) error {
	end := begin.Add(3 * deletePart * time.Second)
	for _, m := range readers {
		params := url.Values{"query": {deleteSelector}, "limit": {"5000"},
			"start": {strconv.FormatInt(begin.UnixNano(), 10)}, "end": {strconv.FormatInt(end.UnixNano(), 10)}}
		var lines struct {
			Data struct {
				Result []struct{ Values [][2]string }
			}
		}
		if err := getJSON(ctx, m, "/loki/api/v1/query_range", params, &lines); err != nil {
			return err
		}
		found := map[string]bool{}
		got := [2]int{}
		for _, s := range lines.Data.Result {
			for _, v := range s.Values {
				if found[v[1]] {
					return fmt.Errorf("%s has %q twice", m.name, v[1])
				}
				if found[v[1]] = true; strings.HasSuffix(v[1], "secret") {
					got[1]++
				} else {
					got[0]++
				}
			}
		}
		if got != [2]int{plain, secret} {
			return fmt.Errorf("%s finds %d plain and %d secret lines, not %d and %d", m.name, got[0], got[1], plain, secret)
		}
		var count struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		params = url.Values{"query": {"sum(count_over_time(" + deleteSelector + "[1h]))"}, "time": {strconv.FormatInt(end.UnixNano(), 10)}}
		if err := getJSON(ctx, m, "/loki/api/v1/query", params, &count); err != nil {
			return err
		}
		if len(count.Data.Result) != 1 || count.Data.Result[0].Value[1] != strconv.Itoa(plain+secret) {
			return fmt.Errorf("%s counts %v lines, not %d", m.name, count.Data.Result, plain+secret)
		}
	}
	return nil
}

func getJSON(ctx context.Context, m *member, path string, params url.Values, into any) error {
	status, body, err := process.Do(ctx, http.MethodGet, m.base().String()+path+"?"+params.Encode(), "", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s = %d %s", path, status, body)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	return json.Unmarshal(body, into)
}

// tailDeletes follows the lines from a time on until so many have come: none of them may be deleted.
func tailDeletes(t *testing.T, m *member, begin, first time.Time, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	params := url.Values{"query": {deleteSelector}, "start": {strconv.FormatInt(begin.UnixNano(), 10)}, "limit": {"5000"}}
	conn, resp, err := websocket.Dial(ctx, "ws://"+m.base().Host+"/loki/api/v1/tail?"+params.Encode(), nil)
	if resp != nil && resp.Body != nil {
		_ = resp.Body.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseNow() }()
	for seen := 0; seen < want; {
		_, b, err := conn.Read(ctx)
		if err != nil {
			t.Fatalf("the tail of %s has shown %d of %d lines (those of heads begin at %s): %v", m.name, seen, want, first, err)
		}
		if strings.Contains(string(b), "secret") {
			t.Fatalf("the tail of %s shows what is deleted: %.300s", m.name, b)
		}
		seen += strings.Count(string(b), "plain")
	}
}

// findInBucket starts a server that knows the segments, and the log of a process if one is given, and no delete requests,
// and asks it for the lines. It works on copies.
func findInBucket(ctx context.Context, t *testing.T, segments, dir string, begin time.Time, plain, secret int) error {
	segmentsCopy, dirCopy := filepath.Join(t.TempDir(), "segments"), filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(segmentsCopy, os.DirFS(segments)); err != nil {
		return err
	}
	removed, err := filepath.Glob(filepath.Join(segmentsCopy, "deletes", "*", "*"))
	if err != nil || len(removed) == 0 && secret == 0 {
		return errors.Join(err, errors.New("the bucket has no delete requests: this would show nothing"))
	}
	if err := os.RemoveAll(filepath.Join(segmentsCopy, "deletes")); err != nil {
		return err
	}
	if dir != "" {
		if err := os.CopyFS(filepath.Join(dirCopy, "wal"), os.DirFS(filepath.Join(dir, "wal"))); err != nil {
			return err
		}
	}
	one := launch(t, layout{shape: shapes()[0], where: []string{"-local.chunk-directory", segmentsCopy}, dir: func(string, int) string { return dirCopy },
		args: func(string, int) []string { return []string{"-compactor.compaction-interval=1h"} }})
	m := one.members["monolith"][0]
	defer m.process().Kill()
	return findDeletes(ctx, []*member{m}, begin, plain, secret)
}
