package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"example.com/loki/internal/crashtest/process"
)

// alertmanager is an Alertmanager that remembers when it was told of each alert last.
type alertmanager struct {
	mu   sync.Mutex
	told map[string]time.Time
}

// ServeHTTP implements http.Handler.
func (a *alertmanager) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var alerts []struct{ Labels map[string]string }
	if err := json.NewDecoder(r.Body).Decode(&alerts); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, one := range alerts {
		a.told[one.Labels["alertname"]] = time.Now()
	}
}

// silent returns those of the alerts that were not sent after a time.
func (a *alertmanager) silent(after time.Time, alerts []string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(alerts), func(name string) bool { return a.told[name].After(after) })
}

// rulerShape is a way to run rulers apart from everything else.
type rulerShape struct {
	shape
	kind string // of the processes that have a ruler
}

func rulerShapes() []rulerShape {
	groups, micro := shapes()[2], microservices()
	return []rulerShape{
		// Each backend has a querier for its ruler alone.
		{shape{"backend", 3, func(address func(string) string) []*kind {
			all := groups.define(address)
			for _, k := range all {
				if k.name == "backend" {
					k.count = 2
				}
			}
			return all
		}}, "backend"},
		// So has a process that is nothing but a ruler: queriers beside it answer other people.
		{shape{"alone", 3, func(address func(string) string) []*kind {
			return []*kind{
				{name: "write", program: "readwrite", count: 3, args: []string{"-target=write"}, gossip: true},
				{name: "querier", program: "querier", count: 1, gossip: true},
				{name: "query-frontend", program: "monolithic", count: 1, args: []string{"-target=query-frontend", "-frontend.querier-address", address("querier")}},
				{name: "ruler", program: "monolithic", count: 2, args: []string{"-target=ruler"}, gossip: true},
			}
		}}, "ruler"},
		// The microservice asks the frontends.
		{shape{"microservices", 3, func(address func(string) string) []*kind {
			return append(micro.define(address), &kind{name: "ruler", program: "ruler", count: 2, gossip: true, args: []string{
				"-ruler.evaluation.mode=remote", "-ruler.evaluation.query-frontend.address", address("query-frontend")}})
		}}, "ruler"},
	}
}

// TestRulers runs rulers in processes of their own. They share the groups, each of them knows of all, all alerts reach
// Alertmanager, and when one is killed the others have its groups.
func TestRulers(t *testing.T) {
	t.Parallel()
	for _, s := range rulerShapes() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			testRulers(t, s)
		})
	}
}

func testRulers(t *testing.T, s rulerShape) {
	am := &alertmanager{told: map[string]time.Time{}}
	h := httptest.NewServer(am)
	t.Cleanup(h.Close)
	c := launch(t, layout{shape: s.shape, args: func(kind string, _ int) []string {
		if kind != s.kind {
			return nil
		}
		return []string{"-ruler.alertmanager-url", h.URL, "-ruler.evaluation-interval=2s", "-ruler.poll-interval=2s", "-ruler.resend-delay=2s"}
	}})
	c.settlePushes(t)
	rulers := c.running(s.kind)
	body := fmt.Appendf(nil, `{"streams":[{"stream":{"app":"shop"},"values":[["%d","an error"]]}]}`, time.Now().UnixNano())
	if status, text := c.do(t.Context(), http.MethodPost, "/loki/api/v1/push", body); status != http.StatusNoContent {
		t.Fatalf("push = %d %s", status, text)
	}
	var alerts []string
	for n := range 16 { // so many that no ruler is left without any
		name := fmt.Sprintf("Alert%d", n)
		alerts = append(alerts, name)
		group := fmt.Sprintf("name: g%d\nrules:\n  - alert: %s\n    expr: sum(count_over_time({app=\"shop\"} |= \"error\" [30m])) == 1\n", n, name)
		m := rulers[n%len(rulers)]
		status, text, err := process.Do(t.Context(), http.MethodPost, m.base().String()+"/loki/api/v1/rules/ns", "application/yaml", []byte(group))
		if err != nil || status != http.StatusAccepted {
			t.Fatalf("rules to %s = %d, %v: %s", m.name, status, err, text)
		}
	}
	awaitRulers(t, rulers, am, alerts, time.Now())

	began := time.Now()
	rulers[0].process().Kill()
	awaitRulers(t, rulers[1:], am, alerts, time.Now())
	t.Logf("%s was killed; others had all groups and had sent all alerts %s later", rulers[0].name, time.Since(began).Round(10*time.Millisecond))
}

// awaitRulers waits until all alerts were sent after a time, each ruler has a share of the groups, all together have each once, and
// each says that all alerts are firing.
func awaitRulers(t *testing.T, rulers []*member, am *alertmanager, alerts []string, after time.Time) {
	t.Helper()
	until(t, "rulers", func(ctx context.Context) error {
		sum := 0.0
		for _, m := range rulers {
			n, _, err := m.metric(ctx, "loki_ruler_groups")
			if err != nil {
				return err
			}
			if sum += n; n == 0 {
				return fmt.Errorf("%s has no group", m.name)
			}
		}
		if int(sum) != len(alerts) {
			return fmt.Errorf("%g groups are evaluated, not %d", sum, len(alerts))
		}
		for _, m := range rulers {
			if err := m.firing(ctx, alerts); err != nil {
				return err
			}
		}
		if silent := am.silent(after, alerts); len(silent) > 0 {
			return fmt.Errorf("%v were not sent", silent)
		}
		return nil
	})
}

// firing asks a ruler for all rules: it has to know each alert once, firing.
func (m *member) firing(ctx context.Context, alerts []string) error {
	status, body, err := process.Do(ctx, http.MethodGet, m.base().String()+"/prometheus/api/v1/rules", "", nil)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("rules of %s = %d %s", m.name, status, body)
	}
	if err != nil {
		return err
	}
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, State, Health, LastError string }
			}
		}
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return err
	}
	found := map[string]int{}
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			if found[r.Name]++; r.State != "firing" || r.Health != "ok" {
				return fmt.Errorf("%s says of %s: %s, %s %s", m.name, r.Name, r.State, r.Health, r.LastError)
			}
		}
	}
	for _, name := range alerts {
		if found[name] != 1 || len(found) != len(alerts) {
			return fmt.Errorf("%s knows %s %d times and %d alerts", m.name, name, found[name], len(found))
		}
	}
	return nil
}
