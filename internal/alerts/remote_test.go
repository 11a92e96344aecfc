package alerts

import (
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// TestRulerAlone runs a ruler as a process of its own, which asks a query-frontend for the lines that others keep.
func TestRulerAlone(t *testing.T) {
	am := &notes{got: map[string][]time.Time{}}
	h := httptest.NewServer(am)
	defer h.Close()
	dir := t.TempDir()
	port := freePort(t)
	segments := []string{"-local.chunk-directory", filepath.Join(dir, "segments"), "-server.http-listen-port=0", "-server.grpc-listen-address=127.0.0.1"}
	others := process.Start(t, server, append(segments, "-common.path-prefix", filepath.Join(dir, "others"), "-server.grpc-listen-port="+port,
		"-target=distributor,ingester,querier,query-scheduler,query-frontend,compactor")...)
	ruler := process.Start(t, server, append(segments, "-common.path-prefix", filepath.Join(dir, "ruler"), "-server.grpc-listen-port="+freePort(t),
		"-target=ruler", "-ruler.evaluation.mode=remote", "-ruler.evaluation.query-frontend.address=127.0.0.1:"+port,
		"-ruler.alertmanager-url="+h.URL, "-ruler.resend-delay="+resendDelay.String(), "-ruler.evaluation-interval=1s")...)
	push(t, others.URL, "error", time.Now())
	setRules(t, ruler.URL, `
name: g
rules:
  - alert: A
    expr: sum(count_over_time({app="shop"} |= "error" [30m])) > 0
`)
	await(t, "the alert", func() error {
		if len(am.of("A")) == 0 {
			return fmt.Errorf("it was not sent")
		}
		return nil
	})
	if status, text, err := process.Do(t.Context(), "GET", others.URL+"/loki/api/v1/rules", "", nil); err != nil || status != 404 {
		t.Errorf("a process without ruler answers for rules: %d %s %v", status, text, err)
	}
	for _, p := range []*process.Process{ruler, others} {
		if code, err := p.Terminate(); err != nil || code != 0 {
			t.Errorf("exit code %d, %v:\n%s", code, err, p.Output())
		}
	}
}
