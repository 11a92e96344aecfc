package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"example.com/loki/internal/conformance"
	"example.com/loki/internal/crashtest/process"
)

// balance returns what clients of the cluster talk to: HAProxy in front of all processes, configured as in
// examples/deploy. A single process needs none, and where HAProxy is not installed the test itself does what it does.
func balance(t *testing.T, c *cluster) http.Handler {
	t.Helper()
	if len(c.takers("/query")) == 1 {
		return c
	}
	bin, err := exec.LookPath("haproxy")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/haproxy"); err != nil {
			t.Logf("without HAProxy: %v", err)
			return c
		}
	}
	addr := fmt.Sprintf("127.0.0.1:%d", taken.take(t, 1)[0])
	var b strings.Builder
	b.WriteString(`defaults
    mode http
    timeout connect 2s
    timeout client 5m
    timeout server 5m
    timeout tunnel 1h
    option redispatch
    retries 3
    retry-on conn-failure empty-response 503
    option httpchk GET /ready
    default-server inter 1s fall 2 rise 1 check
frontend loki
    bind ` + addr + `
    acl write path /loki/api/v1/push /api/prom/push /otlp/v1/logs
    use_backend write if write
    default_backend read
`)
	for name, path := range map[string]string{"write": "/push", "read": "/query"} {
		fmt.Fprintf(&b, "backend %s\n    balance roundrobin\n", name)
		for _, m := range c.takers(path) {
			fmt.Fprintf(&b, "    server %s %s\n", m.name, m.base().Host)
		}
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := process.Launch(t, bin, "-db", "-f", file)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("HAProxy says: %s", proxy.Output())
		}
	})
	base := &url.URL{Scheme: "http", Host: addr}
	until(t, "HAProxy passes nothing on", func(ctx context.Context) error {
		status, text, err := process.Do(ctx, http.MethodGet, base.String()+"/ready", "", nil)
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%d %s; %s", status, text, proxy.Output())
		}
		return err
	})
	return conformance.URL(base)
}
