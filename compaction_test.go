package loki_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loki"
	"example.com/loki/compactor"
	"example.com/loki/ingester"
	"example.com/loki/limits"
	"example.com/loki/store"
)

// secrets pushes lines of two streams, one a second, of which every third is secret.
func secrets(t *testing.T, eng *loki.Engine, start time.Time) {
	t.Helper()
	var lines []loki.Line
	for i := range 30 {
		text := fmt.Sprintf("line %d open", i)
		if i%3 == 0 {
			text = fmt.Sprintf("line %d secret", i)
		}
		for _, app := range []string{"a", "b"} {
			lines = append(lines, loki.Line{Labels: fmt.Sprintf("{app=%q}", app), Time: start.Add(time.Duration(i) * time.Second), Text: text,
				Metadata: map[string]string{"n": fmt.Sprint(i % 2)}})
		}
	}
	if err := eng.Push(t.Context(), lines...); err != nil {
		t.Fatal(err)
	}
}

// count returns how many lines a query finds, and checks that counting them comes to the same.
func count(t *testing.T, eng *loki.Engine, query string) int {
	t.Helper()
	n := found(t, eng, query)
	res, err := eng.QueryInstant(t.Context(), fmt.Sprintf("sum(count_over_time(%s [1d])) or vector(0)", query), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Series[0].Points[0].Value; got != float64(n) {
		t.Errorf("%s: %d lines, but counting says %v", query, n, got)
	}
	return n
}

// found returns how many lines a query finds.
func found(t *testing.T, eng *loki.Engine, query string) int {
	t.Helper()
	n := 0
	for _, err := range eng.Query(t.Context(), query, loki.Last(24*time.Hour)) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// TestDelete follows a delete request from the head of the ingester to the last object of the store.
func TestDelete(t *testing.T) {
	dir := t.TempDir()
	open := func() *loki.Engine {
		eng, err := loki.Open(eager(loki.Config{Dir: dir}))
		if err != nil {
			t.Fatal(err)
		}
		return eng
	}
	eng := open()
	defer func() { eng.Close() }()
	start := time.Now().Add(-time.Hour)
	secrets(t, eng, start)

	// Named are the secret lines of a with even numbers up to 20, which is included: 0, 6, 12, 18.
	query := `{app="a"} |= "secret" | n="0"`
	r, err := eng.Delete(t.Context(), query, start, start.Add(20*time.Second))
	if err != nil || r.Status() != "received" {
		t.Fatal(r, err)
	}
	check := func(where string) {
		t.Helper()
		for q, want := range map[string]int{`{app="a"}`: 26, `{app="a"} |= "secret"`: 6, query: 1, `{app="b"}`: 30} {
			if got := count(t, eng, q); got != want {
				t.Errorf("%s: %s finds %d lines, want %d", where, q, got, want)
			}
		}
	}
	check("in the head")
	if err := eng.Close(); err != nil {
		t.Fatal(err)
	}
	eng = open()
	check("replayed")
	if err := eng.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("in a segment")
	status := func() string {
		t.Helper()
		list, err := eng.Deletes(t.Context())
		if err != nil || len(list) != 1 || list[0].ID != r.ID || list[0].Query != query {
			t.Fatal(list, err)
		}
		return list[0].Status()
	}
	for deadline := time.Now().Add(time.Minute); status() != "processed"; {
		if err := eng.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		check("while it is removed: " + status())
		if time.Now().After(deadline) {
			t.Fatalf("status is %s after a minute", status())
		}
	}
	check("removed")
	// What has been removed is not only hidden: a request that is over hides nothing.
	if err := eng.CancelDelete(t.Context(), r.ID, true); !errors.Is(err, compactor.ErrTooLate) {
		t.Errorf("cancel what is processed: %v", err)
	}
	if stats, err := eng.Stats(t.Context(), `{app="a"}`, loki.Last(24*time.Hour)); err != nil || stats.Entries != 26 {
		t.Errorf("statistics say %+v, %v", stats, err)
	}
}

// TestCancelDelete brings lines back.
func TestCancelDelete(t *testing.T) {
	cfg := eager(loki.Config{Dir: t.TempDir()})
	cfg.Compactor.CancelPeriod = time.Hour
	eng, err := loki.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	start := time.Now().Add(-time.Hour)
	secrets(t, eng, start)
	r, err := eng.Delete(t.Context(), `{app="a"}`, start, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(eng.Flush(t.Context()), eng.Compact(t.Context())); err != nil {
		t.Fatal(err)
	}
	if n := count(t, eng, `{app="a"}`); n != 0 {
		t.Errorf("%d lines are seen", n)
	}
	if err := eng.CancelDelete(t.Context(), r.ID, false); err != nil {
		t.Fatal(err)
	}
	if n := count(t, eng, `{app="a"}`); n != 30 {
		t.Errorf("%d lines are back, want 30", n)
	}
	if list, err := eng.Deletes(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("the list is %v, %v", list, err)
	}
	if _, err := eng.Delete(t.Context(), `{app=`, start, start); !errors.Is(err, compactor.ErrBadRequest) {
		t.Errorf("a bad query: %v", err)
	}
}

// TestDeleteTail deletes while a tail runs.
func TestDeleteTail(t *testing.T) {
	eng, err := loki.Open(eager(loki.Config{Dir: t.TempDir()}))
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	// Lines that are still to come are named, as those of a clock that is behind would be.
	if _, err := eng.Delete(ctx, `{app="a"} |= "secret"`, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			text := "secret"
			if i%2 == 1 {
				text = "open"
			}
			if err := eng.Push(ctx, loki.Line{Labels: `{app="a"}`, Text: text}); err != nil {
				return
			}
		}
	}()
	seen := 0
	for e, err := range eng.Tail(ctx, `{app="a"}`) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Text != "open" {
			t.Fatalf("the tail has %q", e.Text)
		}
		if seen++; seen == 20 {
			return
		}
	}
	t.Errorf("the tail ended after %d lines", seen)
}

// TestDeleteElsewhere deletes in a cluster: the querier follows within the interval.
func TestDeleteElsewhere(t *testing.T) {
	c := newCluster(t)
	start := time.Now().Add(-time.Hour)
	secrets(t, c.nodes[loki.Distributor].Engine, start)
	front := c.nodes[loki.QueryFrontend].Engine
	if n := count(t, front, `{app="a"}`); n != 30 {
		t.Fatalf("%d lines", n)
	}
	if _, err := front.Delete(t.Context(), `{app="a"}`, start, time.Now()); !errors.Is(err, loki.ErrNotHere) {
		t.Errorf("a node without compactor: %v", err)
	}
	form := url.Values{"query": {`{app="a"} |= "secret"`}, "start": {fmt.Sprint(start.Unix())}}
	req := httptest.NewRequest(http.MethodPost, "/loki/api/v1/delete", strings.NewReader(form.Encode()))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	c.nodes[loki.Compactor].Handler().ServeHTTP(w, req)
	if w.Code != http.StatusNoContent {
		t.Fatalf("delete = %d %s", w.Code, w.Body)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if n := found(t, front, `{app="a"}`); n == 20 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("after a minute %d lines are seen, want 20", n)
		}
	}
	if a, b := count(t, front, `{app="a"}`), count(t, front, `{app="b"}`); a != 20 || b != 30 {
		t.Errorf("%d lines of a and %d of b", a, b)
	}
}

// TestDeletionDisabled refuses requests of a tenant that may not delete.
func TestDeletionDisabled(t *testing.T) {
	cfg := eager(loki.Config{Dir: t.TempDir()})
	l := loki.EmbeddedLimits()
	l.DeletionMode = limits.DeletionDisabled
	cfg.Limits = limits.Fixed(l)
	eng, err := loki.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	if _, err := eng.Delete(t.Context(), `{app="a"}`, time.Unix(1, 0), time.Unix(2, 0)); !errors.Is(err, compactor.ErrDisabled) {
		t.Errorf("delete: %v", err)
	}
	w := httptest.NewRecorder()
	eng.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/loki/api/v1/delete?query=%7Ba%3D%22b%22%7D&start=1", nil))
	if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "deletion is not available for this tenant") {
		t.Errorf("delete = %d %s", w.Code, w.Body)
	}
}

// TestRetention drops what is old, after it was shown.
func TestRetention(t *testing.T) {
	cfg := eager(loki.Config{Dir: t.TempDir()})
	l := loki.EmbeddedLimits()
	l.RetentionPeriod = 48 * time.Hour
	cfg.Limits = limits.Fixed(l)
	eng, err := loki.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer eng.Close()
	for _, age := range []time.Duration{time.Hour, 47 * time.Hour, 100 * time.Hour} {
		secrets(t, eng, time.Now().Add(-age))
		if err := eng.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := eng.RetentionPreview(t.Context(), 24*time.Hour)
	if err != nil || len(plan) != 2 || plan[0].At.After(time.Now()) || !plan[1].At.After(time.Now()) {
		t.Errorf("preview: %+v, %v", plan, err)
	}
	w := httptest.NewRecorder()
	eng.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/loki/api/v1/retention/preview?within=1h", nil))
	if w.Code != http.StatusOK || strings.Count(w.Body.String(), compactor.ReasonPeriod) != 1 {
		t.Errorf("preview = %d %s", w.Code, w.Body)
	}
	left := func() int {
		n := 0
		for _, err := range eng.Query(t.Context(), `{app=~".+"}`, loki.Last(200*time.Hour)) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	for deadline := time.Now().Add(time.Minute); left() != 120; {
		if err := eng.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d lines are left, want 120", left())
		}
	}
}

// TestCompactorSettings refuses what would lose or double lines.
// TestStatsAfterSplit merges lines of two days into a segment for each, and restarts: the ingester then remembers the segment
// that it has written, and reads of one day must not count it beside what has replaced it.
func TestStatsAfterSplit(t *testing.T) {
	cfg := eager(loki.Config{Dir: t.TempDir()})
	cfg.Compactor.DeleteDelay = time.Hour
	eng, err := loki.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { eng.Close() }()
	today := time.Now().UTC().Truncate(24 * time.Hour)
	days := []time.Time{today.Add(-156 * time.Hour), today.Add(-84 * time.Hour)}
	for _, day := range days {
		for n := range 5 {
			line := loki.Line{Labels: `{app="a"}`, Time: day.Add(time.Duration(n) * time.Second), Text: "one of five"}
			if err := eng.Push(t.Context(), line); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := eng.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		for _, day := range days {
			stats, err := eng.Stats(t.Context(), `{app="a"}`, loki.Between(day, day.Add(time.Hour)))
			if err != nil || stats.Entries != 5 || stats.Chunks != 1 {
				t.Errorf("%s: %+v, %v of %s, want 5 entries in one chunk", when, stats, err, day)
			}
		}
	}
	bucket, err := store.NewFilesystemBucket(filepath.Join(cfg.Dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		if err := eng.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		report, err := compactor.Fsck(t.Context(), bucket, compactor.FsckOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if report.Segments == 2 && report.Replaced == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not split: %+v", report)
		}
	}
	check("split")
	if err := eng.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Ingester.HandoverWindow, cfg.Compactor.MinAge = time.Hour, 2*time.Hour
	if eng, err = loki.Open(cfg); err != nil {
		t.Fatal(err)
	}
	check("restarted")
}

func TestCompactorSettings(t *testing.T) {
	cfg := loki.Config{Dir: t.TempDir(), Ingester: ingester.Config{HandoverWindow: time.Hour}}
	cfg.Compactor.MinAge = time.Minute
	if _, err := loki.Open(cfg); err == nil || !strings.Contains(err.Error(), "HandoverWindow") {
		t.Errorf("segments would be touched that ingesters serve: %v", err)
	}
	if names := loki.Backend.Components(); !slices.Contains(names, loki.Compactor) {
		t.Errorf("the backend has %v", names)
	}
}
