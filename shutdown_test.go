package loki_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/loki"
	membership "example.com/loki/cluster"
	"example.com/loki/store"
)

// goodbye is an engine whose ingester is about to go, and what is asked of it.
type goodbye struct {
	*loki.Engine
	dir        string
	terminated int
}

// newGoodbye opens an engine with a line in its log, with or without a ring.
func newGoodbye(t *testing.T, dir string, ring bool) *goodbye {
	t.Helper()
	g := &goodbye{dir: dir}
	cfg := loki.Config{Dir: dir, Terminate: func() { g.terminated++ }, Store: store.Config{RefreshInterval: 50 * time.Millisecond}}
	if ring {
		cfg.Cluster.Membership = ringOf(t, dir, 0)
	}
	g.Engine = open(t, cfg)
	return g
}

// ringOf is a ring without others.
func ringOf(t *testing.T, dir string, replication int) loki.Membership {
	t.Helper()
	m, err := membership.New(membership.Config{TokensFile: filepath.Join(dir, "tokens"), Replication: replication}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (g *goodbye) do(t *testing.T, method, path string, want int) string {
	t.Helper()
	w := httptest.NewRecorder()
	g.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	if w.Code != want {
		t.Errorf("%s %s = %d %s, want %d", method, path, w.Code, w.Body, want)
	}
	return strings.TrimSpace(w.Body.String())
}

// without returns what is found when the write-ahead log is gone.
func (g *goodbye) without(t *testing.T) []string {
	t.Helper()
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(filepath.Join(g.dir, "wal")); err != nil {
		t.Fatal(err)
	}
	eng := open(t, loki.Config{Dir: g.dir})
	return texts(t, eng.Query(t.Context(), `{a="b"}`))
}

func forBoth(t *testing.T, test func(t *testing.T, ring bool)) {
	t.Run("alone", func(t *testing.T) { test(t, false) })
	t.Run("ring", func(t *testing.T) { test(t, true) })
}

func TestPrepareShutdown(t *testing.T) {
	const path = "/ingester/prepare_shutdown"
	forBoth(t, func(t *testing.T, ring bool) {
		dir := t.TempDir()
		g := newGoodbye(t, dir, ring)
		push(t, g.Engine, `{a="b"}`, "one")
		if got := g.do(t, "GET", path, 200); got != "unset" {
			t.Errorf("at first it is %q", got)
		}
		g.do(t, "POST", path, 204)
		if got := g.do(t, "GET", path, 200); got != "set" {
			t.Errorf("after a POST it is %q", got)
		}
		g.do(t, "DELETE", path, 204)
		if got := g.do(t, "GET", path, 200); got != "unset" {
			t.Errorf("after a DELETE it is %q", got)
		}
		if got := g.without(t); len(got) != 0 {
			t.Errorf("found %q without the log, though no flush was asked for: the test shows nothing", got)
		}
		g = newGoodbye(t, t.TempDir(), ring)
		push(t, g.Engine, `{a="b"}`, "one")
		g.do(t, "POST", path, 204)
		push(t, g.Engine, `{a="b"}`, "two")
		if got := g.without(t); !slices.Equal(got, []string{"two", "one"}) {
			t.Errorf("found %q without the log, want both lines", got)
		}
		again := newGoodbye(t, g.dir+"-other", ring)
		if err := again.Close(); err != nil {
			t.Error(err)
		}
		// A crash in between does not undo it, a stop in good order does.
		if err := os.WriteFile(filepath.Join(again.dir, "shutdown-requested.txt"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"set", "unset"} {
			again = newGoodbye(t, again.dir, ring)
			if got := again.do(t, "GET", path, 200); got != want {
				t.Errorf("after a restart it is %q, want %q", got, want)
			}
			if err := again.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestShutdownIngester(t *testing.T) {
	forBoth(t, func(t *testing.T, ring bool) {
		g := newGoodbye(t, t.TempDir(), ring)
		push(t, g.Engine, `{a="b"}`, "one")
		g.do(t, "POST", "/ingester/shutdown?flush=perhaps", http.StatusBadRequest)
		g.do(t, "GET", "/ready", 200)
		tokens := filepath.Join(g.dir, "tokens")
		if _, err := os.Stat(tokens); ring && err != nil {
			t.Error(err)
		}
		g.do(t, "POST", "/ingester/shutdown?delete_ring_tokens=true", 204)
		if _, err := os.Stat(tokens); err == nil {
			t.Error("the tokens are still there")
		}
		if g.terminated != 1 {
			t.Errorf("the host was asked to end %d times", g.terminated)
		}
		if got := g.do(t, "GET", "/ready", 503); !strings.Contains(got, "shut down") {
			t.Errorf("/ready says %q", got)
		}
		if err := g.Push(t.Context(), loki.Line{Labels: `{a="b"}`, Text: "late"}); err == nil {
			t.Error("a push is taken by an ingester that has gone")
		}
		if got := g.without(t); !slices.Equal(got, []string{"one"}) {
			t.Errorf("found %q without the log", got)
		}

		g = newGoodbye(t, t.TempDir(), ring)
		push(t, g.Engine, `{a="b"}`, "one")
		g.do(t, "GET", "/ingester/shutdown?flush=false&terminate=false", 204)
		if g.terminated != 0 {
			t.Error("the host was asked to end")
		}
		if _, err := os.Stat(filepath.Join(g.dir, "tokens")); ring && err != nil {
			t.Error(err)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		eng := open(t, loki.Config{Dir: g.dir})
		if got := texts(t, eng.Query(t.Context(), `{a="b"}`)); !slices.Equal(got, []string{"one"}) {
			t.Errorf("found %q in the log", got)
		}
	})
}

// TestRaiseReplication starts an engine that others shall have copies of, where nobody has any: then the lines must not be in its
// log alone.
func TestRaiseReplication(t *testing.T) {
	for _, c := range []struct {
		name        string
		factors     []int // of the starts after the push
		wantWithout []string
	}{
		{"none", []int{1}, nil},
		{"3", []int{3}, []string{"one"}},
		{"3, 1", []int{3, 1}, []string{"one"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := &goodbye{dir: t.TempDir()}
			g.Engine = open(t, loki.Config{Dir: g.dir})
			push(t, g.Engine, `{a="b"}`, "one")
			for _, factor := range c.factors {
				if err := g.Close(); err != nil {
					t.Error(err)
				}
				g.Engine = open(t, loki.Config{Dir: g.dir, Store: store.Config{RefreshInterval: 50 * time.Millisecond},
					Cluster: loki.Cluster{Membership: ringOf(t, g.dir, factor)}})
			}
			if got := g.without(t); !slices.Equal(got, c.wantWithout) {
				t.Errorf("found %q without the log, want %q", got, c.wantWithout)
			}
		})
	}
}
