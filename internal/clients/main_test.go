package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

var server string // the program; written by TestMain only

func TestMain(m *testing.M) {
	if runtime.GOOS == "windows" {
		fmt.Println("skipped: there are no signals on Windows")
		return
	}
	os.Exit(process.Main(m, &server))
}

// start starts a server as a newcomer would: with its defaults.
func start(t *testing.T, args ...string) *process.Process {
	t.Helper()
	return process.Start(t, server, append([]string{
		"-server.http-listen-port=0", "-common.path-prefix", filepath.Join(t.TempDir(), "data"),
	}, args...)...)
}

// needClients skips a test unless clients from elsewhere may be installed.
func needClients(t *testing.T) {
	t.Helper()
	if os.Getenv("LOKI_CLIENTS") == "" {
		t.Skip("set LOKI_CLIENTS=1 to install clients from npm and run them")
	}
}

// request is an HTTP request of a client.
type request struct {
	method string // GET if empty
	path   string
	params url.Values // of the query string, or of the form of a POST without a body
	header map[string]string
	body   []byte
}

// do sends a request and returns the answer with its body read.
func do(t testing.TB, c *http.Client, base string, q request) (*http.Response, []byte) {
	t.Helper()
	resp, body, err := try(t, c, base, q)
	if err != nil {
		t.Fatalf("%s %s: %v", q.method, q.path, err)
	}
	return resp, body
}

// try is do for requests that may break off.
func try(t testing.TB, c *http.Client, base string, q request) (*http.Response, []byte, error) {
	t.Helper()
	target := base + q.path
	body := io.Reader(bytes.NewReader(q.body))
	form := q.method == http.MethodPost && q.body == nil
	if form {
		body = strings.NewReader(q.params.Encode())
	} else if len(q.params) > 0 {
		target += "?" + q.params.Encode()
	}
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), q.method, target, body) // clean-ups ask too
	if err != nil {
		t.Fatal(err)
	}
	if form {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, v := range q.header {
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

// stream is a stream of an answer whose labels are told apart.
type stream struct {
	Stream map[string]string
	Values []value
}

// value is an entry of an answer.
type value struct {
	time, line string
	metadata   map[string]string
	parsed     map[string]string
}

func (v *value) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 2 && len(parts) != 3 {
		return fmt.Errorf("an entry of %d parts: %s", len(parts), b)
	}
	if err := json.Unmarshal(parts[0], &v.time); err != nil {
		return err
	}
	if err := json.Unmarshal(parts[1], &v.line); err != nil {
		return err
	}
	var kinds struct{ StructuredMetadata, Parsed map[string]string }
	if len(parts) == 3 {
		if err := json.Unmarshal(parts[2], &kinds); err != nil {
			return err
		}
	}
	v.metadata, v.parsed = kinds.StructuredMetadata, kinds.Parsed
	return nil
}

// queryStreams runs a log query over the last hour, as Grafana does, oldest entries first.
func queryStreams(t testing.TB, base, tenant, query string) []stream {
	t.Helper()
	resp, body := do(t, http.DefaultClient, base, request{
		method: http.MethodGet, path: "/loki/api/v1/query_range",
		params: url.Values{"query": {query}, "direction": {"forward"}, "limit": {"5000"}},
		header: map[string]string{"X-Loki-Response-Encoding-Flags": "categorize-labels", "X-Scope-OrgID": tenant},
	})
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("query %s = %d: %s", query, resp.StatusCode, body)
	}
	var answer struct{ Data struct{ Result []stream } }
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatalf("query %s: %v: %s", query, err, body)
	}
	return answer.Data.Result
}

// pushBody is a push of lines to one stream, a microsecond apart from a time on.
func pushBody(stream map[string]string, from time.Time, lines ...string) []byte {
	values := make([][]string, len(lines))
	for i, line := range lines {
		values[i] = []string{fmt.Sprint(from.Add(time.Duration(i) * time.Microsecond).UnixNano()), line}
	}
	b, err := json.Marshal(map[string]any{"streams": []any{map[string]any{"stream": stream, "values": values}}})
	if err != nil {
		panic(err) // maps and texts
	}
	return b
}

const (
	pushPath  = "/loki/api/v1/push"
	otlpPath  = "/otlp/v1/logs"
	rangePath = "/loki/api/v1/query_range"
)

func post(path, contentType, encoding string, body []byte) request {
	r := request{method: http.MethodPost, path: path, body: body, header: map[string]string{"Content-Type": contentType}}
	if encoding != "" {
		r.header["Content-Encoding"] = encoding
	}
	return r
}

const (
	jsonType  = "application/json"
	protoType = "application/x-protobuf"
)
