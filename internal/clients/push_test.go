package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// want is an entry that a query should find: labels of its stream, line and structured metadata.
type want struct {
	labels   map[string]string
	line     string
	metadata map[string]string
}

func (w want) String() string { return fmt.Sprintf("%v %q %v", w.labels, w.line, w.metadata) }

// expect compares what a query finds with what was pushed, in any order. Of the times only those that
// differ from run to run are left out.
func expect(t *testing.T, base, query string, entries ...want) {
	t.Helper()
	var got, wanted []string
	for _, s := range queryStreams(t, base, "", query) {
		for _, v := range s.Values {
			metadata := maps.Clone(v.metadata)
			delete(metadata, "observed_timestamp")
			got = append(got, want{s.Stream, v.line, metadata}.String())
		}
	}
	for _, w := range entries {
		wanted = append(wanted, w.String())
	}
	slices.Sort(got)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Errorf("%s found\n\t%s\nwant\n\t%s", query, strings.Join(got, "\n\t"), strings.Join(wanted, "\n\t"))
	}
}

// npm installs the clients and returns their folder.
func npm(t *testing.T) string {
	t.Helper()
	needClients(t)
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, 5*time.Minute, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts")
	return dir
}

// run runs a program to its end and returns what it printed.
func run(t *testing.T, dir string, patience time.Duration, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out.String())
	}
	return out.String()
}

func TestNodeClients(t *testing.T) {
	dir := npm(t)
	base := start(t).URL
	node := func(args ...string) string { return run(t, dir, time.Minute, "node", args...) }
	const odd = "second line: \"quoted\" ünï\tcode"

	t.Run("winston-loki", func(t *testing.T) {
		for _, format := range []string{"json", "protobuf"} {
			node("winston.mjs", base, format)
			job := "winston-" + format
			var entries []want
			for level, line := range map[string]string{"info": "first line", "error": odd} {
				w := want{
					map[string]string{"job": job, "service_name": job, "module": "cart", "level": level}, line,
					map[string]string{"detected_level": level},
				}
				if format == "json" {
					// The client sends the level as label and as metadata: the second gets another name.
					w.metadata["level_extracted"] = level
				}
				entries = append(entries, w)
			}
			expect(t, base, `{job="`+job+`"}`, entries...)
		}
	})
	t.Run("pino-loki", func(t *testing.T) {
		node("pino.mjs", base)
		found := queryStreams(t, base, "", `{job="pino"} | json | msg != ""`)
		if len(found) != 2 {
			t.Fatalf("%d streams: %v, want one of info and one of error", len(found), found)
		}
		for _, s := range found {
			level, msg, metadata := "info", "first line", map[string]string{"detected_level": "info", "traceId": "abc123"}
			if s.Stream["level"] == "error" {
				level, msg, metadata = "error", odd, map[string]string{"detected_level": "error"}
			}
			if labels := (map[string]string{"job": "pino", "service_name": "pino", "module": "cart", "level": level}); !maps.Equal(s.Stream, labels) {
				t.Errorf("labels %v, want %v", s.Stream, labels)
			}
			if len(s.Values) != 1 || s.Values[0].parsed["msg"] != msg || !maps.Equal(s.Values[0].metadata, metadata) {
				t.Errorf("stream %v has %+v, want one entry with msg %q and metadata %v", s.Stream, s.Values, msg, metadata)
			}
		}
	})
	t.Run("OpenTelemetry", func(t *testing.T) {
		for _, kind := range []string{"http", "proto"} {
			for _, compression := range []string{"none", "gzip"} {
				node("otlp.mjs", base, kind, compression)
				service := "otel-" + kind + "-" + compression
				labels := map[string]string{"service_name": service, "service_namespace": "shop", "deployment_environment_name": "test"}
				expect(t, base, `{service_name="`+service+`"}`,
					want{labels, "first line", map[string]string{
						"detected_level": "info", "severity_number": "9", "severity_text": "INFO",
						"host_name": "h1", "scope_name": "checkout", "scope_version": "1.2.3",
						"http_method": "GET", "nested_deep_n": "7", "list": `["a",1]`, "yes": "true",
						"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331", "flags": "1",
					}},
					want{labels, `{"message":"second line","code":12}`, map[string]string{
						"detected_level": "error", "severity_number": "17",
						"host_name": "h1", "scope_name": "checkout", "scope_version": "1.2.3",
					}},
				)
			}
		}
	})
	t.Run("WebSocket", func(t *testing.T) {
		out := node("tail.mjs", base, `{job=~"winston.*"}`, "4")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 6 || lines[0] != "open" || lines[5] != "close 1000" {
			t.Fatalf("tail printed\n%s\nwant open, 4 entries and close 1000", out)
		}
		for _, line := range lines[1:5] {
			var e struct {
				Stream     map[string]string
				Time, Line string
			}
			if err := json.Unmarshal([]byte(line), &e); err != nil || e.Stream["module"] != "cart" || e.Time == "" || e.Line == "" {
				t.Errorf("tail printed %s (%v)", line, err)
			}
		}
	})
}

// TestSyslogNG lets syslog-ng follow a file and push over its HTTP module.
func TestSyslogNG(t *testing.T) {
	needClients(t)
	program, err := exec.LookPath("syslog-ng")
	if err != nil {
		t.Skip("syslog-ng is not installed")
	}
	base := start(t).URL
	dir := t.TempDir()
	input, config := filepath.Join(dir, "in.log"), filepath.Join(dir, "syslog-ng.conf")
	text, err := os.ReadFile(filepath.Join("testdata", "syslog-ng.conf"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, config, strings.NewReplacer("INPUT", input, "BASE", base).Replace(string(text)))
	write(t, input, "first line\nsecond line: \"quoted\" \\ ünï\n")

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--foreground", "--no-caps", "--stderr", "-f", config,
		"-R", filepath.Join(dir, "persist"), "-c", filepath.Join(dir, "ctl"), "-p", filepath.Join(dir, "pid"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		n := 0
		for _, s := range queryStreams(t, base, "", `{job="syslog-ng"}`) {
			n += len(s.Values)
		}
		return n >= 2
	})
	cancel()
	_ = cmd.Wait() // it was killed
	labels := map[string]string{"job": "syslog-ng", "service_name": "syslog-ng"}
	unknown := map[string]string{"detected_level": "unknown"}
	expect(t, base, `{job="syslog-ng"}`,
		want{labels, "first line", unknown}, want{labels, "second line: \"quoted\" \\ ünï", unknown})
	if t.Failed() {
		t.Log(out.String())
	}
}

// TestCurl runs commands as Loki's documentation of its HTTP API gives them.
func TestCurl(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("curl is not installed")
	}
	base := start(t).URL
	dir := t.TempDir()
	now := time.Now().UnixNano()
	curl := func(args ...string) string {
		return run(t, dir, time.Minute, "curl", append([]string{"-sS", "-w", " %{http_code}"}, args...)...)
	}
	expectText := func(got, contains, status string) {
		t.Helper()
		if !strings.Contains(got, contains) || !strings.HasSuffix(got, " "+status) {
			t.Errorf("curl printed %s; want %q in it and status %s", got, contains, status)
		}
	}
	push := func(n int64, line string) string {
		return fmt.Sprintf(`{"streams": [{ "stream": { "foo": "bar2" }, "values": [ [ "%d", "%s", {"trace_id": "0242ac120002"} ] ] }]}`, now+n, line)
	}
	expectText(curl("-H", "Content-Type: application/json", "-X", "POST", "-s", base+"/loki/api/v1/push",
		"--data-raw", push(0, "fizzbuzz")), "", "204")
	write(t, filepath.Join(dir, "push.json"), push(1, "zipped"))
	run(t, dir, time.Minute, "gzip", "push.json")
	expectText(curl("-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip", "-X", "POST",
		base+"/loki/api/v1/push", "--data-binary", "@push.json.gz"), "", "204")

	labels := map[string]string{"foo": "bar2", "service_name": "unknown_service"}
	metadata := map[string]string{"detected_level": "unknown", "trace_id": "0242ac120002"}
	expect(t, base, `{foo="bar2"}`, want{labels, "fizzbuzz", metadata}, want{labels, "zipped", metadata})

	for _, c := range []struct {
		contains string
		args     []string
	}{
		{`"resultType":"vector"`, []string{"-G", base + "/loki/api/v1/query", "--data-urlencode", `query=sum(rate({foo="bar2"}[10m])) by (foo)`}},
		{`"fizzbuzz"`, []string{"-G", base + "/loki/api/v1/query_range", "--data-urlencode", `query={foo="bar2"}`, "--data-urlencode", "step=300"}},
		{`"resultType":"matrix"`, []string{"-G", base + "/loki/api/v1/query_range", "--data-urlencode", `query=sum(rate({foo="bar2"}[10m])) by (foo)`, "--data-urlencode", "step=300"}},
		{`"zipped"`, []string{base + "/loki/api/v1/query_range", "--data-urlencode", `query={foo="bar2"}`}}, // POST
		{`"fizzbuzz"`, []string{"--compressed", "-G", base + "/loki/api/v1/query_range", "--data-urlencode", `query={foo="bar2"}`}},
		{`["foo","service_name"]`, []string{base + "/loki/api/v1/labels"}},
		{`["bar2"]`, []string{base + "/loki/api/v1/label/foo/values"}},
		{`[{"foo":"bar2","service_name":"unknown_service"}]`, []string{base + "/loki/api/v1/series", "--data-urlencode", `match[]={foo="bar2"}`, "--data-urlencode", `match={foo="none"}`}},
		{`"entries":2`, []string{"-G", base + "/loki/api/v1/index/stats", "--data-urlencode", `query={foo="bar2"}`}},
		{`ready`, []string{base + "/ready"}},
		{`go_goroutines`, []string{base + "/metrics"}},
		{`"version"`, []string{base + "/loki/api/v1/status/buildinfo"}},
	} {
		expectText(curl(c.args...), c.contains, "200")
	}
	expectText(curl("-X", "POST", base+"/flush"), "", "204")
	expect(t, base, `{foo="bar2"}`, want{labels, "fizzbuzz", metadata}, want{labels, "zipped", metadata})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// await waits until a condition holds.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal("waited a minute in vain")
		}
	}
}
