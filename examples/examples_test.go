// Package examples_test builds the examples and runs them as a user would.
package examples_test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

var bin map[string]string // by name of the example; written by TestMain only

func TestMain(m *testing.M) {
	if runtime.GOOS == "windows" {
		fmt.Println("skipped: there are no signals on Windows")
		return
	}
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "examples")
		if err != nil {
			fmt.Println(err)
			return 1
		}
		defer os.RemoveAll(dir)
		const here = "example.com/loki/examples/"
		if bin, err = process.BuildAll(dir, here+"monolithic", here+"embed", here+"replace"); err != nil {
			fmt.Println(err)
			return 1
		}
		return m.Run()
	}())
}

// stop stops a program in good order and demands that it says so.
func stop(t *testing.T, p *process.Process) {
	t.Helper()
	if code, err := p.Terminate(); err != nil || code != 0 {
		t.Errorf("exit code %d, %v; it printed:\n%s", code, err, p.Output())
	}
}

func TestMonolithic(t *testing.T) {
	dir := t.TempDir()
	flags := []string{"-server.http-listen-port=0", "-common.path-prefix", dir, "-log.level=debug"}
	began := time.Now()
	p := process.Start(t, bin["monolithic"], flags...)
	process.PushText(t, p.URL, "try", "hello")
	if got := process.QueryTexts(t, p.URL, `{app="try"}`); !slices.Equal(got, []string{"hello"}) {
		t.Fatalf("found %q, want hello", got)
	}
	t.Logf("from start to a line that comes back: %v", time.Since(began))
	for _, c := range []struct{ path, want string }{
		{"/ready", "ready"},
		{"/config", "path_prefix: " + dir},
		{"/services", "ingester => Running"},
		{"/metrics", "loki_request_duration_seconds_count"},
		{"/metrics", "go_goroutines"},
		{"/log_level", "debug"},
		{"/loki/api/v1/status/buildinfo", "goVersion"},
		{"/debug/pprof/", "goroutine"},
	} {
		status, body, err := process.Do(t.Context(), "GET", p.URL+c.path, "", nil)
		if err != nil || status != http.StatusOK || !strings.Contains(string(body), c.want) {
			t.Errorf("GET %s = %d, %v; want %q in it: %.500s", c.path, status, err, c.want, body)
		}
	}
	stop(t, p)

	p = process.Start(t, bin["monolithic"], append(flags, "-server.register-instrumentation=false")...)
	for _, path := range []string{"/debug/pprof/heap", "/debug/fgprof"} {
		if status, _, err := process.Do(t.Context(), "GET", p.URL+path, "", nil); err != nil || status != http.StatusNotFound {
			t.Errorf("%s = %d, %v; want 404, it is switched off", path, status, err)
		}
	}
	if got := process.QueryTexts(t, p.URL, `{app="try"}`); !slices.Equal(got, []string{"hello"}) {
		t.Errorf("after a restart: found %q, want hello", got)
	}
	stop(t, p)
}

func TestMonolithicDefaults(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:3100")
	if err != nil {
		t.Skipf("port 3100 is in use: %v", err)
	}
	_ = l.Close()
	p := process.Start(t, bin["monolithic"])
	if p.URL != "http://127.0.0.1:3100" || !strings.Contains(p.Output(), "./loki-data") {
		t.Errorf("it listens on %s and printed:\n%s", p.URL, p.Output())
	}
	stop(t, p)
}

func TestMonolithicWithPrefixAndTenants(t *testing.T) {
	file := filepath.Join(t.TempDir(), "loki.yaml")
	text := fmt.Sprintf("server:\n  http_listen_address: 127.0.0.1\n  http_path_prefix: /logs\ncommon:\n  path_prefix: %s\nbloom_build:\n  enabled: true\n", t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := process.Start(t, bin["monolithic"], "-config.file", file, "-server.http-listen-port=0")
	status, body, err := process.Do(t.Context(), "GET", p.URL+"/loki/api/v1/labels", "", nil)
	if err != nil || status != http.StatusUnauthorized || string(body) != "no org id\n" {
		t.Errorf("without a tenant: %d %q, %v", status, body, err)
	}
	if n := strings.Count(p.Output(), "bloom_build.enabled"); n != 1 {
		t.Errorf("the setting without effect is named %d times:\n%s", n, p.Output())
	}
	stop(t, p)
}

// TestMonolithicRefuses shows what a user sees who made a mistake.
func TestMonolithicRefuses(t *testing.T) {
	dir := t.TempDir()
	p := process.Start(t, bin["monolithic"], "-server.http-listen-port=0", "-common.path-prefix", dir)
	port := p.URL[strings.LastIndexByte(p.URL, ':')+1:]
	unwritable := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(unwritable, nil, 0o400); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"port in use", []string{"-server.http-listen-port", port, "-common.path-prefix", t.TempDir()}, 1, "something listens there already"},
		{"folder in use", []string{"-server.http-listen-port=0", "-common.path-prefix", dir}, 1, "in use"},
		{"folder is a file", []string{"-server.http-listen-port=0", "-common.path-prefix", unwritable}, 1, unwritable},
		{"unknown flag", []string{"-serve"}, 2, "unknown flag -serve"},
		{"no file", []string{"-config.file=nothing.yaml"}, 1, "nothing.yaml"},
		{"target", []string{"-target=nothing"}, 2, "all"},
		{"target alone", []string{"-target=querier", "-common.path-prefix", t.TempDir()}, 1, "runs elsewhere"},
		{"not ready", []string{"-health", "-health.url", p.URL + "/nothing"}, 1, "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := process.Launch(t, bin["monolithic"], c.args...)
			code, err := q.Wait()
			if err != nil || code != c.code || !strings.Contains(q.Output(), c.want) {
				t.Errorf("exit code %d, %v; want %d and %q in:\n%s", code, err, c.code, c.want, q.Output())
			}
			if strings.Contains(q.Output(), "goroutine ") {
				t.Errorf("it panics:\n%s", q.Output())
			}
		})
	}
	stop(t, p)
}

func TestMonolithicAnswersQuestions(t *testing.T) {
	p := process.Start(t, bin["monolithic"], "-server.http-listen-port=0", "-common.path-prefix", t.TempDir())
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-help"}, "-server.http-listen-port"},
		{[]string{"-version"}, "loki "},
		{[]string{"-list-targets"}, "all"},
		{[]string{"-verify-config", "-boltdb.dir=x"}, "Without effect here: -boltdb.dir"},
		{[]string{"-health", "-health.url", p.URL + "/ready"}, "ready"},
	} {
		q := process.Launch(t, bin["monolithic"], c.args...)
		if code, err := q.Wait(); err != nil || code != 0 || !strings.Contains(q.Output(), c.want) {
			t.Errorf("%v: exit code %d, %v; want %q in:\n%s", c.args, code, err, c.want, q.Output())
		}
	}
	stop(t, p)
}

// TestSecondSignalEndsAtOnce stops a server that a slow client holds up.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	p := process.Start(t, bin["monolithic"], "-server.http-listen-port=0", "-common.path-prefix", t.TempDir())
	c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// A push whose body does not come keeps the request running.
	fmt.Fprint(c, "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	if _, err := c.Read(make([]byte, 1)); err != nil { // the server asks for the body: the request is running
		t.Fatal(err)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.AwaitOutput(t.Context(), "second signal"); err != nil {
		t.Fatal(err)
	}
	if code, err := p.Terminate(); err != nil || code != 130 {
		t.Errorf("exit code %d, %v; want 130", code, err)
	}
}

func TestEmbed(t *testing.T) {
	p := process.Start(t, bin["embed"], "-addr", "127.0.0.1:0", "-dir", t.TempDir())
	for _, c := range []struct {
		path string
		code int
	}{{"/divide?a=6&b=3", 200}, {"/divide?a=1&b=0", 400}, {"/divide?a=x&b=1", 400}} {
		if status, body, err := process.Do(t.Context(), "GET", p.URL+c.path, "", nil); err != nil || status != c.code {
			t.Errorf("GET %s = %d %s, %v", c.path, status, body, err)
		}
	}
	// Records are written in the background, so the page is asked until it has them.
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 1000 {
		status, body, err := process.Do(t.Context(), "GET", p.URL+"/errors", "", nil)
		if err != nil || status != http.StatusOK {
			t.Fatalf("GET /errors = %d %s, %v", status, body, err)
		}
		page := string(body)
		if strings.Contains(page, `a="1" b="0"`) && strings.Contains(page, `a="x" b="1"`) && !strings.Contains(page, "divided") {
			stop(t, p)
			return
		}
		<-tick.C
	}
	t.Error("the page does not show the last errors")
}

func TestReplace(t *testing.T) {
	p := process.Start(t, bin["replace"], "-addr", "127.0.0.1:0", "-dir", t.TempDir())
	process.PushText(t, p.URL, "shop", "paid with 4111 1111 1111 1111, thanks")
	if got := process.QueryTexts(t, p.URL, `{app="shop"}`); !slices.Equal(got, []string{"paid with (card), thanks"}) {
		t.Errorf("found %q", got)
	}
	stop(t, p)
}
