package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// schedulersByRing is microservices whose frontends and queriers find the schedulers by their ring.
func schedulersByRing() shape {
	s := microservices()
	define := s.define
	s.define = func(address func(string) string) []*kind {
		kinds := define(address)
		for _, k := range kinds {
			switch k.name {
			case "query-scheduler":
				k.gossip = true
			case "querier", "query-frontend":
				k.gossip = true
				at := slices.Index(k.args, "-frontend.scheduler-address")
				k.args = append(slices.Delete(slices.Clone(k.args), at, at+2), "-query-scheduler.use-scheduler-ring")
			}
		}
		return kinds
	}
	return s
}

// TestSchedulersByRing asks while one of two schedulers is stopped, comes back, and the other one is killed.
func TestSchedulersByRing(t *testing.T) {
	t.Parallel()
	c := launch(t, layout{shape: schedulersByRing()})
	c.settlePushes(t)
	body := fmt.Appendf(nil, `{"streams":[{"stream":{"app":"x"},"values":[["%d","line"]]}]}`, time.Now().UnixNano())
	if status, text := c.do(t.Context(), http.MethodPost, "/loki/api/v1/push", body); status != http.StatusNoContent {
		t.Fatalf("push = %d %s", status, text)
	}
	ask := func() {
		t.Helper()
		for n := range 20 {
			status, text := c.do(t.Context(), http.MethodGet, "/loki/api/v1/query_range?since=1h&query="+url.QueryEscape(`{app="x"}`), nil)
			if status != http.StatusOK || !strings.Contains(text, `"line"`) {
				t.Fatalf("query %d = %d %s", n, status, text)
			}
		}
	}
	all := c.running("query-scheduler")
	known := func(by string, want float64) {
		t.Helper()
		for _, m := range c.running(by) {
			until(t, m.name+" does not know the schedulers", func(ctx context.Context) error {
				n, _, err := m.metric(ctx, `loki_ring_members{name="query-scheduler",state="ACTIVE"}`)
				if err == nil && n != want {
					err = fmt.Errorf("%g are ACTIVE, want %g", n, want)
				}
				return err
			})
		}
	}
	both := func() {
		t.Helper()
		for _, by := range []string{"query-frontend", "querier", "query-scheduler"} {
			known(by, 2)
		}
	}
	both()
	ask()
	if code, err := all[0].process().Terminate(); err != nil || code != 0 {
		t.Fatalf("%s ended with %d, %v", all[0].name, code, err)
	}
	ask() // at once: the frontends may not have heard that it has left
	known("query-frontend", 1)
	ask()
	all[0].launch(t)
	all[0].await(t)
	all[0].ready(t)
	both()
	ask()
	all[1].process().Kill()
	ask()
}
